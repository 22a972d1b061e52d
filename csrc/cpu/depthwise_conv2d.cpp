// Depthwise convolution on the CPU: launchers over the two layouts.

#include "cpu/depthwise_conv2d.h"

#include "cpu/depthwise_conv2d_channels_last.h"
#include "cpu/depthwise_conv2d_narrow.h"
#include "cpu/depthwise_conv2d_nchw.h"
#include "cpu/depthwise_conv2d_nchw_backward.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

template <typename T>
bool is_narrow(const DepthwiseConv2dShape& s) {
  return s.layout == Layout::nchw && narrow::suits<accumulator_t<T>>(s);
}

template <typename T>
int64_t partial_chunks(const DepthwiseConv2dShape& s) {
  const int64_t images = s.layout == Layout::channels_last ? channels_last::kImagesPerPartial
                         : is_narrow<T>(s)                 ? narrow::kImagesPerPartial
                                                           : nchw::kImagesPerPartial;
  return math::ceil_div(s.batch, images);
}

template <typename T>
void convolve(const T* x, const T* weight, const T* bias, bool flip, T* y, const DepthwiseConv2dShape& shape,
              const Parallel& parallel) {
  if (shape.layout == Layout::channels_last) {
    channels_last::forward(x, weight, bias, flip, y, shape, parallel);
  } else if (is_narrow<T>(shape)) {
    narrow::forward(x, weight, bias, flip, y, shape, parallel);
  } else {
    nchw::forward(x, weight, bias, flip, y, shape, parallel);
  }
}

}  // namespace

template <typename T>
void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,
                      const Parallel& parallel) {
  if (shape.batch * shape.channels * shape.out_height * shape.out_width == 0) return;
  convolve(x, weight, bias, /*flip=*/false, y, shape, parallel);
}

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape,
                                     const Parallel& parallel) {
  if (shape.batch * shape.channels * shape.in_height * shape.in_width == 0) return;
  if (shape.stride_h == 1 && shape.stride_w == 1) {
    convolve<T>(grad_y, weight, nullptr, /*flip=*/true, grad_x, turned_shape(shape), parallel);
  } else if (shape.layout == Layout::channels_last) {
    channels_last::backward_input(grad_y, weight, grad_x, shape, parallel);
  } else if (is_narrow<T>(shape)) {
    narrow::backward_input(grad_y, weight, grad_x, shape, parallel);
  } else {
    nchw::backward_input(grad_y, weight, grad_x, shape, parallel);
  }
}

template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape) {
  return static_cast<size_t>(partial_chunks<T>(shape) * shape.channels * (shape.kernel_h * shape.kernel_w + 1)) *
         sizeof(double);
}

template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,
                                      const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel) {
  double* partials = static_cast<double*>(workspace);
  if (shape.layout == Layout::channels_last) {
    channels_last::backward_weight_partials(grad_y, x, partials, shape, parallel);
  } else if (is_narrow<T>(shape)) {
    narrow::backward_weight_partials(grad_y, x, partials, shape, parallel);
  } else {
    nchw::backward_weight_partials(grad_y, x, partials, shape, parallel);
  }
  using A = accumulator_t<T>;
  const int64_t taps = shape.kernel_h * shape.kernel_w;
  const int64_t chunks = partial_chunks<T>(shape);
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t k = 0; k <= taps; ++k) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[(chunk * shape.channels + c) * (taps + 1) + k];
      if (k < taps) {
        grad_weight[c * taps + k] = math::narrow<T>(static_cast<A>(sum));
      } else if (grad_bias != nullptr) {
        grad_bias[c] = math::narrow<T>(static_cast<A>(sum));
      }
    }
  }
}

FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
