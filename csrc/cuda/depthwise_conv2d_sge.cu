// Depthwise convolution and SGE gate: the fused kernels of fused_depthwise.cuh, which read the input once and write the
// result once. Where a group's result planes do not fit into a block's shared memory, for any kernel but square 3x3 and
// 5x5 ones with stride 1 or 2, and for an input with an addend: depthwise_conv2d, then sge_gate in place. The gradient
// goes pass by pass (gate_in_passes.h).
#include <stdexcept>

#include "batch_norm_in_passes.h"
#include "cuda/fused_depthwise.cuh"
#include "frnet/depthwise_conv2d.h"
#include "frnet/sge_gate.h"
#include "gate_in_passes.h"

namespace frnet {
namespace cuda {

namespace {

SgeGateShape gate_shape(const DepthwiseConv2dShape& s, int64_t groups) {
  if (groups <= 0 || s.channels % groups != 0) {
    throw std::invalid_argument("depthwise_conv2d_sge: groups must divide channels");
  }
  if (s.memory_channels != s.channels) {
    throw std::invalid_argument("depthwise_conv2d_sge: not for a slice of wider tensors");
  }
  return SgeGateShape{s.batch, s.channels, s.out_height * s.out_width, groups, s.layout};
}

template <typename T>
GateInPasses<T> in_passes(void* workspace, const DepthwiseConv2dShape& s, const SgeGateShape& gated) {
  const size_t forward = depthwise_conv2d_workspace<T>(s, false), backward = depthwise_conv2d_backward_workspace<T>(s);
  return {workspace, s, sge_gate_workspace<T>(gated), forward > backward ? forward : backward};
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups) {
  const size_t conv = depthwise_conv2d_workspace<T>(shape, false);
  const size_t gate = sge_gate_workspace<T>(gate_shape(shape, groups));
  return conv > gate ? conv : gate;
}

template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const DepthwiseConv2dShape& shape, int64_t groups, void* workspace, void* stream) {
  const SgeGateShape gated = gate_shape(shape, groups);
  if (gated.batch * gated.channels * gated.pixels == 0) return;
  const HierarchicalConv<T> conv{input.x, weight, bias, epilogue, nullptr, nullptr, gate};
  if (!input.addend && fused_depthwise(conv, y, HierarchicalShape{shape, 1, false, groups}, stream)) return;
  depthwise_conv2d(input, weight, bias, epilogue, y, static_cast<accumulator_t<T>*>(nullptr), shape, workspace, stream);
  sge_gate(y, gate, y, gated, workspace, stream);
}

template <typename T>
size_t depthwise_conv2d_bn_act_sge_workspace(const DepthwiseConv2dShape& s, int64_t groups) {
  const size_t statistics = depthwise_conv2d_statistics_workspace<T>(s),
               conv = depthwise_conv2d_sge_workspace<T>(s, groups);
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, statistics > conv ? statistics : conv).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                 const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& s, int64_t groups,
                                 void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const BatchNormInPasses<A> room(workspace, s, 0);
  depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, s, room.conv_workspace, stream);
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  depthwise_conv2d_sge<T>(input, weight, bias, {room.scale, room.shift, activation}, gate, y, s, groups,
                          room.conv_workspace, stream);
}

template <typename T>
size_t depthwise_conv2d_sge_backward_workspace(const DepthwiseConv2dShape& shape, int64_t groups) {
  return in_passes<T>(nullptr, shape, gate_shape(shape, groups)).bytes;
}

template <typename T>
void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                        accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                        accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                        const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                        void* stream) {
  const SgeGateShape gated = gate_shape(shape, groups);
  const GateInPasses<T> passes = in_passes<T>(workspace, shape, gated);
  depthwise_conv2d<T>(gradient.input, gradient.weight, gradient.bias, gradient.epilogue, passes.u, nullptr, shape,
                      passes.conv_workspace, stream);
  sge_gate_backward<T>(gradient.grad_y, passes.u, gate, passes.grad_u, grad_weight, grad_bias, gated,
                       passes.gate_workspace, stream);
  depthwise_conv2d_backward_sums<T>(passes.behind(gradient), sum_g, sum_gv, shape, passes.conv_workspace, stream);
}

template <typename T>
void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                   const DepthwiseConv2dShape& shape, int64_t groups, void* workspace, void* stream) {
  const GateInPasses<T> passes = in_passes<T>(workspace, shape, gate_shape(shape, groups));
  depthwise_conv2d_backward<T>(passes.behind(gradient), output, shape, passes.conv_workspace, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                           \
  template size_t depthwise_conv2d_sge_workspace<T>(const DepthwiseConv2dShape&, int64_t);                             \
  template void depthwise_conv2d_sge<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&,    \
                                        const SgeGate<accumulator_t<T>>&, T*, const DepthwiseConv2dShape&, int64_t,    \
                                        void*, void*);                                                                 \
  template size_t depthwise_conv2d_sge_backward_workspace<T>(const DepthwiseConv2dShape&, int64_t);                    \
  template void depthwise_conv2d_sge_backward_sums<T>(                                                                 \
      const ConvGradient<T>&, const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*,                  \
      accumulator_t<T>*, accumulator_t<T>*, const DepthwiseConv2dShape&, int64_t, void*, void*);                       \
  template void depthwise_conv2d_sge_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,                 \
                                                 const DepthwiseConv2dShape&, int64_t, void*, void*);                  \
  template size_t depthwise_conv2d_bn_act_sge_workspace<T>(const DepthwiseConv2dShape&, int64_t);                      \
  template void depthwise_conv2d_bn_act_sge<T>(const ConvInput<T>&, const T*, const T*,                                \
                                               const BatchNorm<accumulator_t<T>>&, Activation,                         \
                                               const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, \
                                               T*, const DepthwiseConv2dShape&, int64_t, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
