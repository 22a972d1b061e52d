// Spatial group-wise enhance: every group of channels is scaled, pixel by pixel, by how much the pixel resembles the
// group's mean. Formulas in math/sge.h.
//
// T is float, double, float16 or bfloat16; weight, bias and their gradients are [groups] of the accumulation type.
// x, y and their gradients are dense [batch, channels, pixels] or, channels_last, [batch, pixels, channels].
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/batch_norm.h"
#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"

namespace frnet {

struct SgeGateShape {
  int64_t batch;
  int64_t channels;
  int64_t pixels;  // height * width
  int64_t groups;  // divides channels
  Layout layout;
};

template <typename A>
struct SgeGate {
  const A* weight;  // [groups]
  const A* bias;    // [groups]
};

namespace cpu {

template <typename T>
void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& shape, void* workspace,
              const Parallel& parallel);

template <typename T>
void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const SgeGateShape& shape,
                       void* workspace, const Parallel& parallel);

// For both.
template <typename T>
size_t sge_gate_workspace(const SgeGateShape& shape);

// sge_gate(depthwise_conv2d(...)), with the convolution's result kept in a cache in between. The gate's statistics are
// taken from y as it is stored.
template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const DepthwiseConv2dShape& shape, int64_t groups, void* workspace, const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

// sge_gate(depthwise_conv2d_bn_act(...)), as frnet/depthwise_conv2d_bn_act.h has it.
template <typename T>
void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                 const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t groups,
                                 void* workspace, const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_bn_act_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

// The gradient of depthwise_conv2d_sge in two steps, between which batch statistics put their terms; gradient.grad_y is
// that of the gated y. First, from gradient less constant and linear: the gate's own, and sum_g and sum_gv [channels]
// as of depthwise_conv2d_backward_sums.
template <typename T>
void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                        accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                        accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                        const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                        const Parallel& parallel);

// Then, with the workspace as the first step left it, the convolution's, as depthwise_conv2d_backward.
template <typename T>
void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                   const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                   const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_sge_backward_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

}  // namespace cpu

namespace cuda {

template <typename T>
void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& shape, void* workspace,
              void* stream);

template <typename T>
void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const SgeGateShape& shape,
                       void* workspace, void* stream);

template <typename T>
size_t sge_gate_workspace(const SgeGateShape& shape);

template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const DepthwiseConv2dShape& shape, int64_t groups, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

template <typename T>
void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                 const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t groups,
                                 void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_bn_act_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

template <typename T>
void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                        accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                        accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                        const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                        void* stream);

template <typename T>
void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                   const DepthwiseConv2dShape& shape, int64_t groups, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_sge_backward_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

}  // namespace cuda
}  // namespace frnet
