// Depthwise convolution with batch statistics: the kernels of both in passes.
//   traffic: reads x twice and writes y once; backward reads x and grad_y twice and writes grad_x
#include "batch_norm_in_passes.h"
#include "frnet/depthwise_conv2d_bn_act.h"

namespace frnet {
namespace cuda {

template <typename T>
size_t depthwise_conv2d_bn_act_workspace(const DepthwiseConv2dShape& s) {
  const size_t statistics = depthwise_conv2d_statistics_workspace<T>(s), conv = depthwise_conv2d_workspace<T>(s, false);
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, statistics > conv ? statistics : conv).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                             const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                             accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& s, void* workspace,
                             void* stream) {
  using A = accumulator_t<T>;
  const BatchNormInPasses<A> room(workspace, s, 0);
  depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, s, room.conv_workspace, stream);
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  depthwise_conv2d<T>(input, weight, bias, {room.scale, room.shift, activation}, y, nullptr, s, room.conv_workspace,
                      stream);
}

template <typename T>
size_t depthwise_conv2d_bn_act_backward_workspace(const DepthwiseConv2dShape& s) {
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, depthwise_conv2d_backward_workspace<T>(s)).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                                      const ConvGradientOutput<T>& output, const DepthwiseConv2dShape& s,
                                      void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const BatchNormInPasses<A> room(workspace, s, 0);
  ConvGradient<T> in_part = gradient;
  in_part.epilogue = {room.scale, room.shift, gradient.epilogue.activation};
  in_part.constant = in_part.linear = nullptr;
  A* const sum_g = output.grad_shift != nullptr ? output.grad_shift : room.sum_g;
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  depthwise_conv2d_backward_sums<T>(in_part, sum_g, room.sum_gv, s, room.conv_workspace, stream);
  batch_norm_terms<A>(norm, sum_g, room.sum_gv, s.batch * s.out_height * s.out_width, room.constant, room.linear,
                      output.grad_scale, s.channels, stream);
  in_part.constant = room.constant;
  in_part.linear = room.linear;
  ConvGradientOutput<T> of_convolution = output;
  of_convolution.grad_scale = of_convolution.grad_shift = nullptr;
  depthwise_conv2d_backward<T>(in_part, of_convolution, s, room.conv_workspace, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                          \
  template size_t depthwise_conv2d_bn_act_workspace<T>(const DepthwiseConv2dShape&);                                  \
  template void depthwise_conv2d_bn_act<T>(const ConvInput<T>&, const T*, const T*,                                   \
                                           const BatchNorm<accumulator_t<T>>&, Activation, accumulator_t<T>*,         \
                                           accumulator_t<T>*, T*, const DepthwiseConv2dShape&, void*, void*);         \
  template size_t depthwise_conv2d_bn_act_backward_workspace<T>(const DepthwiseConv2dShape&);                         \
  template void depthwise_conv2d_bn_act_backward<T>(const ConvGradient<T>&, const BatchNorm<accumulator_t<T>>&,       \
                                                    const ConvGradientOutput<T>&, const DepthwiseConv2dShape&, void*, \
                                                    void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
