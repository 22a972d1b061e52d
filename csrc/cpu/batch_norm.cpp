// Batch statistics as the scale and shift of an epilogue: a few values per channel, so no instruction set's copies.
#include "frnet/batch_norm.h"

#include "math/batch_norm.h"

namespace frnet::cpu {

namespace {

template <typename A>
A scale_of(const BatchNorm<A>& norm, int64_t c) {
  return norm.gamma == nullptr ? A(1) : norm.gamma[c];
}

}  // namespace

template <typename A>
void fold_batch_norm(const BatchNorm<A>& norm, A* scale, A* shift, int64_t channels, const Parallel&) {
  for (int64_t c = 0; c < channels; ++c) {
    const auto folded = math::fold_batch_norm(scale_of(norm, c), norm.beta == nullptr ? A(0) : norm.beta[c],
                                              norm.mean[c], math::inverse_std(norm.variance[c], norm.epsilon));
    scale[c] = folded.scale;
    shift[c] = folded.shift;
  }
}

template <typename A>
void batch_norm_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, int64_t count, A* constant, A* linear,
                      A* grad_gamma, int64_t channels, const Parallel&) {
  for (int64_t c = 0; c < channels; ++c) {
    const A inv_std = math::inverse_std(norm.variance[c], norm.epsilon);
    const A mean = norm.mean == nullptr ? A(0) : norm.mean[c];
    const auto terms =
        math::batch_norm_terms(scale_of(norm, c) * inv_std, mean, inv_std, sum_g[c], sum_gv[c], static_cast<A>(count));
    constant[c] = terms.constant;
    linear[c] = terms.linear;
    if (grad_gamma != nullptr) grad_gamma[c] = terms.grad_gamma;
  }
}

#define FRNET_INSTANTIATE(A)                                                                               \
  template void fold_batch_norm<A>(const BatchNorm<A>&, A*, A*, int64_t, const Parallel&);                 \
  template void batch_norm_terms<A>(const BatchNorm<A>&, const A*, const A*, int64_t, A*, A*, A*, int64_t, \
                                    const Parallel&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace frnet::cpu
