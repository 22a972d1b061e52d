// Input gradient of the depthwise 2-D convolution: the forward kernels with source and target exchanged.
//   traffic: reads grad_v once and writes grad_x once -> bandwidth bound
#include "cuda/depthwise_backward.cuh"
#include "cuda/depthwise_direct.cuh"
#include "cuda/depthwise_output.cuh"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_v, int64_t grad_channels, const T* weight, T* grad_x,
                                     const DepthwiseConv2dShape& shape, void* stream) {
  const SlideTensors<T> tensors{grad_v, nullptr, weight, nullptr, grad_x, grad_channels, shape.memory_channels};
  slide<T, true>(tensors, PlainOutput<T>(), shape, stream);
}

#define FRNET_INSTANTIATE(T) \
  template void depthwise_conv2d_backward_input<T>(const T*, int64_t, const T*, T*, const DepthwiseConv2dShape&, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
