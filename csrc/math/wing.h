// The Wing loss of one vertex's three coordinates (Feng et al., Wing Loss for Robust Facial Landmark Localisation,
// CVPR 2018, equation 5):
//
//   wing(d) = width * ln(1 + |d| / curvature)    where |d| < width
//             |d| - C                            elsewhere,   C = width - width * ln(1 + width / curvature)
//
// V is a floating type or a vector of one; Log1p is a function object with ln(1 + v) of V for v >= 0.
//
// The three logarithms are the one of the product of 1 + |d| / curvature, and the three quotients of the derivative
// share its reciprocal. The product is at most (1 + width / curvature)^3, which callers keep within the range of float.
#pragma once

#include <cmath>

#include "math/host_device.h"

namespace frnet {
namespace math {

struct ScalarLog1p {
  FRNET_HD float operator()(float value) const { return std::log1p(value); }
  FRNET_HD double operator()(double value) const { return std::log1p(value); }
};

template <typename A>
struct WingConstants {
  A width;
  A inv_curvature;
  A offset;     // C
  A steepness;  // width / curvature
};

template <typename A>
FRNET_HD WingConstants<A> wing_constants(A width, A curvature) {
  return {width, A(1) / curvature, width - width * std::log1p(width / curvature), width / curvature};
}

template <typename A, typename V>
FRNET_HD V sign(V v) {
  const V zero = {}, one = zero + A(1);
  return v > A(0) ? one : (v < A(0) ? -one : zero);
}

// The sum over the three coordinates; slope is its derivative, 0 where d is.
template <typename A, typename V, typename Log1p>
FRNET_HD V wing(const WingConstants<A>& k, const V* d, V* slope, const Log1p& log1p) {
  const V zero = {}, one = zero + A(1);
  V factor[3], excess[3], linear = zero;
  for (int i = 0; i < 3; ++i) {
    const V size = d[i] < A(0) ? -d[i] : d[i];
    excess[i] = size < k.width ? size * k.inv_curvature : zero;
    factor[i] = one + excess[i];
    linear = linear + (size < k.width ? zero : size - k.offset);
  }
  // (1 + a)(1 + b) = 1 + (a + b + ab): so small differences keep their digits.
  const V two = excess[0] + excess[1] + excess[0] * excess[1];
  const V three = two + excess[2] + two * excess[2];
  const V inverse = one / (one + three);
  const V quotient[3] = {factor[1] * factor[2] * inverse, factor[0] * factor[2] * inverse,
                         factor[0] * factor[1] * inverse};
  for (int i = 0; i < 3; ++i) {
    const V size = d[i] < A(0) ? -d[i] : d[i];
    slope[i] = sign<A>(d[i]) * (size < k.width ? k.steepness * quotient[i] : one);
  }
  return k.width * log1p(three) + linear;
}

}  // namespace math
}  // namespace frnet
