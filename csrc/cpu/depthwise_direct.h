// Depthwise convolution one value at a time, for kernels that reach too far for lane images.
//
// Everything goes through v, the convolution's result in the accumulation type, in a workspace the size of y.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA::direct {

// The planes of one tensor, by the distances between images, channels, rows and columns.
template <typename T>
struct Planes {
  T* data;
  int64_t image, channel, row, col;

  Planes(T* data, const Shape& s, int64_t height, int64_t width, int64_t memory_channels)
      : data(data),
        image(memory_channels * height * width),
        channel(s.layout == Layout::channels_last ? 1 : height * width),
        row(s.layout == Layout::channels_last ? width * memory_channels : width),
        col(s.layout == Layout::channels_last ? memory_channels : 1) {}
  Planes(T* data, const Shape& s, int64_t height, int64_t width) : Planes(data, s, height, width, s.memory_channels) {}

  T& at(int64_t n, int64_t c, int64_t y, int64_t x) const { return data[n * image + c * channel + y * row + x * col]; }
};

// v has no channels but the slice's own.
template <typename A>
Planes<A> result_planes(A* v, const Shape& s) {
  return {v, s, s.out_height, s.out_width, s.channels};
}

template <typename T>
accumulator_t<T> value_at(const ConvInput<T>& input, const Shape& s, int64_t n, int64_t c, int64_t y, int64_t x) {
  const accumulator_t<T> value = math::widen(Planes(input.x, s, s.in_height, s.in_width).at(n, c, y, x));
  if (input.addend == nullptr) return value;
  return value + math::widen(Planes(input.addend, s, s.in_height, s.in_width).at(n, c, y, x));
}

// Calls body(n, c) for every plane, in parallel.
template <typename F>
void for_planes(const Shape& s, const Parallel& parallel, const F& body) {
  parallel(s.batch * s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) body(plane / s.channels, plane % s.channels);
  });
}

// Calls body(input row, input column, tap) for the taps of one result that lie inside the plane.
template <typename F>
void for_taps(const Shape& s, int64_t oy, int64_t ox, const F& body) {
  const int64_t iy = oy * s.stride_h - s.padding_h, ix = ox * s.stride_w - s.padding_w;
  const auto rows = math::valid_taps(iy, s.in_height, s.kernel_h, s.dilation_h);
  const auto columns = math::valid_taps(ix, s.in_width, s.kernel_w, s.dilation_w);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      body(iy + i * s.dilation_h, ix + j * s.dilation_w, i * s.kernel_w + j);
    }
  }
}

template <typename T, typename A = accumulator_t<T>>
void convolve(const ConvInput<T>& input, const T* weight, const T* bias, A* v, const Shape& s,
              const Parallel& parallel) {
  const Planes<A> results = result_planes(v, s);
  const int64_t taps = s.kernel_h * s.kernel_w;
  for_planes(s, parallel, [&](int64_t n, int64_t c) {
    for (int64_t oy = 0; oy < s.out_height; ++oy) {
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        A sum = bias == nullptr ? A(0) : math::widen(bias[c]);
        for_taps(s, oy, ox, [&](int64_t y, int64_t x, int64_t k) {
          sum += math::widen(weight[c * taps + k]) * value_at(input, s, n, c, y, x);
        });
        results.at(n, c, oy, ox) = sum;
      }
    }
  });
}

template <typename T, typename A = accumulator_t<T>>
void forward(const ConvInput<T>& input, const T* weight, const T* bias, const Epilogue<A>& epilogue, T* y, A* pooled,
             const Shape& s, A* v, const Parallel& parallel) {
  convolve(input, weight, bias, v, s, parallel);
  const Planes<A> results = result_planes(v, s);
  const Planes<T> out(y, s, s.out_height, s.out_width);
  for_planes(s, parallel, [&](int64_t n, int64_t c) {
    const A scale = epilogue.scale == nullptr ? A(1) : epilogue.scale[c];
    const A shift = epilogue.shift == nullptr ? A(0) : epilogue.shift[c];
    double sum = 0;
    for (int64_t oy = 0; oy < s.out_height; ++oy) {
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const A value =
            math::activate<A>(epilogue.activation, scale * results.at(n, c, oy, ox) + shift, math::ScalarExp{});
        sum += value;
        out.at(n, c, oy, ox) = math::narrow<T>(value);
      }
    }
    if (pooled != nullptr) pooled[n * s.channels + c] = static_cast<A>(sum / (s.out_height * s.out_width));
  });
}

template <typename A>
void statistics(const A* v, A* mean, A* variance, const Shape& s, const Parallel& parallel) {
  const Planes<const A> results = result_planes(v, s);
  parallel(s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const auto sum_of = [&](double center, bool squared) {
        double sum = 0;
        for (int64_t n = 0; n < s.batch; ++n) {
          for (int64_t oy = 0; oy < s.out_height; ++oy) {
            for (int64_t ox = 0; ox < s.out_width; ++ox) {
              const double distance = results.at(n, c, oy, ox) - center;
              sum += squared ? distance * distance : distance;
            }
          }
        }
        return sum / static_cast<double>(s.batch * s.out_height * s.out_width);
      };
      const double center = sum_of(0, false);
      mean[c] = static_cast<A>(center);
      variance[c] = static_cast<A>(sum_of(center, true));
    }
  });
}

// Turns v into grad_v in place and writes the three sums of every channel: grad_v, g, g * v.
template <typename T, typename A = accumulator_t<T>>
void form_gradient(const ConvGradient<T>& gradient, A* v, double* sums, const Shape& s, const Parallel& parallel) {
  const Planes<A> results = result_planes(v, s);
  const Planes<const T> grad_y(gradient.grad_y, s, s.out_height, s.out_width);
  const Planes<const T> addend(gradient.grad_y_addend, s, s.out_height, s.out_width);
  parallel(s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const auto read = [c](const A* values, A otherwise) { return values == nullptr ? otherwise : values[c]; };
      const A scale = read(gradient.epilogue.scale, 1), shift = read(gradient.epilogue.shift, 0);
      const A constant = read(gradient.constant, 0), linear = read(gradient.linear, 0);
      double sum_v = 0, sum_g = 0, sum_gv = 0;
      for (int64_t n = 0; n < s.batch; ++n) {
        for (int64_t oy = 0; oy < s.out_height; ++oy) {
          for (int64_t ox = 0; ox < s.out_width; ++ox) {
            A& value = results.at(n, c, oy, ox);
            A g = gradient.grad_y == nullptr ? A(0) : math::widen(grad_y.at(n, c, oy, ox));
            if (gradient.grad_y_addend != nullptr) g += math::widen(addend.at(n, c, oy, ox));
            g = math::activation_gradient<A>(gradient.epilogue.activation, scale * value + shift, g, math::ScalarExp{});
            sum_g += g;
            sum_gv += static_cast<double>(g) * value;
            value = scale * g + constant + (gradient.linear == nullptr ? A(0) : linear * value);
            sum_v += value;
          }
        }
      }
      sums[c * 3] = sum_v;
      sums[c * 3 + 1] = sum_g;
      sums[c * 3 + 2] = sum_gv;
    }
  });
}

template <typename T, typename A = accumulator_t<T>>
void backward_input(const A* grad_v, const T* weight, T* grad_x, const Shape& s, const Parallel& parallel) {
  const Planes<const A> grad = result_planes(grad_v, s);
  const Planes<T> out(grad_x, s, s.in_height, s.in_width);
  const int64_t taps = s.kernel_h * s.kernel_w;
  for_planes(s, parallel, [&](int64_t n, int64_t c) {
    for (int64_t iy = 0; iy < s.in_height; ++iy) {
      for (int64_t ix = 0; ix < s.in_width; ++ix) {
        A sum = 0;
        for (int64_t i = 0; i < s.kernel_h; ++i) {
          const int64_t oy = math::output_of(iy, i, s.out_height, s.stride_h, s.padding_h, s.dilation_h);
          if (oy < 0) continue;
          for (int64_t j = 0; j < s.kernel_w; ++j) {
            const int64_t ox = math::output_of(ix, j, s.out_width, s.stride_w, s.padding_w, s.dilation_w);
            if (ox >= 0) sum += math::widen(weight[c * taps + i * s.kernel_w + j]) * grad.at(n, c, oy, ox);
          }
        }
        out.at(n, c, iy, ix) = math::narrow<T>(sum);
      }
    }
  });
}

template <typename T, typename A = accumulator_t<T>>
void backward_weight(const A* grad_v, const ConvInput<T>& input, T* grad_weight, const Shape& s,
                     const Parallel& parallel) {
  const Planes<const A> grad = result_planes(grad_v, s);
  const int64_t taps = s.kernel_h * s.kernel_w;
  parallel(s.channels * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item / taps, k = item % taps;
      const int64_t y = k / s.kernel_w * s.dilation_h - s.padding_h, x = k % s.kernel_w * s.dilation_w - s.padding_w;
      const auto rows = math::valid_outputs(y, s.in_height, s.out_height, s.stride_h);
      const auto columns = math::valid_outputs(x, s.in_width, s.out_width, s.stride_w);
      double sum = 0;
      for (int64_t n = 0; n < s.batch; ++n) {
        for (int64_t oy = rows.begin; oy < rows.end; ++oy) {
          for (int64_t ox = columns.begin; ox < columns.end; ++ox) {
            sum += static_cast<double>(grad.at(n, c, oy, ox)) *
                   value_at(input, s, n, c, oy * s.stride_h + y, ox * s.stride_w + x);
          }
        }
      }
      grad_weight[item] = math::narrow<T>(static_cast<A>(sum));
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA::direct
