// Each CPU launcher calls the copy of itself that was compiled for the best instruction set at hand.

#include "cpu/depthwise_conv2d.h"
#include "cpu/isa.h"
#include "cpu/reconstruct_vertices.h"

#if defined(FRNET_X86_ISAS)
#define FRNET_DISPATCH(call) \
  switch (active_isa()) {    \
    case Isa::avx512:        \
      return avx512::call;   \
    case Isa::avx2:          \
      return avx2::call;     \
    case Isa::baseline:      \
      break;                 \
  }                          \
  return baseline::call
#else
#define FRNET_DISPATCH(call) return baseline::call
#endif

namespace frnet::cpu {

template <typename T>
void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,
                      const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d(x, weight, bias, y, shape, parallel));
}

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape,
                                     const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_backward_input(grad_y, weight, grad_x, shape, parallel));
}

template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape) {
  FRNET_DISPATCH(depthwise_conv2d_backward_weight_workspace<T>(shape));
}

template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,
                                      const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_backward_weight(grad_y, x, grad_weight, grad_bias, shape, workspace, parallel));
}

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, T* vertices_out,
                          const ReconstructVerticesShape& shape, const Parallel& parallel) {
  FRNET_DISPATCH(reconstruct_vertices(params, mean, basis, vertices_out, shape, parallel));
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const ReconstructVerticesShape& shape) {
  FRNET_DISPATCH(reconstruct_vertices_backward_workspace<T>(shape));
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   T* grad_params, const ReconstructVerticesShape& shape, void* workspace,
                                   const Parallel& parallel) {
  FRNET_DISPATCH(
      reconstruct_vertices_backward(grad_vertices, params, mean, basis, grad_params, shape, workspace, parallel));
}

FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(bfloat16)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(float)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(double)

}  // namespace frnet::cpu
