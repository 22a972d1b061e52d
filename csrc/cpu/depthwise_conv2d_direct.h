// Depthwise convolution one value at a time, for kernels that reach too far for the blocked paths.
//
// A plane is given by its first element and the distances between rows and between columns, so that the same
// loops serve both layouts.
#pragma once

#include <cstdint>

#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

// Outputs below which a second thread costs more than it saves; for the blocked paths too.
inline constexpr int64_t kOutputsPerThread = 8192;

namespace direct {

using Shape = DepthwiseConv2dShape;

// The planes of one tensor.
template <typename T>
struct Planes {
  T* data;
  int64_t image, channel, row, col;  // strides

  Planes(T* data, const Shape& s, int64_t height, int64_t width)
      : data(data),
        image(s.channels * height * width),
        channel(s.layout == Layout::channels_last ? 1 : height * width),
        row(s.layout == Layout::channels_last ? width * s.channels : width),
        col(s.layout == Layout::channels_last ? s.channels : 1) {}

  T* plane(int64_t n, int64_t c) const { return data + n * image + c * channel; }
};

template <typename T>
void forward(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Planes<const T> in(x, s, s.in_height, s.in_width);
  const Planes<T> out(y, s, s.out_height, s.out_width);
  const int64_t taps = s.kernel_h * s.kernel_w;
  parallel(s.batch * s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % s.channels;
      const T* from = in.plane(item / s.channels, c);
      T* to = out.plane(item / s.channels, c);
      const T* w = weight + c * taps;
      for (int64_t oy = 0; oy < s.out_height; ++oy) {
        const int64_t iy = oy * s.stride_h - s.padding_h;
        const auto ky = math::valid_taps(iy, s.in_height, s.kernel_h, s.dilation_h);
        for (int64_t ox = 0; ox < s.out_width; ++ox) {
          const int64_t ix = ox * s.stride_w - s.padding_w;
          const auto kx = math::valid_taps(ix, s.in_width, s.kernel_w, s.dilation_w);
          A sum = bias == nullptr ? A(0) : math::widen(bias[c]);
          for (int64_t i = ky.begin; i < ky.end; ++i) {
            for (int64_t j = kx.begin; j < kx.end; ++j) {
              const int64_t k = i * s.kernel_w + j;
              sum += math::widen(w[flip ? taps - 1 - k : k]) *
                     math::widen(from[(iy + i * s.dilation_h) * in.row + (ix + j * s.dilation_w) * in.col]);
            }
          }
          to[oy * out.row + ox * out.col] = math::narrow<T>(sum);
        }
      }
    }
  });
}

template <typename T>
void backward_input(const T* grad_y, const T* weight, T* grad_x, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Planes<const T> grad(grad_y, s, s.out_height, s.out_width);
  const Planes<T> out(grad_x, s, s.in_height, s.in_width);
  const int64_t taps = s.kernel_h * s.kernel_w;
  parallel(s.batch * s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % s.channels;
      const T* from = grad.plane(item / s.channels, c);
      T* to = out.plane(item / s.channels, c);
      for (int64_t iy = 0; iy < s.in_height; ++iy) {
        for (int64_t ix = 0; ix < s.in_width; ++ix) {
          A sum = 0;
          for (int64_t i = 0; i < s.kernel_h; ++i) {
            const int64_t oy = math::output_of(iy, i, s.out_height, s.stride_h, s.padding_h, s.dilation_h);
            if (oy < 0) continue;
            for (int64_t j = 0; j < s.kernel_w; ++j) {
              const int64_t ox = math::output_of(ix, j, s.out_width, s.stride_w, s.padding_w, s.dilation_w);
              if (ox < 0) continue;
              sum +=
                  math::widen(weight[c * taps + i * s.kernel_w + j]) * math::widen(from[oy * grad.row + ox * grad.col]);
            }
          }
          to[iy * out.row + ix * out.col] = math::narrow<T>(sum);
        }
      }
    }
  });
}

// One channel over images [first, last): partial is [kernel_h * kernel_w + 1], the bias gradient last.
template <typename T>
void backward_weight_partial(const T* grad_y, const T* x, double* partial, const Shape& s, int64_t c, int64_t first,
                             int64_t last) {
  const Planes<const T> grad(grad_y, s, s.out_height, s.out_width);
  const Planes<const T> in(x, s, s.in_height, s.in_width);
  const int64_t taps = s.kernel_h * s.kernel_w;
  for (int64_t k = 0; k <= taps; ++k) partial[k] = 0;
  for (int64_t n = first; n < last; ++n) {
    const T* g_plane = grad.plane(n, c);
    const T* x_plane = in.plane(n, c);
    for (int64_t oy = 0; oy < s.out_height; ++oy) {
      const int64_t iy = oy * s.stride_h - s.padding_h;
      const auto ky = math::valid_taps(iy, s.in_height, s.kernel_h, s.dilation_h);
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const int64_t ix = ox * s.stride_w - s.padding_w;
        const auto kx = math::valid_taps(ix, s.in_width, s.kernel_w, s.dilation_w);
        const double g = math::widen(g_plane[oy * grad.row + ox * grad.col]);
        partial[taps] += g;
        for (int64_t i = ky.begin; i < ky.end; ++i) {
          for (int64_t j = kx.begin; j < kx.end; ++j) {
            partial[i * s.kernel_w + j] +=
                g * math::widen(x_plane[(iy + i * s.dilation_h) * in.row + (ix + j * s.dilation_w) * in.col]);
          }
        }
      }
    }
  }
}

}  // namespace direct
}  // namespace frnet::cpu::FRNET_ISA
