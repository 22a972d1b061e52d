// Squeeze and excitation (Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4):
//
//   pooled[n,c] = mean over the plane of x[n,c]
//   hidden      = activation(w1 pooled + b1)
//   gate        = gate_function(w2 hidden + b2)
//   y[n,c]      = x[n,c] * gate[n,c]
//
// T is float, double, float16 or bfloat16; weights, biases and their gradients are of the accumulation type. x, y and
// their gradients are dense [batch, channels, pixels] or, channels_last, [batch, pixels, channels].
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/batch_norm.h"
#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"

namespace frnet {

struct SeGateShape {
  int64_t batch;
  int64_t channels;
  int64_t pixels;    // height * width
  int64_t squeezed;  // rows of w1
  Layout layout;
};

template <typename A>
struct SeGate {
  const A* w1;  // [squeezed, channels]
  const A* b1;  // [squeezed]; null: 0
  const A* w2;  // [channels, squeezed]
  const A* b2;  // [channels]; null: 0
  Activation activation;
  GateFunction gate;
};

// Null: not wanted.
template <typename A>
struct SeGateGradient {
  A* grad_w1;
  A* grad_b1;
  A* grad_w2;
  A* grad_b2;
};

namespace cpu {

template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& shape, void* workspace,
             const Parallel& parallel);

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& shape, void* workspace,
                      const Parallel& parallel);

// For both.
template <typename T>
size_t se_gate_workspace(const SeGateShape& shape);

// se_gate(depthwise_conv2d(...)); the squeeze is the convolution's own pooled output.
template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                         const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

// se_gate(depthwise_conv2d_bn_act(...)), as frnet/depthwise_conv2d_bn_act.h has it.
template <typename T>
void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                void* workspace, const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_bn_act_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

// The gradient of depthwise_conv2d_se in two steps, between which batch statistics put their terms; gradient.grad_y is
// that of the gated y. First, from gradient less constant and linear: the gate's own, and sum_g and sum_gv [channels]
// as of depthwise_conv2d_backward_sums.
template <typename T>
void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                       const SeGateGradient<accumulator_t<T>>& gate_gradient, accumulator_t<T>* sum_g,
                                       accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                       void* workspace, const Parallel& parallel);

// Then, with the workspace as the first step left it, the convolution's, as depthwise_conv2d_backward.
template <typename T>
void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                  const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                                  const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_se_backward_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

}  // namespace cpu

namespace cuda {

template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& shape, void* workspace,
             void* stream);

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& shape, void* workspace,
                      void* stream);

template <typename T>
size_t se_gate_workspace(const SeGateShape& shape);

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

template <typename T>
void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_bn_act_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

template <typename T>
void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                       const SeGateGradient<accumulator_t<T>>& gate_gradient, accumulator_t<T>* sum_g,
                                       accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                       void* workspace, void* stream);

template <typename T>
void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                  const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_se_backward_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

}  // namespace cuda
}  // namespace frnet
