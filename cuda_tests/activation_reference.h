// The activations and their slopes in double.
#pragma once

#include <cmath>

#include "math/activation.h"

namespace test {

using frnet::Activation;

inline double activate(Activation activation, double z) {
  switch (activation) {
    case Activation::none:
      return z;
    case Activation::relu:
      return z > 0 ? z : 0;
    case Activation::relu6:
      return z > 6 ? 6 : z > 0 ? z : 0;
    case Activation::hardswish:
      return z < -3 ? 0 : z > 3 ? z : z * (z + 3) / 6;
    case Activation::silu:
      return z / (1 + std::exp(-z));
  }
  return z;
}

inline double slope(Activation activation, double z) {
  switch (activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return z > 0;
    case Activation::relu6:
      return z > 0 && z < 6;
    case Activation::hardswish:
      return z < -3 ? 0 : z > 3 ? 1 : (2 * z + 3) / 6;
    case Activation::silu: {
      const double sigmoid = 1 / (1 + std::exp(-z));
      return sigmoid * (1 + z * (1 - sigmoid));
    }
  }
  return 1;
}

// Whether rounding may put z on the other side of a jump of the slope.
inline bool near_kink(Activation activation, double z, double error) {
  if (activation == Activation::hardswish) return std::fabs(std::fabs(z) - 3) < error;
  if (activation == Activation::relu6 && std::fabs(z - 6) < error) return true;
  return activation <= Activation::relu6 && activation != Activation::none && std::fabs(z) < error;
}

}  // namespace test
