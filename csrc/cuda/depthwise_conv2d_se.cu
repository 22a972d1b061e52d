// Depthwise convolution and squeeze and excitation: the convolution pools its results as it writes them, so that behind
// it there are only the two small layers and the scaling of y in place.
//   traffic: the convolution's, then reads and writes y once more; the gradient goes pass by pass (gate_in_passes.h)
#include <stdexcept>

#include "batch_norm_in_passes.h"
#include "cuda/se_gate.cuh"
#include "frnet/depthwise_conv2d.h"
#include "gate_in_passes.h"

namespace frnet {
namespace cuda {

namespace {

SeGateShape gate_shape(const DepthwiseConv2dShape& s, int64_t squeezed) {
  if (s.memory_channels != s.channels) {
    throw std::invalid_argument("depthwise_conv2d_se: not for a slice of wider tensors");
  }
  return SeGateShape{s.batch, s.channels, s.out_height * s.out_width, squeezed, s.layout};
}

// What the convolution's workspace begins behind.
template <typename A>
size_t gate_bytes(const SeGateShape& shape) {
  return (se_arrays_bytes<A>(shape) + 255) / 256 * 256;
}

template <typename T>
GateInPasses<T> in_passes(void* workspace, const DepthwiseConv2dShape& s, const SeGateShape& gated) {
  const size_t forward = depthwise_conv2d_workspace<T>(s, false), backward = depthwise_conv2d_backward_workspace<T>(s);
  return {workspace, s, se_gate_workspace<T>(gated), forward > backward ? forward : backward};
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  return gate_bytes<accumulator_t<T>>(gate_shape(shape, squeezed)) + depthwise_conv2d_workspace<T>(shape, true);
}

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const SeGateShape gated = gate_shape(shape, squeezed);
  if (gated.batch * gated.channels * gated.pixels == 0) return;
  check_se_sizes(gated, "depthwise_conv2d_se");
  const SeArrays<A> arrays = se_arrays<A>(gated, workspace);
  void* const conv_workspace = static_cast<unsigned char*>(workspace) + gate_bytes<A>(gated);
  depthwise_conv2d(input, weight, bias, epilogue, y, arrays.pooled, shape, conv_workspace, stream);
  se_excite(gate, arrays, gated, stream);
  se_scale<T>(y, arrays.gates, nullptr, y, gated, stream);
}

template <typename T>
size_t depthwise_conv2d_bn_act_se_workspace(const DepthwiseConv2dShape& s, int64_t squeezed) {
  const size_t statistics = depthwise_conv2d_statistics_workspace<T>(s),
               conv = depthwise_conv2d_se_workspace<T>(s, squeezed);
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, statistics > conv ? statistics : conv).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& s, int64_t squeezed,
                                void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const BatchNormInPasses<A> room(workspace, s, 0);
  depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, s, room.conv_workspace, stream);
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  depthwise_conv2d_se<T>(input, weight, bias, {room.scale, room.shift, activation}, gate, y, s, squeezed,
                         room.conv_workspace, stream);
}

template <typename T>
size_t depthwise_conv2d_se_backward_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  return in_passes<T>(nullptr, shape, gate_shape(shape, squeezed)).bytes;
}

template <typename T>
void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                       const SeGateGradient<accumulator_t<T>>& gate_gradient, accumulator_t<T>* sum_g,
                                       accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                       void* workspace, void* stream) {
  const SeGateShape gated = gate_shape(shape, squeezed);
  const GateInPasses<T> passes = in_passes<T>(workspace, shape, gated);
  depthwise_conv2d<T>(gradient.input, gradient.weight, gradient.bias, gradient.epilogue, passes.u, nullptr, shape,
                      passes.conv_workspace, stream);
  se_gate_backward<T>(gradient.grad_y, passes.u, gate, passes.grad_u, gate_gradient, gated, passes.gate_workspace,
                      stream);
  depthwise_conv2d_backward_sums<T>(passes.behind(gradient), sum_g, sum_gv, shape, passes.conv_workspace, stream);
}

template <typename T>
void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                  const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace, void* stream) {
  const GateInPasses<T> passes = in_passes<T>(workspace, shape, gate_shape(shape, squeezed));
  depthwise_conv2d_backward<T>(passes.behind(gradient), output, shape, passes.conv_workspace, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                         \
  template size_t depthwise_conv2d_se_workspace<T>(const DepthwiseConv2dShape&, int64_t);                            \
  template void depthwise_conv2d_se<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&,   \
                                       const SeGate<accumulator_t<T>>&, T*, const DepthwiseConv2dShape&, int64_t,    \
                                       void*, void*);                                                                \
  template size_t depthwise_conv2d_se_backward_workspace<T>(const DepthwiseConv2dShape&, int64_t);                   \
  template void depthwise_conv2d_se_backward_sums<T>(                                                                \
      const ConvGradient<T>&, const SeGate<accumulator_t<T>>&, const SeGateGradient<accumulator_t<T>>&,              \
      accumulator_t<T>*, accumulator_t<T>*, const DepthwiseConv2dShape&, int64_t, void*, void*);                     \
  template void depthwise_conv2d_se_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,                \
                                                const DepthwiseConv2dShape&, int64_t, void*, void*);                 \
  template size_t depthwise_conv2d_bn_act_se_workspace<T>(const DepthwiseConv2dShape&, int64_t);                     \
  template void depthwise_conv2d_bn_act_se<T>(const ConvInput<T>&, const T*, const T*,                               \
                                              const BatchNorm<accumulator_t<T>>&, Activation,                        \
                                              const SeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, \
                                              T*, const DepthwiseConv2dShape&, int64_t, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
