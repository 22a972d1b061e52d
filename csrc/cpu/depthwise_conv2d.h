// The copies of the depthwise convolution, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include <type_traits>

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

// Calls run(K, S) with integral constants: the kernel's size and stride where both are square, known when compiling and
// undilated, (0, 0) for everything else.
template <typename F>
inline __attribute__((always_inline)) void with_square_kernel(const DepthwiseConv2dShape& s, const F& run) {
  const bool square = s.kernel_h == s.kernel_w && s.dilation_h == 1 && s.dilation_w == 1 && s.stride_h == s.stride_w;
  const int64_t k = square ? s.kernel_h : 0, stride = s.stride_h;
  using std::integral_constant;
  if (k == 3 && stride == 1) return run(integral_constant<int, 3>{}, integral_constant<int, 1>{});
  if (k == 3 && stride == 2) return run(integral_constant<int, 3>{}, integral_constant<int, 2>{});
  if (k == 5 && stride == 1) return run(integral_constant<int, 5>{}, integral_constant<int, 1>{});
  if (k == 5 && stride == 2) return run(integral_constant<int, 5>{}, integral_constant<int, 2>{});
  return run(integral_constant<int, 0>{}, integral_constant<int, 0>{});
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

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_DEPTHWISE_CONV2D(T)                                                                        \
  template void depthwise_conv2d<T>(const T*, const T*, const T*, T*, const DepthwiseConv2dShape&, const Parallel&); \
  template void depthwise_conv2d_backward_input<T>(const T*, const T*, T*, const DepthwiseConv2dShape&,              \
                                                   const Parallel&);                                                 \
  template size_t depthwise_conv2d_backward_weight_workspace<T>(const DepthwiseConv2dShape&);                        \
  template void depthwise_conv2d_backward_weight<T>(const T*, const T*, T*, T*, const DepthwiseConv2dShape&, void*,  \
                                                    const Parallel&);
