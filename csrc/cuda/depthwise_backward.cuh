// The gradients of the convolution itself, given the gradient of its result: grad_v [batch, channels, out_height,
// out_width] in the shape's layout, a slice of grad_channels channels in memory. x and grad_x have the shape's
// memory_channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/depthwise_conv2d.h"

namespace frnet {
namespace cuda {

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_v, int64_t grad_channels, const T* weight, T* grad_x,
                                     const DepthwiseConv2dShape& shape, void* stream);

// grad_weight and grad_bias may be null.
template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_v, int64_t grad_channels, const ConvInput<T>& input, T* grad_weight,
                                      T* grad_bias, const DepthwiseConv2dShape& shape, void* workspace, void* stream);

template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape);

}  // namespace cuda
}  // namespace frnet
