// The copies of the depthwise convolution, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "frnet/depthwise_conv2d.h"

namespace frnet::cpu {

// The input gradient of a stride-1 convolution is the convolution of grad_y, under this shape, with the kernel
// turned by 180 degrees. Its padding is negative where the original's was wider than the kernel's reach.
inline __attribute__((always_inline)) DepthwiseConv2dShape turned_shape(DepthwiseConv2dShape s) {
  const DepthwiseConv2dShape original = s;
  s.in_height = original.out_height;
  s.in_width = original.out_width;
  s.out_height = original.in_height;
  s.out_width = original.in_width;
  s.padding_h = s.dilation_h * (s.kernel_h - 1) - s.padding_h;
  s.padding_w = s.dilation_w * (s.kernel_w - 1) - s.padding_w;
  return s;
}

}  // namespace frnet::cpu

#define FRNET_DECLARE(isa)                                                                                             \
  namespace frnet::cpu::isa {                                                                                          \
  template <typename T>                                                                                                \
  void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,           \
                        const Parallel& parallel);                                                                     \
  template <typename T>                                                                                                \
  void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape, \
                                       const Parallel& parallel);                                                      \
  template <typename T>                                                                                                \
  size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape);                                \
  template <typename T>                                                                                                \
  void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,                     \
                                        const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel); \
  }
FRNET_DECLARE(baseline)
FRNET_DECLARE(avx2)
FRNET_DECLARE(avx512)
#undef FRNET_DECLARE
