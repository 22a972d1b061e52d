// The squared length of a difference of two vertices, and its derivative; V is a floating type or a vector of one.
#pragma once

#include "math/host_device.h"

namespace frnet {
namespace math {

template <typename V>
FRNET_HD V squared_distance(const V* d, V* slope) {
  for (int i = 0; i < 3; ++i) slope[i] = d[i] + d[i];
  return d[0] * d[0] + (d[1] * d[1] + d[2] * d[2]);
}

}  // namespace math
}  // namespace frnet
