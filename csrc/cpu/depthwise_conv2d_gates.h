// The copies of the convolutions with a gate behind them, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/se_gate.h"
#include "frnet/sge_gate.h"

FRNET_IN_EVERY_ISA(
    template <typename T>
    void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                             const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                             const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                             const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

    template <typename T>
    void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                    const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                    const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                    accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape,
                                    int64_t squeezed, void* workspace, const Parallel& parallel);

    template <typename T>
    size_t depthwise_conv2d_bn_act_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

    template <typename T>
    void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                           const SeGateGradient<accumulator_t<T>>& gate_gradient,
                                           accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                           const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                                           const Parallel& parallel);

    template <typename T>
    void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                      const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                                      const Parallel& parallel);

    template <typename T>
    size_t depthwise_conv2d_se_backward_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed);

    template <typename T>
    void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                              const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                              const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                              const Parallel& parallel);

    template <typename T> size_t depthwise_conv2d_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

    template <typename T>
    void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                     const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                     const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                     accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape,
                                     int64_t groups, void* workspace, const Parallel& parallel);

    template <typename T>
    size_t depthwise_conv2d_bn_act_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups);

    template <typename T>
    void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                            accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                            accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                            const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                            const Parallel& parallel);

    template <typename T>
    void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                       const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                       const Parallel& parallel);

    template <typename T>
    size_t depthwise_conv2d_sge_backward_workspace(const DepthwiseConv2dShape& shape, int64_t groups);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(T)                                                                     \
  template void depthwise_conv2d_bn_act_se<T>(const ConvInput<T>&, const T*, const T*,                               \
                                              const BatchNorm<accumulator_t<T>>&, Activation,                        \
                                              const SeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, \
                                              T*, const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);     \
  template size_t depthwise_conv2d_bn_act_se_workspace<T>(const DepthwiseConv2dShape&, int64_t);                     \
  template void depthwise_conv2d_se<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&,   \
                                       const SeGate<accumulator_t<T>>&, T*, const DepthwiseConv2dShape&, int64_t,    \
                                       void*, const Parallel&);                                                      \
  template size_t depthwise_conv2d_se_workspace<T>(const DepthwiseConv2dShape&, int64_t);                            \
  template void depthwise_conv2d_se_backward_sums<T>(                                                                \
      const ConvGradient<T>&, const SeGate<accumulator_t<T>>&, const SeGateGradient<accumulator_t<T>>&,              \
      accumulator_t<T>*, accumulator_t<T>*, const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);           \
  template void depthwise_conv2d_se_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,                \
                                                const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);       \
  template size_t depthwise_conv2d_se_backward_workspace<T>(const DepthwiseConv2dShape&, int64_t);

#define FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(T)                                                                      \
  template void depthwise_conv2d_bn_act_sge<T>(const ConvInput<T>&, const T*, const T*,                                \
                                               const BatchNorm<accumulator_t<T>>&, Activation,                         \
                                               const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, \
                                               T*, const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);      \
  template size_t depthwise_conv2d_bn_act_sge_workspace<T>(const DepthwiseConv2dShape&, int64_t);                      \
  template void depthwise_conv2d_sge<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&,    \
                                        const SgeGate<accumulator_t<T>>&, T*, const DepthwiseConv2dShape&, int64_t,    \
                                        void*, const Parallel&);                                                       \
  template size_t depthwise_conv2d_sge_workspace<T>(const DepthwiseConv2dShape&, int64_t);                             \
  template void depthwise_conv2d_sge_backward_sums<T>(                                                                 \
      const ConvGradient<T>&, const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*,                  \
      accumulator_t<T>*, accumulator_t<T>*, const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);             \
  template void depthwise_conv2d_sge_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,                 \
                                                 const DepthwiseConv2dShape&, int64_t, void*, const Parallel&);        \
  template size_t depthwise_conv2d_sge_backward_workspace<T>(const DepthwiseConv2dShape&, int64_t);
