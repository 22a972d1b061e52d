// The 3x4 matrix (f R | t) of a parameter vector applied to a point, and the derivatives of that.
//
//   v = (f R) s + t         dL/ds = (f R)^T g         dL/d(f R) = g s^T         dL/dt = g
//
// pose is 12 values, row by row: [r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz]. P is the type of one entry
// of pose and V that of one coordinate; they differ where V is a vector of several points and P a scalar that
// multiplies it.
#pragma once

#include <cstdint>

#include "math/host_device.h"

namespace frnet {
namespace math {

constexpr int kPoseSize = 12;

template <typename P, typename V>
FRNET_HD void pose_transform(const P* pose, const V* s, V* v) {
  for (int row = 0; row < 3; ++row) {
    const P* r = pose + 4 * row;
    v[row] = r[0] * s[0] + (r[1] * s[1] + (r[2] * s[2] + r[3]));
  }
}

// The difference of two placed points, P (s + s_change) + p minus Q s + q, from pose = (P | p) and
// pose_change = (P - Q | p - q): differences of nearly equal numbers are never taken.
template <typename P, typename V>
FRNET_HD void pose_transform_difference(const P* pose, const P* pose_change, const V* s, const V* s_change, V* d) {
  pose_transform(pose_change, s, d);
  for (int row = 0; row < 3; ++row) {
    const P* r = pose + 4 * row;
    d[row] = d[row] + (r[0] * s_change[0] + (r[1] * s_change[1] + r[2] * s_change[2]));
  }
}

// Gradient with respect to the point, g being the gradient with respect to v.
template <typename P, typename V>
FRNET_HD void pose_transform_backward_point(const P* pose, const V* g, V* grad_s) {
  for (int column = 0; column < 3; ++column) {
    grad_s[column] = pose[column] * g[0] + (pose[4 + column] * g[1] + pose[8 + column] * g[2]);
  }
}

// Adds one point's gradient with respect to the matrix to grad_pose[12].
template <typename V>
FRNET_HD void pose_transform_backward_pose(const V* g, const V* s, V* grad_pose) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      grad_pose[4 * row + column] = grad_pose[4 * row + column] + g[row] * s[column];
    }
    grad_pose[4 * row + 3] = grad_pose[4 * row + 3] + g[row];
  }
}

}  // namespace math
}  // namespace frnet
