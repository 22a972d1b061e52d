// Losses on the vertices of two faces, and their slopes, in one walk over the basis: what wpdc_wing and vdc share.
//
// Of a sample's vertices only their difference d is formed, from the target's shape s and the change e of the shape:
// d = pose_change(s) + f R e (math/pose_transform.h). A loss gives its value and its derivative at d.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/vec.h"
#include "cpu/vertex_walk.h"
#include "frnet/face_pair.h"
#include "math/pose_transform.h"
#include "math/whitening.h"
#include "math/wpdc.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

// Where the sums of one sample stand.
inline constexpr int kLossSlot = 0;
inline constexpr int kSquareSlots = 1;  // of the three coordinates of the shape that WPDC looks at
inline constexpr int kPoseSlots = 4;
inline constexpr int kCoefficientSlots = kPoseSlots + math::kPoseSize;

inline int64_t loss_slots(bool slopes, int64_t coefficients) {
  return slopes ? kCoefficientSlots + coefficients : kPoseSlots;
}

// What the walk needs of every sample, de-whitened.
template <typename T>
struct PlacedFaces {
  T* pose;                // [batch, 12], the prediction's
  T* pose_change;         // [batch, 12], prediction minus target
  Columns<T, 2> columns;  // the target's coefficients, and prediction minus target

  PlacedFaces(WorkspaceLayout& layout, const MorphableShape& s)
      : pose(layout.take<T>(s.batch * math::kPoseSize)),
        pose_change(layout.take<T>(s.batch * math::kPoseSize)),
        columns{layout.take<T>(s.batch * 2 * s.coefficients), s.batch, s.coefficients} {}

  void set(const FacePair<T>& faces, bool target_tz, const MorphableShape& s) const {
    const int64_t size = math::kPoseSize + s.coefficients;
    for (int64_t b = 0; b < s.batch; ++b) {
      const T *z = faces.pred + b * size, *target = faces.target + b * size;
      for (int64_t i = 0; i < size; ++i) {
        const bool same = target_tz && i == math::kTz;
        const T change = same ? T(0) : math::dewhiten_difference(z[i], target[i], faces.param_std[i]);
        if (i < math::kPoseSize) {
          pose[b * math::kPoseSize + i] = math::dewhiten(z[i], faces.param_mean[i], faces.param_std[i]);
          pose_change[b * math::kPoseSize + i] = change;
        } else {
          columns.set(b, i - math::kPoseSize, 0, math::dewhiten(target[i], faces.param_mean[i], faces.param_std[i]));
          columns.set(b, i - math::kPoseSize, 1, change);
        }
      }
    }
  }
};

// The walk's body. Loss: V value(const V* d, V* g), with g the derivative.
template <typename T, typename Loss, bool kSlopes>
struct CompareVertices {
  static constexpr int64_t kMaxSlots = kCoefficientSlots + kMaxCoefficients;
  // Samples whose products fit the registers: 2 * 3 sums each, 3 basis vectors and a coefficient.
  static constexpr int kTogether = kVectorBytes == 64 ? 4 : 2;

  const Loss& loss;
  const PlacedFaces<T>& faces;
  const T* weights;      // of the set's vertices, or null
  bool shape_squares;    // whether WPDC looks at these vertices
  bool predicted_shape;  // and at which shape

  template <int kCount>
  void add(const T* tiles, int64_t first, int64_t vertices, int64_t sample, Vec<T>* sums) const {
    constexpr int64_t kL = kLanes<T>;
    const int64_t coefficients = faces.columns.coefficients, slots = loss_slots(kSlopes, coefficients);
    const T* columns = faces.columns.of_sample(sample);
    for (int64_t v = 0; v < vertices; v += kL) {
      const T* tile = tiles + v / kL * tile_size<T>(coefficients);
      Vec<T> shape[kCount][2][3], q[kCount][3];
      add_shapes<kCount>(tile, columns, coefficients, shape);
      const bool whole = v + kL <= vertices;
      for (int i = 0; i < kCount; ++i) {
        const Vec<T>*s = shape[i][0], *change = shape[i][1];
        const T* pose = faces.pose + (sample + i) * math::kPoseSize;
        Vec<T>* sum = sums + i * slots;
        Vec<T> d[3], g[3];
        math::pose_transform_difference(pose, faces.pose_change + (sample + i) * math::kPoseSize, s, change, d);
        Vec<T> value = loss.value(d, g);
        if (weights || !whole) weigh(first + v, min(kL, vertices - v), &value, g);
        sum[kLossSlot] += value;
        Vec<T> predicted[3];
        for (int axis = 0; axis < 3; ++axis) predicted[axis] = s[axis] + change[axis];
        if (shape_squares) {
          for (int axis = 0; axis < 3; ++axis) {
            const Vec<T> length = predicted_shape ? predicted[axis] : s[axis];
            sum[kSquareSlots + axis] += length * length;
          }
        }
        if constexpr (kSlopes) {
          math::pose_transform_backward_pose(g, predicted, sum + kPoseSlots);
          math::pose_transform_backward_point(pose, g, q[i]);
        }
      }
      if constexpr (kSlopes) {
        add_transposed_products<T, kCount>(tile, q, coefficients, sums + kCoefficientSlots, slots);
      }
    }
  }

 private:
  // shape[i] = the target's shape of sample i and its change.
  template <int kCount>
  static FRNET_HD void add_shapes(const T* tile, const T* columns, int64_t coefficients, Vec<T> (*shape)[2][3]) {
    for (int i = 0; i < kCount; ++i) {
      for (int axis = 0; axis < 3; ++axis) {
        shape[i][0][axis] = load(tile + axis * kLanes<T>);
        shape[i][1][axis] = Vec<T>{};
      }
    }
    constexpr int kPart = kCount < kTogether ? kCount : kTogether;
    for (int i = 0; i < kCount; i += kPart) {
      add_products<T, 2 * kPart, 2 * kCount>(tile, columns + 2 * i, coefficients, shape[i]);
    }
  }

  // Lanes past `count` add nothing.
  FRNET_HD void weigh(int64_t vertex, int64_t count, Vec<T>* value, Vec<T>* g) const {
    const Vec<T> one = broadcast(T(1)), zero = {};
    const Vec<T> weight = weights ? load_partial<T>(weights + vertex, count) : one;
    typename VecOf<T>::index lane;
    for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
    const auto valid = lane < static_cast<decltype(lane[0] + 0)>(count);
    *value = valid ? *value * weight : zero;
    for (int axis = 0; axis < 3; ++axis) g[axis] = valid ? g[axis] * weight : zero;
  }
};

// What a sum over the set's vertices is multiplied by to be the mean over coordinates.
template <typename T>
double mean_factor(const VertexComparison<T>& comparison) {
  return comparison.weights ? 1.0 / 3 : 1.0 / (3 * static_cast<double>(comparison.set.count));
}

// One sample's loss and slope from the sums over all vertices; slope may be null.
template <typename T>
void finish_loss(const double* sums, double factor, const T* param_std, bool target_tz, int64_t coefficients, T* loss,
                 T* slope) {
  *loss = static_cast<T>(sums[kLossSlot] * factor);
  if (slope == nullptr) return;
  for (int64_t i = 0; i < math::kPoseSize + coefficients; ++i) {
    const double value = target_tz && i == math::kTz ? 0 : sums[kPoseSlots + i] * factor * param_std[i];
    slope[i] = std::isnan(*loss) ? *loss : static_cast<T>(value);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
