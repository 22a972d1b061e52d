// Batch statistics as the scale and shift of an epilogue, and back: formulas in math/batch_norm.h. A is float or
// double; all pointers are [channels].
#pragma once

#include <cstdint>

#include "frnet/parallel.h"

namespace frnet {

template <typename A>
struct BatchNorm {
  const A* gamma;  // null: 1
  const A* beta;   // null: 0
  const A* mean;
  const A* variance;  // biased
  A epsilon;
};

namespace cpu {

template <typename A>
void fold_batch_norm(const BatchNorm<A>& norm, A* scale, A* shift, int64_t channels, const Parallel& parallel);

// count: values per channel behind the statistics. grad_gamma may be null. (The gradient of beta is sum_g.) Where
// norm.mean is null, sum_gv and linear are of v less its mean.
template <typename A>
void batch_norm_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, int64_t count, A* constant, A* linear,
                      A* grad_gamma, int64_t channels, const Parallel& parallel);

}  // namespace cpu

namespace cuda {

template <typename A>
void fold_batch_norm(const BatchNorm<A>& norm, A* scale, A* shift, int64_t channels, void* stream);

template <typename A>
void batch_norm_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, int64_t count, A* constant, A* linear,
                      A* grad_gamma, int64_t channels, void* stream);

}  // namespace cuda
}  // namespace frnet
