// The copies of the depthwise convolution, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/depthwise_conv2d.h"

FRNET_IN_EVERY_ISA(
    template <typename T>
    void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled,
                          const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_workspace(const DepthwiseConv2dShape& shape, bool pooled);

    template <typename T>
    void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                     accumulator_t<T>* variance, const DepthwiseConv2dShape& shape, void* workspace,
                                     const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_statistics_workspace(const DepthwiseConv2dShape& shape);

    // The same, and v itself goes to y where that is not null, which is for shapes that work in tiles.
    template <typename T>
    void depthwise_conv2d_with_statistics(const ConvInput<T>& input, const T* weight, const T* bias, T* y,
                                          accumulator_t<T>* mean, accumulator_t<T>* variance,
                                          const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

    template <typename T>
    void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g,
                                        accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, void* workspace,
                                        const Parallel& parallel);

    template <typename T>
    void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                   const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_backward_workspace(const DepthwiseConv2dShape& shape);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_DEPTHWISE_CONV2D(T)                                                                       \
  template void depthwise_conv2d<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&, T*, \
                                    accumulator_t<T>*, const DepthwiseConv2dShape&, void*, const Parallel&);        \
  template size_t depthwise_conv2d_workspace<T>(const DepthwiseConv2dShape&, bool);                                 \
  template void depthwise_conv2d_statistics<T>(const ConvInput<T>&, const T*, const T*, accumulator_t<T>*,          \
                                               accumulator_t<T>*, const DepthwiseConv2dShape&, void*,               \
                                               const Parallel&);                                                    \
  template size_t depthwise_conv2d_statistics_workspace<T>(const DepthwiseConv2dShape&);                            \
  template void depthwise_conv2d_backward_sums<T>(const ConvGradient<T>&, accumulator_t<T>*, accumulator_t<T>*,     \
                                                  const DepthwiseConv2dShape&, void*, const Parallel&);             \
  template void depthwise_conv2d_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,                  \
                                             const DepthwiseConv2dShape&, void*, const Parallel&);                  \
  template size_t depthwise_conv2d_backward_workspace<T>(const DepthwiseConv2dShape&);
