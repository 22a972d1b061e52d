// The vertex distance cost against loops in double written straight from the header's formula.
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "face_pair_reference.h"
#include "frnet/vdc.h"

namespace {

using test::DeviceBuffer;
using test::FaceData;
using test::FacePairCase;

template <typename T>
void check_case(const FacePairCase& c) {
  const FaceData<T> data(c);
  const size_t size = static_cast<size_t>(12 + c.shape.coefficients);
  const int64_t compared = FaceData<T>::compared(c);
  std::vector<double> want, slope_want;
  for (int64_t sample = 0; sample < c.shape.batch; ++sample) {
    const test::FaceReference<T> faces(data, c, sample);
    double loss = 0;
    std::vector<double> slope(size);
    for (int64_t n = 0; n < compared; ++n) {
      const auto at = static_cast<size_t>(n);
      const size_t vertex = c.selected ? static_cast<size_t>(data.indices[at]) : at;
      const double weight = (c.weighted ? data.weights[at] : 1.0 / static_cast<double>(compared)) / 3;
      double d[3], g[3];
      faces.difference(vertex, d);
      for (size_t i = 0; i < 3; ++i) {
        loss += weight * d[i] * d[i];
        g[i] = weight * 2 * d[i];
      }
      faces.add_gradient(vertex, g, c.target_tz, slope.data());
    }
    want.push_back(loss);
    slope_want.insert(slope_want.end(), slope.begin(), slope.end());
  }

  std::vector<T> first, slope_first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    test::FaceBuffers<T> buffers(data, c);
    DeviceBuffer<T> loss(want.size(), c.offset), slope(c.slopes ? slope_want.size() : 0, c.offset);
    const frnet::VertexComparison<T> comparison = buffers.comparison();
    DeviceBuffer<unsigned char> workspace(launchers::vdc_workspace<T>(comparison, c.slopes, c.shape));
    launchers::vdc<T>(buffers.faces(), comparison, loss.data(), c.slopes ? slope.data() : nullptr, c.shape,
                      workspace.data(), test::kExecution);
    const std::vector<T> got = loss.download(), slope_got = slope.download();
    if (seed == 0) {
      test::require_near_rows(got, want, 1, test::face_tolerance<T>(c), "vdc");
      if (c.slopes) test::require_near_rows(slope_got, slope_want, size, test::face_tolerance<T>(c), "slope");
      first = got;
      slope_first = slope_got;
    }
    test::require_identical(first, got, "vdc");
    test::require_identical(slope_first, slope_got, "slope");
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  test::for_face_pair_cases([](const FacePairCase& c) {
    test::run("float " + c.name(), [&] { check_case<float>(c); });
    test::run("double " + c.name(), [&] { check_case<double>(c); });
  });
  test::for_face_pair_cases([](FacePairCase c) {
    for (const auto precision : {frnet::ProductPrecision::tf32, frnet::ProductPrecision::bfloat16}) {
      c.precision = precision;
      test::run("float " + c.name(), [&] { check_case<float>(c); });
    }
  });
  return test::finish();
}
