// Depthwise 2-D convolution (cross-correlation) with what usually follows it, and its gradients.
//
//   v[n,c,oy,ox] = bias[c] + sum_{ky,kx} weight[c,ky,kx] *
//                  x[n, c, oy*stride_h - padding_h + ky*dilation_h, ox*stride_w - padding_w + kx*dilation_w]
//   y            = activation(scale[c] * v + shift[c])
//
// with zeros outside x. T is float, double, float16 or bfloat16; the two 16-bit types are storage only, and
// everything per channel that is no parameter of the convolution itself is of the accumulation type A: float, or
// double where T is. Pointers are dense: x, y and their gradients in the shape's layout, weight always [channels,
// kernel_h, kernel_w], bias, scale and shift [channels].
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/parallel.h"
#include "math/activation.h"
#include "math/scalar.h"

namespace frnet {

enum class Layout : int32_t {
  nchw,
  channels_last,  // [n, h, w, c] in memory
};

struct DepthwiseConv2dShape {
  int64_t batch;
  int64_t channels;
  int64_t in_height;
  int64_t in_width;
  int64_t out_height;  // (in_height + 2*padding_h - dilation_h*(kernel_h-1) - 1) / stride_h + 1
  int64_t out_width;
  int64_t kernel_h;
  int64_t kernel_w;
  int64_t stride_h;
  int64_t stride_w;
  int64_t padding_h;
  int64_t padding_w;
  int64_t dilation_h;
  int64_t dilation_w;
  Layout layout;
  // Channels of the tensors in memory: `channels`, or more where x, y and their gradients are a slice of the
  // channels of wider tensors (the pointers then point at the slice's first channel). Nothing outside the slice is
  // touched.
  int64_t memory_channels;
};

// What follows the convolution.
template <typename A>
struct Epilogue {
  const A* scale = nullptr;  // [channels]; null: 1
  const A* shift = nullptr;  // [channels]; null: 0
  Activation activation = Activation::none;
};

// The input of a convolution: x, and where addend is not null x + addend, rounded nowhere in between.
template <typename T>
struct ConvInput {
  const T* x;
  const T* addend = nullptr;  // of x's shape and strides
};

// What the gradients are taken of. With g = grad_y * activation'(scale * v + shift), the gradient that reaches the
// convolution's result is
//   grad_v = scale * g + constant + linear * v
// where constant and linear are the terms through which batch statistics depend on v; null: zero.
template <typename T>
struct ConvGradient {
  using A = accumulator_t<T>;
  const T* grad_y = nullptr;         // null: zero
  const T* grad_y_addend = nullptr;  // null, or added to grad_y as it is read; of its shape and strides
  ConvInput<T> input;
  const T* weight = nullptr;
  const T* bias = nullptr;  // may be null
  Epilogue<A> epilogue;
  const A* constant = nullptr;  // [channels]
  const A* linear = nullptr;    // [channels]
};

// Where the gradients go; null: not wanted.
template <typename T>
struct ConvGradientOutput {
  using A = accumulator_t<T>;
  T* grad_x = nullptr;       // (the addend's gradient is the same)
  T* grad_weight = nullptr;  // [channels, kernel_h, kernel_w]
  T* grad_bias = nullptr;    // sum of grad_v
  A* grad_scale = nullptr;   // sum of g * v
  A* grad_shift = nullptr;   // sum of g
};

namespace cpu {

// bias may be null. pooled may be null; else it receives the mean of y over each plane, [batch, channels], taken
// before y is rounded to T.
template <typename T>
void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                      const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled,
                      const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

// Bytes of scratch that depthwise_conv2d needs; like every workspace here it depends on the shape alone, so that the
// order of summation, and with it every bit of the result, does not depend on the number of threads.
template <typename T>
size_t depthwise_conv2d_workspace(const DepthwiseConv2dShape& shape, bool pooled);

// Mean and biased variance of v over batch and plane, [channels] each; v itself is not written.
template <typename T>
void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, const DepthwiseConv2dShape& shape, void* workspace,
                                 const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_statistics_workspace(const DepthwiseConv2dShape& shape);

// sum_g and sum_gv [channels], what the terms of batch statistics are computed from (math/batch_norm.h);
// gradient.constant and gradient.linear are not read.
template <typename T>
void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                    const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

// v is computed again, not read.
template <typename T>
void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                               const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

// For both.
template <typename T>
size_t depthwise_conv2d_backward_workspace(const DepthwiseConv2dShape& shape);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                      const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled,
                      const DepthwiseConv2dShape& shape, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_workspace(const DepthwiseConv2dShape& shape, bool pooled);

template <typename T>
void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, const DepthwiseConv2dShape& shape, void* workspace,
                                 void* stream);

template <typename T>
size_t depthwise_conv2d_statistics_workspace(const DepthwiseConv2dShape& shape);

template <typename T>
void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                    const DepthwiseConv2dShape& shape, void* workspace, void* stream);

template <typename T>
void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                               const DepthwiseConv2dShape& shape, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_backward_workspace(const DepthwiseConv2dShape& shape);

}  // namespace cuda
}  // namespace frnet
