// Batch normalisation as a scale and a shift per channel, and the terms of its gradient (Ioffe and Szegedy, Batch
// Normalization, 2015, algorithm 1 and the gradients below it).
//
//   y = gamma * (v - mean) * inv_std + beta = scale * v + shift
//
// mean and variance are those of v itself, so a gradient g that reaches y reaches v as
//   grad_v = scale * (g - sum_g / count - (v - mean) * inv_std * grad_gamma / count)
//          = scale * g + constant + linear * v
// with grad_gamma = inv_std * (sum_gv - mean * sum_g) and grad_beta = sum_g.
#pragma once

#include <cmath>

#include "math/host_device.h"

namespace frnet {
namespace math {

template <typename A>
struct ScaleAndShift {
  A scale;
  A shift;
};

template <typename A>
FRNET_HD A inverse_std(A variance, A epsilon) {
  return A(1) / std::sqrt(variance + epsilon);
}

template <typename A>
FRNET_HD ScaleAndShift<A> fold_batch_norm(A gamma, A beta, A mean, A inv_std) {
  const A scale = gamma * inv_std;
  return {scale, beta - mean * scale};
}

template <typename A>
struct BatchNormTerms {
  A constant;
  A linear;
  A grad_gamma;
};

// count: values per channel that the statistics were taken over.
template <typename A>
FRNET_HD BatchNormTerms<A> batch_norm_terms(A scale, A mean, A inv_std, A sum_g, A sum_gv, A count) {
  const A grad_gamma = inv_std * (sum_gv - mean * sum_g);
  const A linear = -scale * inv_std * grad_gamma / count;
  return {-scale * sum_g / count - linear * mean, linear, grad_gamma};
}

// grad_v, constant and linear being of v less its mean or of v, as v is given.
template <typename V>
FRNET_HD V batch_norm_gradient(V scale, V g, V constant, V linear, V v) {
  return scale * g + (constant + linear * v);
}

}  // namespace math
}  // namespace frnet
