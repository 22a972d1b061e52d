// Mean and sum of squared deviations of values in parts (Chan, Golub and LeVeque, Updating Formulae and a Pairwise
// Algorithm for Computing Sample Variances, 1979, equation 2.1).
#pragma once

#include "math/host_device.h"

namespace frnet {
namespace math {

// Extends the moments of `count` values by those of others; share: the others' part of all values, above 0.
template <typename A>
FRNET_HD void merge_moments(A& mean, A& squares, A other_mean, A other_squares, A count, A share) {
  const A distance = other_mean - mean;
  mean += distance * share;
  squares += other_squares + distance * distance * (count * share);
}

}  // namespace math
}  // namespace frnet
