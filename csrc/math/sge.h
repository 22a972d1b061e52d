// The formulas of the spatial group-wise enhance gate for one group of one image (Li, Hu and Yang, Spatial Group-wise
// Enhance, 2019, equations 1 to 5; the deviation is unbiased and 1e-5 is added to it, as in the authors' code).
//
//   m_c  = mean over p of x[c,p]
//   t[p] = sum_c m_c x[c,p]
//   h[p] = (t[p] - mean(t)) * inv,   inv = 1 / (std(t) + 1e-5)
//   s[p] = sigmoid(weight * h[p] + bias)
//   y    = x * s
//
// Backward, with d[p] = sum_c grad_y[c,p] x[c,p]:
//   e[p]      = d[p] s[p] (1 - s[p])                  (grad_weight = sum e h, grad_bias = sum e)
//   grad_t[p] = weight * (inv * (e[p] - mean(e)) - (t[p] - mean(t)) * spread)
//   spread    = inv^2 * sum(e (t - mean(t))) / (std (pixels - 1)),  0 where std is 0
//   grad_x    = grad_y * s[p] + m_c grad_t[p] + mean over p of grad_t[p] x[c,p]
#pragma once

#include <cmath>

#include "math/host_device.h"

namespace frnet {
namespace math {

template <typename A>
struct SgeNorm {
  A mean;
  A inv;
  A std;
};

// squares: sum over p of (t[p] - mean)^2. One pixel has no unbiased deviation: NaN, as in torch.
template <typename A>
FRNET_HD SgeNorm<A> sge_norm(A mean, A squares, A pixels) {
  const A std = std::sqrt(squares / (pixels - 1));
  return {mean, A(1) / (std + A(1e-5)), std};
}

// products: sum over p of e[p] (t[p] - mean).
template <typename A>
FRNET_HD A sge_spread(const SgeNorm<A>& norm, A products, A pixels) {
  return norm.std == 0 ? A(0) : norm.inv * norm.inv * products / (norm.std * (pixels - 1));
}

}  // namespace math
}  // namespace frnet
