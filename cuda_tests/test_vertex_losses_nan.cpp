// Where NaN must appear, and where it must not, in what is computed from the vertices of a morphable model: a parameter
// that is NaN, and on CUDA an index out of range.
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "face_pair_reference.h"
#include "frnet/reconstruct_vertices.h"
#include "frnet/vdc.h"
#include "frnet/wpdc_wing.h"

namespace {

using test::DeviceBuffer;
using test::FaceData;
using test::FacePairCase;
using test::require;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The losses of each sample and the slopes beside them.
template <typename T>
struct Losses {
  std::vector<T> vdc, wing, wpdc;
  std::vector<T> slope_vdc, slope_wing, slope_wpdc;
};

template <typename T>
Losses<T> losses_of(const FaceData<T>& data, const FacePairCase& c) {
  test::FaceBuffers<T> buffers(data, c);
  const auto batch = static_cast<size_t>(c.shape.batch), size = static_cast<size_t>(12 + c.shape.coefficients);
  DeviceBuffer<T> vdc(batch), wing(batch), wpdc(batch), slope_vdc(batch * size), slope_wing(batch * size),
      slope_wpdc(batch * size);
  const auto comparison = buffers.comparison();
  DeviceBuffer<unsigned char> vdc_workspace(launchers::vdc_workspace<T>(comparison, true, c.shape));
  launchers::vdc<T>(buffers.faces(), comparison, vdc.data(), slope_vdc.data(), c.shape, vdc_workspace.data(),
                    test::kExecution);
  const frnet::Wpdc options{buffers.wpdc_set(), c.by_sum, c.predicted_shape};
  DeviceBuffer<unsigned char> workspace(launchers::wpdc_wing_workspace<T>(options, comparison, c.shape));
  launchers::wpdc_wing<T>(buffers.faces(), options, {T(10), T(2)}, comparison,
                          {wpdc.data(), wing.data(), slope_wpdc.data(), slope_wing.data()}, c.shape, workspace.data(),
                          test::kExecution);
  return {vdc.download(),       wing.download(),       wpdc.download(),
          slope_vdc.download(), slope_wing.download(), slope_wpdc.download()};
}

// Sample `which` is NaN in loss and slopes if `expected`, and all else as before; which < 0: every sample.
template <typename T>
void require_nan(const std::vector<T>& loss, const std::vector<T>& slope, const std::vector<T>& loss_before,
                 const std::vector<T>& slope_before, int which, bool expected, const std::string& what) {
  const size_t size = slope.size() / loss.size();
  for (size_t b = 0; b < loss.size(); ++b) {
    const bool want_nan = expected && (which < 0 || static_cast<size_t>(which) == b);
    const std::string at = what + " of sample " + std::to_string(b);
    require(want_nan ? std::isnan(loss[b]) : loss[b] == loss_before[b], at);
    for (size_t i = b * size; i < (b + 1) * size; ++i) {
      require(want_nan ? std::isnan(slope[i]) : slope[i] == slope_before[i],
              "slope " + std::to_string(i - b * size) + " of " + at);
    }
  }
}

template <typename T>
void check_parameter(const FacePairCase& c) {
  const FaceData<T> data(c);
  const Losses<T> before = losses_of(data, c);
  const int size = static_cast<int>(12 + c.shape.coefficients), which = static_cast<int>(c.shape.batch / 2);
  for (const int entry : {0, 3, 11, 12, size - 1}) {
    for (const bool of_target : {false, true}) {
      FaceData<T> changed = data;
      (of_target ? changed.target : changed.pred)[static_cast<size_t>(which * size + entry)] = static_cast<T>(kNan);
      const Losses<T> after = losses_of(changed, c);
      const std::string name = std::string(of_target ? "target " : "pred ") + std::to_string(entry) + ": ";
      const bool on_vertices = !(c.target_tz && entry == 11);
      require_nan(after.vdc, after.slope_vdc, before.vdc, before.slope_vdc, which, on_vertices, name + "vdc");
      require_nan(after.wing, after.slope_wing, before.wing, before.slope_wing, which, on_vertices, name + "wing");
      require_nan(after.wpdc, after.slope_wpdc, before.wpdc, before.slope_wpdc, which, true, name + "wpdc");
    }
  }
}

#if !defined(FRNET_TEST_CPU)
const int64_t kBadIndices[] = {-1, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};

template <typename T>
void check_index(FacePairCase c) {
  c.selected = 40;
  c.wpdc_selected = 40;
  const FaceData<T> data(c);
  const Losses<T> before = losses_of(data, c);
  for (const int64_t bad : {kBadIndices[0], kBadIndices[1], kBadIndices[2], c.shape.vertices}) {
    for (const bool of_wpdc : {false, true}) {
      FaceData<T> changed = data;
      (of_wpdc ? changed.wpdc_indices : changed.indices)[33] = bad;
      const Losses<T> after = losses_of(changed, c);
      require_nan(after.vdc, after.slope_vdc, before.vdc, before.slope_vdc, -1, !of_wpdc, "vdc");
      require_nan(after.wing, after.slope_wing, before.wing, before.slope_wing, -1, !of_wpdc, "wing");
      require_nan(after.wpdc, after.slope_wpdc, before.wpdc, before.slope_wpdc, -1, of_wpdc, "wpdc");
    }
  }
}

template <typename T>
std::vector<T> vertices_of(const FaceData<T>& data, const std::vector<int64_t>& indices, const FacePairCase& c) {
  DeviceBuffer<T> params(data.pred), mean(data.mean), basis(data.basis),
      out(3 * static_cast<size_t>(c.shape.batch) * indices.size());
  DeviceBuffer<int64_t> d_indices(indices);
  launchers::reconstruct_vertices<T>(params.data(), mean.data(), basis.data(),
                                     {d_indices.data(), static_cast<int64_t>(indices.size())}, out.data(), c.shape,
                                     test::kExecution);
  return out.download();
}

template <typename T>
void check_reconstruction(const FacePairCase& c) {
  const FaceData<T> data(c);
  const std::vector<int64_t> indices = test::some_vertices(40, c.shape.vertices);
  const std::vector<T> before = vertices_of(data, indices, c);
  for (const int64_t bad : {kBadIndices[0], kBadIndices[1], kBadIndices[2], c.shape.vertices}) {
    std::vector<int64_t> changed = indices;
    changed[33] = bad;
    const std::vector<T> after = vertices_of(data, changed, c);
    for (size_t i = 0; i < after.size(); ++i) {
      const bool want_nan = i / 3 % indices.size() == 33;
      require(want_nan ? std::isnan(after[i]) : after[i] == before[i], "value " + std::to_string(i));
    }
  }
}
#endif

template <typename T>
void check_all(const FacePairCase& c, const char* type) {
  test::run(std::string(type) + " parameter, " + c.name(), [&] { check_parameter<T>(c); });
#if !defined(FRNET_TEST_CPU)
  test::run(std::string(type) + " index, " + c.name(), [&] { check_index<T>(c); });
  test::run(std::string(type) + " reconstruction, " + c.name(), [&] { check_reconstruction<T>(c); });
#endif
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const int64_t batch : {3, 19}) {
    for (const int64_t coefficients : {7, 70}) {
      for (const bool target_tz : {false, true}) {
        FacePairCase c{{batch, 45, coefficients}};
        c.target_tz = target_tz;
        check_all<float>(c, "float");
        check_all<double>(c, "double");
        if (coefficients > 64) continue;
        c.by_sum = true;
        c.precision = frnet::ProductPrecision::tf32;
        check_all<float>(c, "float");
        c.precision = frnet::ProductPrecision::bfloat16;
        check_all<float>(c, "float");
      }
    }
  }
  return test::finish();
}
