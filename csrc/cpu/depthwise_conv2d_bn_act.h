// The copies of the convolution with batch statistics, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/depthwise_conv2d_bn_act.h"

FRNET_IN_EVERY_ISA(
    template <typename T>
    void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, void* workspace,
                                 const Parallel& parallel);

    template <typename T>
    void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                                          const ConvGradientOutput<T>& output, const DepthwiseConv2dShape& shape,
                                          void* workspace, const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_bn_act_workspace(const DepthwiseConv2dShape& shape);

    template <typename T> size_t depthwise_conv2d_bn_act_backward_workspace(const DepthwiseConv2dShape& shape);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(T)                                                                  \
  template void depthwise_conv2d_bn_act<T>(                                                                           \
      const ConvInput<T>&, const T*, const T*, const BatchNorm<accumulator_t<T>>&, Activation, accumulator_t<T>*,     \
      accumulator_t<T>*, T*, const DepthwiseConv2dShape&, void*, const Parallel&);                                    \
  template void depthwise_conv2d_bn_act_backward<T>(const ConvGradient<T>&, const BatchNorm<accumulator_t<T>>&,       \
                                                    const ConvGradientOutput<T>&, const DepthwiseConv2dShape&, void*, \
                                                    const Parallel&);                                                 \
  template size_t depthwise_conv2d_bn_act_workspace<T>(const DepthwiseConv2dShape&);                                  \
  template size_t depthwise_conv2d_bn_act_backward_workspace<T>(const DepthwiseConv2dShape&);
