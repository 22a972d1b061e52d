// Depthwise 2-D convolution (cross-correlation), its input gradient and its weight and bias gradients.
//
//   y[n,c,oy,ox] = bias[c] + sum_{ky,kx} weight[c,ky,kx] *
//                  x[n, c, oy*stride_h - padding_h + ky*dilation_h, ox*stride_w - padding_w + kx*dilation_w]
//
// with zeros outside x. T is float, double, float16 or bfloat16; the two 16-bit types are storage only.
// Pointers are dense: x, y and their gradients in the shape's layout, weight always [channels, kernel_h,
// kernel_w], bias [channels].
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/parallel.h"
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
};

namespace cpu {

// bias may be null.
template <typename T>
void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,
                      const Parallel& parallel);

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape,
                                     const Parallel& parallel);

// Bytes of scratch that depthwise_conv2d_backward_weight needs; depends on the shape alone, so that the
// order of summation, and with it every bit of the result, does not depend on the number of threads.
template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape);

// grad_bias may be null.
template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,
                                      const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,
                      void* stream);

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape,
                                     void* stream);

template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape);

template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,
                                      const DepthwiseConv2dShape& shape, void* workspace, void* stream);

}  // namespace cuda
}  // namespace frnet
