// WPDC and the Wing loss against loops in double written straight from the headers' formulas.
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "face_pair_reference.h"
#include "frnet/wpdc_wing.h"

namespace {

using test::DeviceBuffer;
using test::FaceData;
using test::FacePairCase;

constexpr double kWidth = 10, kCurvature = 2;

double wing(double d) {
  const double size = std::fabs(d);
  return size < kWidth ? kWidth * std::log(1 + size / kCurvature)
                       : size - (kWidth - kWidth * std::log(1 + kWidth / kCurvature));
}

double wing_slope(double d) {
  const double size = std::fabs(d);
  const double slope = size < kWidth ? kWidth / (kCurvature + size) : 1;
  return d > 0 ? slope : d < 0 ? -slope : 0;
}

struct Want {
  std::vector<double> wpdc, wing, slope_wpdc, slope_wing, weights;
  std::vector<double> kinks;  // by how much slope_wing changes if every d near 0 changes its sign
};

// How near, in pixels: what products of less than full precision may move d by.
double kink_width(const FacePairCase& c) {
  if (c.precision == frnet::ProductPrecision::tf32) return 0.02;
  return c.precision == frnet::ProductPrecision::bfloat16 ? 0.2 : 0;
}

template <typename T>
void add_wpdc(const FaceData<T>& data, const FacePairCase& c, const test::FaceReference<T>& faces, int64_t sample,
              Want& want) {
  const auto coefficients = static_cast<size_t>(c.shape.coefficients), size = 12 + coefficients;
  const auto points = static_cast<size_t>(c.wpdc_selected ? c.wpdc_selected : c.shape.vertices);
  double shape_squares[3] = {};
  std::vector<double> basis_squares(coefficients);
  for (size_t p = 0; p < points; ++p) {
    const size_t vertex = c.wpdc_selected ? static_cast<size_t>(data.wpdc_indices[p]) : p;
    double s[3];
    faces.shape(c.predicted_shape ? faces.pred : faces.target, vertex, s);
    for (size_t j = 0; j < 3; ++j) {
      shape_squares[j] += s[j] * s[j];
      for (size_t k = 0; k < coefficients; ++k) {
        const double b = data.basis[(3 * vertex + j) * coefficients + k];
        basis_squares[k] += b * b;
      }
    }
  }
  std::vector<double> raw(size);
  double largest = 0, sum = 0;
  for (size_t i = 0; i < size; ++i) {
    const size_t at = static_cast<size_t>(sample) * size + i;
    const double std = data.param_std[i];
    const double change = std::fabs((static_cast<double>(data.pred[at]) - data.target[at]) * std);
    const double length = i >= 12      ? 0.00057339936 * std::sqrt(basis_squares[i - 12])
                          : i % 4 == 3 ? std::sqrt(static_cast<double>(points))
                                       : std::sqrt(shape_squares[i % 4]);
    raw[i] = i == 11 ? 0 : change * length + 1e-6;
    largest = std::max(largest, raw[i]);
    sum += raw[i];
  }
  double loss = 0;
  for (size_t i = 0; i < size; ++i) {
    const size_t at = static_cast<size_t>(sample) * size + i;
    const double weight = raw[i] / (c.by_sum ? sum : largest);
    const double difference = static_cast<double>(data.pred[at]) - data.target[at];
    loss += weight * difference * difference / static_cast<double>(size);
    want.weights.push_back(weight);
    want.slope_wpdc.push_back(2 * weight * difference / static_cast<double>(size));
  }
  want.wpdc.push_back(loss);
}

template <typename T>
Want reference(const FaceData<T>& data, const FacePairCase& c) {
  Want want;
  const size_t size = static_cast<size_t>(12 + c.shape.coefficients);
  const int64_t compared = FaceData<T>::compared(c);
  for (int64_t sample = 0; sample < c.shape.batch; ++sample) {
    const test::FaceReference<T> faces(data, c, sample);
    add_wpdc(data, c, faces, sample, want);
    double loss = 0;
    std::vector<double> slope(size), kinks(size);
    for (int64_t n = 0; n < compared; ++n) {
      const auto at = static_cast<size_t>(n);
      const size_t vertex = c.selected ? static_cast<size_t>(data.indices[at]) : at;
      const double weight = (c.weighted ? data.weights[at] : 1.0 / static_cast<double>(compared)) / 3;
      double d[3], g[3];
      faces.difference(vertex, d);
      for (size_t i = 0; i < 3; ++i) {
        loss += weight * wing(d[i]);
        g[i] = weight * wing_slope(d[i]);
        if (std::fabs(d[i]) >= kink_width(c)) continue;
        std::vector<double> part(size);
        double alone[3] = {};
        alone[i] = g[i];
        faces.add_gradient(vertex, alone, c.target_tz, part.data());
        for (size_t p = 0; p < size; ++p) kinks[p] += 2 * std::fabs(part[p]);
      }
      faces.add_gradient(vertex, g, c.target_tz, slope.data());
    }
    want.wing.push_back(loss);
    want.slope_wing.insert(want.slope_wing.end(), slope.begin(), slope.end());
    want.kinks.insert(want.kinks.end(), kinks.begin(), kinks.end());
  }
  return want;
}

template <typename T>
void check_case(const FacePairCase& c) {
  const FaceData<T> data(c);
  const Want want = reference(data, c);
  const double tolerance = test::face_tolerance<T>(c), wpdc_tolerance = std::is_same<T, double>::value ? 1e-11 : 3e-5;
  const auto size = static_cast<size_t>(12 + c.shape.coefficients);
  std::vector<T> first[5];
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    test::FaceBuffers<T> buffers(data, c);
    const size_t batch = want.wpdc.size(), slopes = c.slopes ? batch * size : 0;
    DeviceBuffer<T> wpdc(batch, c.offset), wing(batch, c.offset), slope_wpdc(slopes, c.offset),
        slope_wing(slopes, c.offset), weights(batch * size, c.offset);
    const frnet::Wpdc options{buffers.wpdc_set(), c.by_sum, c.predicted_shape};
    const frnet::VertexComparison<T> comparison = buffers.comparison();
    const frnet::WpdcWingOutput<T> output{wpdc.data(), wing.data(), c.slopes ? slope_wpdc.data() : nullptr,
                                          c.slopes ? slope_wing.data() : nullptr};
    DeviceBuffer<unsigned char> workspace(launchers::wpdc_wing_workspace<T>(options, comparison, c.shape));
    launchers::wpdc_wing<T>(buffers.faces(), options, {T(kWidth), T(kCurvature)}, comparison, output, c.shape,
                            workspace.data(), test::kExecution);
    DeviceBuffer<unsigned char> weights_workspace(launchers::wpdc_weights_workspace<T>(options, c.shape));
    launchers::wpdc_weights<T>(buffers.faces(), options, weights.data(), c.shape, weights_workspace.data(),
                               test::kExecution);
    std::vector<T> got[] = {wpdc.download(), wing.download(), slope_wpdc.download(), slope_wing.download(),
                            weights.download()};
    if (seed == 0) {
      test::require_near_rows(got[0], want.wpdc, 1, wpdc_tolerance, "wpdc");
      test::require_near_rows(got[1], want.wing, 1, tolerance, "wing");
      test::require_near_rows(got[4], want.weights, size, wpdc_tolerance, "weights");
      if (c.slopes) {
        test::require_near_rows(got[2], want.slope_wpdc, size, wpdc_tolerance, "slope_wpdc");
        test::require_near_rows(got[3], want.slope_wing, size, tolerance, "slope_wing", want.kinks);
      }
    }
    for (int i = 0; i < 5; ++i) {
      if (seed == 0) first[i] = got[i];
      test::require_identical(first[i], got[i], "result " + std::to_string(i));
    }
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
