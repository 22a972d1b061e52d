// What the tests of the gates compare with: convolution, epilogue and SGE gate in double, written straight from the
// headers' formulas, each value with a bound of the error that the arithmetic of the kernels may bring to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "activation_reference.h"
#include "check.h"
#include "frnet/depthwise_conv2d.h"
#include "math/activation.h"
#include "math/scalar.h"

namespace test {

struct Bounded {
  double value = 0;
  double error = 0;
};

// Sums of the accumulation type, as in require_close.
template <typename T>
constexpr double kSumError = 16 * Precision<frnet::accumulator_t<T>>::value;

template <typename T>
void require_within(const std::vector<T>& got, const std::vector<Bounded>& want, const std::string& what) {
  require(got.size() == want.size(), what + ": wrong size");
  const double smallest = std::is_same<T, frnet::float16>::value ? 3e-8 : 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double value = frnet::math::widen(got[i]);
    const double tolerance = Precision<T>::value * std::fabs(want[i].value) + smallest + want[i].error;
    if (!(std::fabs(value - want[i].value) <= tolerance)) {
      char message[160];
      std::snprintf(message, sizeof message, " [%zu of %zu] got %.9g, want %.9g, tolerance %.2g", i, got.size(), value,
                    want[i].value, tolerance);
      throw std::runtime_error(what + message);
    }
  }
}

template <typename T>
std::vector<Bounded> exactly(const std::vector<T>& values) {
  std::vector<Bounded> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i].value = frnet::math::widen(values[i]);
  return result;
}

// As stored in T. A value that is not known exactly may round the other way.
template <typename T>
Bounded rounded(Bounded v) {
  const double stored = frnet::math::widen(frnet::math::narrow<T>(static_cast<frnet::accumulator_t<T>>(v.value)));
  return {stored, v.error == 0 ? 0 : v.error + 2 * Precision<T>::value * std::fabs(v.value)};
}

// No activation is steeper than this.
constexpr double kSteepest = 1.5;

struct ConvAxis {
  int64_t kernel, stride, padding, dilation;
};

inline frnet::DepthwiseConv2dShape make_conv_shape(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                                   ConvAxis y, ConvAxis x, frnet::Layout layout) {
  const auto output = [](int64_t input, ConvAxis a) {
    const int64_t slack = input + 2 * a.padding - a.dilation * (a.kernel - 1) - 1;
    return slack < 0 ? int64_t{0} : slack / a.stride + 1;
  };
  return {batch,    channels, height,    width,     output(height, y), output(width, x), y.kernel, x.kernel,
          y.stride, x.stride, y.padding, x.padding, y.dilation,        x.dilation,       layout,   channels};
}

// Of element (n, c, pixel) in a dense tensor.
inline size_t element(frnet::Layout layout, int64_t channels, int64_t pixels, int64_t n, int64_t c, int64_t pixel) {
  return static_cast<size_t>(layout == frnet::Layout::nchw ? (n * channels + c) * pixels + pixel
                                                           : (n * pixels + pixel) * channels + c);
}

// A convolution's parameters; empty: not given.
template <typename T>
struct ConvParameters {
  using A = frnet::accumulator_t<T>;
  std::vector<T> weight, bias;
  std::vector<A> scale, shift;
  frnet::Activation activation = frnet::Activation::none;
};

// activation(scale * conv(input) + shift) for channels [begin, end) of `shape`, into y; not rounded.
template <typename T>
void convolve(const frnet::DepthwiseConv2dShape& s, const std::vector<Bounded>& input, const ConvParameters<T>& p,
              int64_t begin, int64_t end, std::vector<Bounded>& y) {
  const int64_t in_pixels = s.in_height * s.in_width;
  const int64_t out_pixels = s.out_height * s.out_width;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = begin; c < end; ++c)
      for (int64_t oy = 0; oy < s.out_height; ++oy)
        for (int64_t ox = 0; ox < s.out_width; ++ox) {
          const auto at = static_cast<size_t>(c);
          double sum = p.bias.empty() ? 0 : static_cast<double>(frnet::math::widen(p.bias[at]));
          double magnitude = std::fabs(sum);
          double error = 0;
          for (int64_t ky = 0; ky < s.kernel_h; ++ky)
            for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
              const int64_t iy = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
              const int64_t ix = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
              if (iy < 0 || iy >= s.in_height || ix < 0 || ix >= s.in_width) continue;
              const double w =
                  frnet::math::widen(p.weight[static_cast<size_t>((c * s.kernel_h + ky) * s.kernel_w + kx)]);
              const Bounded& x = input[element(s.layout, s.channels, in_pixels, n, c, iy * s.in_width + ix)];
              sum += w * x.value;
              magnitude += std::fabs(w * x.value);
              error += std::fabs(w) * x.error;
            }
          const double scale = p.scale.empty() ? 1 : static_cast<double>(p.scale[at]);
          const double shift = p.shift.empty() ? 0 : static_cast<double>(p.shift[at]);
          error = std::fabs(scale) * (error + kSumError<T> * magnitude) + kSumError<T> * std::fabs(shift);
          y[element(s.layout, s.channels, out_pixels, n, c, oy * s.out_width + ox)] = {
              activate(p.activation, scale * sum + shift), kSteepest * error};
        }
}

// The gate of math/sge.h on x, elementwise errors included.
template <typename T>
std::vector<Bounded> sge_gated(const std::vector<Bounded>& x, const std::vector<frnet::accumulator_t<T>>& weight,
                               const std::vector<frnet::accumulator_t<T>>& bias, int64_t batch, int64_t channels,
                               int64_t pixels, int64_t groups, frnet::Layout layout) {
  std::vector<Bounded> y(x.size());
  const int64_t per_group = channels / groups;
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t g = 0; g < groups; ++g) {
      std::vector<Bounded> t(static_cast<size_t>(pixels));
      for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
        Bounded m;
        long double sum_x = 0;  // or for double the errors of these loops would count too
        for (int64_t p = 0; p < pixels; ++p) {
          const Bounded& v = x[element(layout, channels, pixels, n, c, p)];
          sum_x += v.value;
          m.error += (v.error + kSumError<T> * std::fabs(v.value)) / pixels;
        }
        m.value = static_cast<double>(sum_x / pixels);
        for (int64_t p = 0; p < pixels; ++p) {
          const Bounded& v = x[element(layout, channels, pixels, n, c, p)];
          Bounded& sum = t[static_cast<size_t>(p)];
          sum.value += m.value * v.value;
          sum.error += (std::fabs(m.value) + m.error) * v.error + m.error * std::fabs(v.value) +
                       kSumError<T> * std::fabs(m.value * v.value);
        }
      }
      long double sum_t = 0, squares = 0;
      double worst = 0;
      for (const Bounded& v : t) sum_t += v.value;
      const auto mean = static_cast<double>(sum_t / pixels);
      for (const Bounded& v : t) {
        squares += (v.value - mean) * (v.value - mean);
        worst = std::max(worst, v.error + kSumError<T> * std::fabs(v.value));
      }
      const double inv = 1 / (std::sqrt(static_cast<double>(squares) / (pixels - 1)) + 1e-5);
      const double w = weight[static_cast<size_t>(g)];
      for (int64_t p = 0; p < pixels; ++p) {
        const double h = (t[static_cast<size_t>(p)].value - mean) * inv;
        const double error_h = 2 * worst * inv * (1 + std::fabs(h)) + kSumError<T> * std::fabs(h);
        const double s = 1 / (1 + std::exp(-(w * h + bias[static_cast<size_t>(g)])));
        for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
          const size_t i = element(layout, channels, pixels, n, c, p);
          y[i].value = x[i].value * s;
          y[i].error = std::fabs(x[i].value) * (std::fabs(w) * error_h / 4 + kSumError<T>)+x[i].error;
        }
      }
    }
  return y;
}

}  // namespace test
