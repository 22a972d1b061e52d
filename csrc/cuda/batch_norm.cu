// Batch statistics as the scale and shift of an epilogue, and back.
//   thread: one channel;  shared : none
#include "frnet/batch_norm.h"

#include "cuda/launch.cuh"
#include "math/batch_norm.h"

namespace frnet {
namespace cuda {

namespace {

constexpr int kThreads = 256;

// The channel of this thread.
__device__ __forceinline__ int64_t own_channel() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + static_cast<int64_t>(threadIdx.x);
}

dim3 grid_of(int64_t channels) { return dim3(static_cast<unsigned>((channels + kThreads - 1) / kThreads)); }

}  // namespace

template <typename A>
__global__ void __launch_bounds__(kThreads)
    fold_batch_norm_kernel(BatchNorm<A> norm, A* __restrict__ scale, A* __restrict__ shift, int64_t channels) {
  const int64_t c = own_channel();
  if (c >= channels) return;
  const A inv_std = math::inverse_std(norm.variance[c], norm.epsilon);
  const auto folded =
      math::fold_batch_norm(norm.gamma ? norm.gamma[c] : A(1), norm.beta ? norm.beta[c] : A(0), norm.mean[c], inv_std);
  scale[c] = folded.scale;
  shift[c] = folded.shift;
}

template <typename A>
__global__ void __launch_bounds__(kThreads)
    batch_norm_terms_kernel(BatchNorm<A> norm, const A* __restrict__ sum_g, const A* __restrict__ sum_gv, A count,
                            A* __restrict__ constant, A* __restrict__ linear, A* __restrict__ grad_gamma,
                            int64_t channels) {
  const int64_t c = own_channel();
  if (c >= channels) return;
  const A inv_std = math::inverse_std(norm.variance[c], norm.epsilon);
  const A scale = (norm.gamma ? norm.gamma[c] : A(1)) * inv_std;
  const A mean = norm.mean ? norm.mean[c] : A(0);
  const auto terms = math::batch_norm_terms(scale, mean, inv_std, sum_g[c], sum_gv[c], count);
  constant[c] = terms.constant;
  linear[c] = terms.linear;
  if (grad_gamma) grad_gamma[c] = terms.grad_gamma;
}

template <typename A>
void fold_batch_norm(const BatchNorm<A>& norm, A* scale, A* shift, int64_t channels, void* stream) {
  if (channels == 0) return;
  launch(fold_batch_norm_kernel<A>, grid_of(channels), dim3(kThreads), 0, stream, norm, scale, shift, channels);
}

template <typename A>
void batch_norm_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, int64_t count, A* constant, A* linear,
                      A* grad_gamma, int64_t channels, void* stream) {
  if (channels == 0) return;
  launch(batch_norm_terms_kernel<A>, grid_of(channels), dim3(kThreads), 0, stream, norm, sum_g, sum_gv,
         static_cast<A>(count), constant, linear, grad_gamma, channels);
}

#define FRNET_INSTANTIATE(A)                                                     \
  template void fold_batch_norm<A>(const BatchNorm<A>&, A*, A*, int64_t, void*); \
  template void batch_norm_terms<A>(const BatchNorm<A>&, const A*, const A*, int64_t, A*, A*, A*, int64_t, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
