// The weights of the weighted parameter distance cost, as 3DDFA computes them (Zhu et al., Face Alignment Across Large
// Poses, CVPR 2016, equation 8, with the vertices' motion under a parameter estimated by a length):
//
//   change_i = |p_i - p_target_i|                                     of the de-whitened parameters
//   raw_i    = change_i * length of the shape along axis j + 1e-6     for entry (row, j) of f R
//   raw_i    = change_i * sqrt(points) + 1e-6                         for tx and ty
//   raw_i    = 0                                                      for tz
//   raw_i    = change_i * kScale * length of column i of the basis + 1e-6
//   W_i      = raw_i / max(raw)   or   raw_i / sum(raw)
//
// A length is the root of a sum of squares over the points that the weights look at.
#pragma once

#include <cmath>
#include <cstdint>

#include "math/host_device.h"
#include "math/pose_transform.h"

namespace frnet {
namespace math {

// 3DDFA's mean of f over its training set.
constexpr double kWpdcScale = 0.00057339936;
constexpr double kWpdcFloor = 1e-6;
constexpr int kTz = 11;  // where in a pose tz stands

// shape_length: of the three axes; basis_length: of the parameter's own column, not looked at for the pose.
template <typename A>
FRNET_HD A wpdc_raw_weight(int64_t i, A change, const A* shape_length, A root_of_points, A basis_length) {
  if (i == kTz) return A(0);
  if (i >= kPoseSize) return change * A(kWpdcScale) * basis_length + A(kWpdcFloor);
  const int64_t column = i % 4;
  return change * (column == 3 ? root_of_points : shape_length[column]) + A(kWpdcFloor);
}

}  // namespace math
}  // namespace frnet
