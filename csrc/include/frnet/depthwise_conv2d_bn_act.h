// Depthwise convolution, batch normalisation with the statistics of its own result, activation:
//
//   y = activation(gamma * (v - mean) / sqrt(variance + epsilon) + beta),   v as in frnet/depthwise_conv2d.h
//
// with mean and biased variance of v over batch and plane. Types and pointers as there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/batch_norm.h"
#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"

namespace frnet {
namespace cpu {

// norm.mean and norm.variance are not read: they are mean and variance, which are written.
template <typename T>
void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                             const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                             accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, void* workspace,
                             const Parallel& parallel);

// Of gradient.epilogue the activation alone is read, and neither constant nor linear. output.grad_scale and grad_shift
// receive the gradients of gamma and beta.
template <typename T>
void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                                      const ConvGradientOutput<T>& output, const DepthwiseConv2dShape& shape,
                                      void* workspace, const Parallel& parallel);

template <typename T>
size_t depthwise_conv2d_bn_act_workspace(const DepthwiseConv2dShape& shape);

template <typename T>
size_t depthwise_conv2d_bn_act_backward_workspace(const DepthwiseConv2dShape& shape);

}  // namespace cpu

namespace cuda {

template <typename T>
void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                             const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                             accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, void* workspace,
                             void* stream);

template <typename T>
void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                                      const ConvGradientOutput<T>& output, const DepthwiseConv2dShape& shape,
                                      void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_bn_act_workspace(const DepthwiseConv2dShape& shape);

template <typename T>
size_t depthwise_conv2d_bn_act_backward_workspace(const DepthwiseConv2dShape& shape);

}  // namespace cuda
}  // namespace frnet
