// The lengths that the weights of WPDC are made of (math/wpdc.h), in a walk over the vertices they look at.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/vertex_walk.h"
#include "frnet/wpdc_wing.h"
#include "math/pose_transform.h"
#include "math/whitening.h"
#include "math/wpdc.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

// The walk's body: squares of a shape's coordinates.
template <typename T>
struct ShapeSquares {
  static constexpr int64_t kMaxSlots = 3;

  const Columns<T, 1>& columns;

  template <int kCount>
  void add(const T* tiles, int64_t, int64_t vertices, int64_t sample, Vec<T>* sums) const {
    for (int64_t v = 0; v < vertices; v += kLanes<T>) {
      const T* tile = tiles + v / kLanes<T> * tile_size<T>(columns.coefficients);
      Vec<T> s[kCount][3];
      for (int i = 0; i < kCount; ++i) {
        for (int axis = 0; axis < 3; ++axis) s[i][axis] = load(tile + axis * kLanes<T>);
      }
      add_products<T, kCount>(tile, columns.of_sample(sample), columns.coefficients, s);
      for (int i = 0; i < kCount; ++i) {
        for (int axis = 0; axis < 3; ++axis) sums[3 * i + axis] += s[i][axis] * s[i][axis];
      }
    }
  }
};

// A walk of its own, for where no other one goes over these vertices.
template <typename T>
struct ShapeWalk {
  WalkPlan<T> plan;
  Columns<T, 1> columns;
  double* squares;         // [plan.vertex_chunks][batch][3]
  double* column_squares;  // [plan.vertex_chunks][coefficients]

  ShapeWalk(WorkspaceLayout& layout, const Wpdc& wpdc, const MorphableShape& s)
      : plan(s.batch, wpdc.set.count, s.coefficients, 1),
        columns{layout.take<T>(s.batch * s.coefficients), s.batch, s.coefficients},
        squares(layout.take<double>(plan.vertex_chunks * s.batch * 3)),
        column_squares(layout.take<double>(plan.vertex_chunks * s.coefficients)) {}

  void run(const FacePair<T>& faces, const Wpdc& wpdc, const MorphableShape& s, const Parallel& parallel) const {
    const int64_t size = math::kPoseSize + s.coefficients;
    const T* z = wpdc.predicted_shape ? faces.pred : faces.target;
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t i = math::kPoseSize; i < size; ++i) {
        columns.set(b, i - math::kPoseSize, 0,
                    math::dewhiten(z[b * size + i], faces.param_mean[i], faces.param_std[i]));
      }
    }
    walk_vertices(Basis<T>{faces.mean, faces.basis, wpdc.set, s.coefficients}, plan, s.batch, 3, squares,
                  column_squares, parallel, ShapeSquares<T>{columns});
  }
};

// The weights of a batch from those lengths.
template <typename T>
class WpdcWeights {
 public:
  WpdcWeights(const FacePair<T>& faces, const Wpdc& wpdc, const MorphableShape& shape, const double* column_squares,
              int64_t chunks)
      : faces_(faces),
        by_sum_(wpdc.by_sum),
        coefficients_(shape.coefficients),
        root_of_points_(std::sqrt(wpdc.set.count)) {
    add_partials(column_squares, chunks, coefficients_, coefficients_, basis_length_);
    for (int64_t k = 0; k < coefficients_; ++k) basis_length_[k] = std::sqrt(basis_length_[k]);
  }

  int64_t size() const { return math::kPoseSize + coefficients_; }

  // squares: of the three coordinates of the sample's shape.
  void of_sample(int64_t sample, const double* squares, double* weights) const {
    const double shape_length[3] = {std::sqrt(squares[0]), std::sqrt(squares[1]), std::sqrt(squares[2])};
    double largest = 0, sum = 0;
    for (int64_t i = 0; i < size(); ++i) {
      const double change = std::fabs(difference(sample, i) * faces_.param_std[i]);
      const double basis_length = i < math::kPoseSize ? 0 : basis_length_[i - math::kPoseSize];
      weights[i] = math::wpdc_raw_weight(i, change, shape_length, root_of_points_, basis_length);
      largest = largest > weights[i] ? largest : weights[i];
      sum += weights[i];
    }
    // (The sum, which a NaN among the weights reaches, as it would the largest.)
    const double norm = by_sum_ || std::isnan(sum) ? sum : largest;
    for (int64_t i = 0; i < size(); ++i) weights[i] /= norm;
  }

  // One sample's cost and its slope; the slope may be null.
  void finish(int64_t sample, const double* squares, T* loss, T* slope) const {
    double weights[math::kPoseSize + kMaxCoefficients];
    of_sample(sample, squares, weights);
    const auto count = static_cast<double>(size());
    double sum = 0;
    for (int64_t i = 0; i < size(); ++i) {
      const double change = difference(sample, i);
      sum += weights[i] * change * change;
      if (slope) slope[i] = static_cast<T>(2 * weights[i] * change / count);
    }
    *loss = static_cast<T>(sum / count);
    for (int64_t i = 0; slope && std::isnan(*loss) && i < size(); ++i) slope[i] = *loss;
  }

 private:
  // Of the whitened parameters.
  double difference(int64_t sample, int64_t i) const {
    return static_cast<double>(faces_.pred[sample * size() + i]) - faces_.target[sample * size() + i];
  }

  const FacePair<T>& faces_;
  bool by_sum_;
  int64_t coefficients_;
  double root_of_points_;
  double basis_length_[kMaxCoefficients];
};

}  // namespace frnet::cpu::FRNET_ISA
