// Two faces and their comparison, step by step in double: what the losses on vertices are tested against.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/face_pair.h"
#include "vertex_choice.h"

namespace test {

struct FacePairCase {
  frnet::MorphableShape shape;
  int64_t selected = 0;       // compared vertices, by index; 0: all
  int64_t wpdc_selected = 0;  // vertices that the weights of WPDC look at; 0: all
  bool weighted = false;
  bool target_tz = true;
  bool by_sum = false;
  bool predicted_shape = false;
  bool slopes = true;
  frnet::ProductPrecision precision = frnet::ProductPrecision::full;
  size_t offset = 0;  // of the buffers, in values

  std::string name() const {
    char text[200];
    std::snprintf(text, sizeof text,
                  "batch %d vertices %d coefficients %d selected %d wpdc %d%s%s%s%s%s precision %d %s",
                  int(shape.batch), int(shape.vertices), int(shape.coefficients), int(selected), int(wpdc_selected),
                  weighted ? " weighted" : "", target_tz ? "" : " own tz", by_sum ? " by sum" : "",
                  predicted_shape ? " predicted shape" : "", slopes ? "" : " no slopes", int(precision),
                  offset ? "misaligned" : "");
    return text;
  }
};

// What a case is made of. Scales are those of a face in a crop: lengths in the thousands, f R that takes them to tens
// of pixels.
template <typename T>
struct FaceData {
  std::vector<T> pred, target, param_mean, param_std, mean, basis, weights;
  std::vector<int64_t> indices, wpdc_indices;

  explicit FaceData(const FacePairCase& c) {
    const auto batch = static_cast<size_t>(c.shape.batch), vertices = static_cast<size_t>(c.shape.vertices);
    const auto coefficients = static_cast<size_t>(c.shape.coefficients), size = 12 + coefficients;
    pred = random_values<T>(batch * size, 1);
    target = random_values<T>(batch * size, 2);
    param_mean = random_values<T>(size, 3);
    param_std = random_values<T>(size, 4);
    mean = random_values<T>(3 * vertices, 5);
    basis = random_values<T>(3 * vertices * coefficients, 6);
    for (T& value : mean) value *= 1000;
    for (T& value : basis) value *= 100;
    for (size_t i = 0; i < size; ++i) {
      const bool translation = i < 12 && i % 4 == 3;
      const T scale = i >= 12 ? T(1) : translation ? T(5) : T(0.01);
      param_std[i] = (std::fabs(param_std[i]) + T(0.1)) * scale;
      param_mean[i] *= 2 * scale;
    }
    indices = some_vertices(c.selected, c.shape.vertices);
    wpdc_indices = some_vertices(c.wpdc_selected, c.shape.vertices);
    if (c.weighted) {
      weights = random_values<T>(static_cast<size_t>(compared(c)), 7);
      double sum = 0;
      for (T& w : weights) sum += w = std::fabs(w);
      for (T& w : weights) w = static_cast<T>(w / sum);
    }
  }

  static int64_t compared(const FacePairCase& c) { return c.selected ? c.selected : c.shape.vertices; }
};

// One sample's faces.
template <typename T>
class FaceReference {
 public:
  FaceReference(const FaceData<T>& data, const FacePairCase& c, int64_t sample)
      : data_(data), coefficients_(static_cast<size_t>(c.shape.coefficients)), size_(12 + coefficients_) {
    for (size_t i = 0; i < size_; ++i) {
      const double std = data.param_std[i], mean = data.param_mean[i];
      const size_t at = static_cast<size_t>(sample) * size_ + i;
      pred.push_back(data.pred[at] * std + mean);
      target.push_back(data.target[at] * std + mean);
    }
    if (c.target_tz) pred[11] = target[11];
  }

  void shape(const std::vector<double>& params, size_t vertex, double* s) const {
    for (size_t j = 0; j < 3; ++j) {
      s[j] = data_.mean[3 * vertex + j];
      for (size_t k = 0; k < coefficients_; ++k) {
        s[j] += static_cast<double>(data_.basis[(3 * vertex + j) * coefficients_ + k]) * params[12 + k];
      }
    }
  }

  void difference(size_t vertex, double* d) const {
    double s[3], s_target[3];
    shape(pred, vertex, s);
    shape(target, vertex, s_target);
    for (size_t i = 0; i < 3; ++i) {
      d[i] = pred[4 * i + 3] - target[4 * i + 3];
      for (size_t j = 0; j < 3; ++j) d[i] += pred[4 * i + j] * s[j] - target[4 * i + j] * s_target[j];
    }
  }

  // Adds the gradient with respect to the whitened prediction, g being that with respect to the vertex.
  void add_gradient(size_t vertex, const double* g, bool target_tz, double* slope) const {
    double s[3];
    shape(pred, vertex, s);
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) slope[4 * i + j] += g[i] * s[j] * data_.param_std[4 * i + j];
      if (!(target_tz && i == 2)) slope[4 * i + 3] += g[i] * data_.param_std[4 * i + 3];
      for (size_t k = 0; k < coefficients_; ++k) {
        for (size_t j = 0; j < 3; ++j) {
          slope[12 + k] += g[i] * pred[4 * i + j] * data_.basis[(3 * vertex + j) * coefficients_ + k] *
                           static_cast<double>(data_.param_std[12 + k]);
        }
      }
    }
  }

  std::vector<double> pred, target;

 private:
  const FaceData<T>& data_;
  size_t coefficients_, size_;
};

// Each value within tolerance of the largest of its row of `width` values, give or take `leeway` where there is any.
template <typename T>
void require_near_rows(const std::vector<T>& got, const std::vector<double>& want, size_t width, double tolerance,
                       const std::string& what, const std::vector<double>& leeway = {}) {
  require(got.size() == want.size(), what + ": wrong size");
  for (size_t row = 0; row < want.size(); row += width) {
    double largest = 0;
    for (size_t i = row; i < row + width; ++i) largest = std::max(largest, std::fabs(want[i]));
    for (size_t i = row; i < row + width; ++i) {
      const double allowed = tolerance * largest + (leeway.empty() ? 0 : leeway[i]);
      if (std::fabs(static_cast<double>(got[i]) - want[i]) <= allowed) continue;
      char message[160];
      std::snprintf(message, sizeof message, "[%zu][%zu] got %.9g, want %.9g, largest %.9g", row / width, i - row,
                    static_cast<double>(got[i]), want[i], largest);
      throw std::runtime_error(what + message);
    }
  }
}

// The faces where the kernels can read them.
template <typename T>
struct FaceBuffers {
  FaceBuffers(const FaceData<T>& data, const FacePairCase& c)
      : pred(data.pred, c.offset),
        target(data.target, c.offset),
        param_mean(data.param_mean, c.offset),
        param_std(data.param_std, c.offset),
        mean(data.mean, c.offset),
        basis(data.basis, c.offset),
        weights(data.weights, c.offset),
        indices(data.indices),
        wpdc_indices(data.wpdc_indices),
        c_(c) {}

  frnet::FacePair<T> faces() {
    return {pred.data(), target.data(), param_mean.data(), param_std.data(), mean.data(), basis.data()};
  }
  frnet::VertexComparison<T> comparison() {
    return {set(indices, c_.selected), c_.weighted ? weights.data() : nullptr, c_.target_tz, c_.precision};
  }
  frnet::VertexSet wpdc_set() { return set(wpdc_indices, c_.wpdc_selected); }

  DeviceBuffer<T> pred, target, param_mean, param_std, mean, basis, weights;
  DeviceBuffer<int64_t> indices, wpdc_indices;

 private:
  frnet::VertexSet set(DeviceBuffer<int64_t>& chosen, int64_t count) {
    if (count == 0) return {nullptr, c_.shape.vertices};
    return {chosen.data(), count};
  }

  const FacePairCase& c_;
};

// How far a result may be from the reference, of the largest value beside it.
template <typename T>
double face_tolerance(const FacePairCase& c) {
  if (std::is_same<T, double>::value) return 1e-11;
  if (c.precision == frnet::ProductPrecision::tf32) return 5e-3;
  if (c.precision == frnet::ProductPrecision::bfloat16) return 4e-2;
  return 3e-5;
}

// The cases every loss on vertices is run on.
template <typename F>
void for_face_pair_cases(const F& check) {
  for (const int64_t vertices : {1, 7, 32, 68, 257}) {
    for (const int64_t coefficients : {0, 1, 50, 62}) {
      check(FacePairCase{{1, vertices, coefficients}});
      check(FacePairCase{{3, vertices, coefficients}});
    }
  }
  for (const int64_t batch : {2, 4, 5, 8, 16, 33, 65}) check(FacePairCase{{batch, 70, 50}});
  for (const int64_t coefficients : {8, 33, 64, 65, 129, 199}) {
    check(FacePairCase{{2, 41, coefficients}});
    check(FacePairCase{{17, 41, coefficients}});
  }
  check(FacePairCase{{1, 5003, 50}});
  check(FacePairCase{{300, 101, 10}});
  for (const int64_t batch : {1, 6, 20}) {
    FacePairCase c{{batch, 150, 50}};
    c.selected = 68;
    c.wpdc_selected = 200;
    check(c);
    c.selected = 0;
    check(c);
    c.selected = 31;
    c.wpdc_selected = 0;
    check(c);
    c.weighted = true;
    c.by_sum = true;
    check(c);
    c.selected = 0;
    c.target_tz = false;
    c.predicted_shape = true;
    check(c);
    c.slopes = false;
    check(c);
    c.wpdc_selected = 9;
    check(c);
  }
  FacePairCase misaligned{{5, 33, 50}};
  misaligned.offset = 1;
  check(misaligned);
  check(FacePairCase{{0, 10, 50}});
}

}  // namespace test
