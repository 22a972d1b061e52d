// What the depthwise convolution's tests compare with: the options of a case, its inputs, and loops in double written
// straight from the header's formulas.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "activation_reference.h"
#include "check.h"
#include "device_buffer.h"
#include "frnet/depthwise_conv2d.h"

namespace test {

using frnet::accumulator_t;
using frnet::Activation;
using frnet::DepthwiseConv2dShape;
using frnet::Layout;

// ------------------------------------------------------------------------------------------------- one case

// What a case uses of all that the contract offers.
struct Options {
  bool bias, scale, shift;
  Activation activation;
  bool addend, grad_y, grad_y_addend, constant, linear;
  bool pooled, grad_x, grad_weight, grad_bias, grad_scale, grad_shift;  // wanted
  int64_t before, after;  // channels in memory on either side of the shape's
  size_t offset;          // elements by which every tensor is off its alignment
  size_t skew;            // and tensor i by i times so many more
  double mean;            // of the bias
};

inline std::string describe(const DepthwiseConv2dShape& s, const Options& o, const char* type) {
  char text[400];
  std::snprintf(
      text, sizeof text,
      "%s %s [%d,%d,%d,%d] of %d+%d+%d channels, kernel %dx%d stride %dx%d padding %dx%d dilation %dx%d, "
      "offset %d skew %d, bias %d scale %d shift %d activation %d addend %d, backward: grad_y %d addend %d constant "
      "%d linear %d; ",
      type, s.layout == Layout::nchw ? "nchw" : "channels_last", int(s.batch), int(s.channels), int(s.in_height),
      int(s.in_width), int(o.before), int(s.channels), int(o.after), int(s.kernel_h), int(s.kernel_w), int(s.stride_h),
      int(s.stride_w), int(s.padding_h), int(s.padding_w), int(s.dilation_h), int(s.dilation_w), int(o.offset),
      int(o.skew), o.bias, o.scale, o.shift, int(o.activation), o.addend, o.grad_y, o.grad_y_addend, o.constant,
      o.linear);
  return text;
}

// A tensor on the device, as a slice of the channels of a wider one whose other values are NaN; on the host its values
// are in NCHW order whatever the layout is.
template <typename T>
class Slice {
 public:
  Slice(const DepthwiseConv2dShape& s, int64_t height, int64_t width, const Options& o, size_t index)
      : s_(s),
        plane_(height * width),
        before_(o.before),
        offset_(o.offset + index * o.skew),
        wide_(size_of(s.memory_channels)) {
    if (!wide_.empty()) std::memset(static_cast<void*>(wide_.data()), 0xff, wide_.size() * sizeof(T));
    buffer_.emplace(wide_, offset_);
  }
  Slice(const DepthwiseConv2dShape& s, int64_t height, int64_t width, const Options& o, size_t index,
        const std::vector<T>& values)
      : Slice(s, height, width, o, index) {
    for (size_t i = 0; i < values.size(); ++i) wide_[place(i)] = values[i];
    buffer_.emplace(wide_, offset_);
  }

  T* data() { return buffer_->data() + before_ * (s_.layout == Layout::nchw ? plane_ : 1) * (wide_.empty() ? 0 : 1); }

  // Throws where anything around the slice has changed.
  std::vector<T> download(const char* what) {
    std::vector<T> wide = buffer_->download();
    std::vector<T> values(size_of(s_.channels));
    for (size_t i = 0; i < values.size(); ++i) {
      T& value = wide[place(i)];
      values[i] = value;
      value = wide_[place(i)];
    }
    require_identical(wide_, wide, std::string(what) + " outside the slice");
    return values;
  }

 private:
  size_t size_of(int64_t channels) const { return static_cast<size_t>(s_.batch * channels * plane_); }
  size_t place(size_t i) const {
    const auto index = static_cast<int64_t>(i);
    const int64_t pixel = index % plane_;
    const int64_t c = index / plane_ % s_.channels + before_;
    const int64_t n = index / plane_ / s_.channels;
    return static_cast<size_t>(s_.layout == Layout::nchw ? (n * s_.memory_channels + c) * plane_ + pixel
                                                         : (n * plane_ + pixel) * s_.memory_channels + c);
  }

  DepthwiseConv2dShape s_;
  int64_t plane_, before_;
  size_t offset_;
  std::vector<T> wide_;
  std::optional<DeviceBuffer<T>> buffer_;
};

template <typename T>
struct Inputs {
  using A = accumulator_t<T>;
  std::vector<T> x, addend, weight, bias, grad_y, grad_y_addend;
  std::vector<A> scale, shift, constant, linear;

  Inputs(const DepthwiseConv2dShape& s, const Options& o) {
    const auto size = [](int64_t a, int64_t b, int64_t c, int64_t d) { return static_cast<size_t>(a * b * c * d); };
    const auto channels = static_cast<size_t>(s.channels);
    x = random_values<T>(size(s.batch, s.channels, s.in_height, s.in_width), 1);
    addend = random_values<T>(x.size(), 2);
    weight = random_values<T>(size(s.channels, s.kernel_h, s.kernel_w, 1), 3);
    bias = random_values<T>(channels, 4);
    for (T& value : bias) value = frnet::math::narrow<T>(static_cast<A>(frnet::math::widen(value) + A(o.mean)));
    grad_y = random_values<T>(size(s.batch, s.channels, s.out_height, s.out_width), 5);
    grad_y_addend = random_values<T>(grad_y.size(), 6);
    scale = random_values<A>(channels, 7);
    for (A& value : scale) value *= 2;  // so that every piece of each activation is met
    shift = random_values<A>(channels, 8);
    for (A& value : shift) value *= 3;
    constant = random_values<A>(channels, 9);
    linear = random_values<A>(channels, 10);
  }
};

// ------------------------------------------------------------------------------------------------ reference

template <typename T>
struct Reference {
  using A = accumulator_t<T>;
  // What one unit of magnitude allows in require_close.
  static constexpr double kUnit = 16 * Precision<A>::value;
  // Half a step of subnormal float16; the others' are too small to matter.
  static constexpr double kSmallest = std::is_same<T, frnet::float16>::value ? 3e-8 : 0;
  std::vector<Expected> v, y, pooled, mean, variance, grad_x, grad_weight, grad_bias, grad_scale, grad_shift;

  Reference(const DepthwiseConv2dShape& s, const Inputs<T>& in, const Options& o)
      : v(in.grad_y.size()),
        y(v.size()),
        pooled(static_cast<size_t>(s.batch * s.channels)),
        mean(in.bias.size()),
        variance(mean.size()),
        grad_x(in.x.size()),
        grad_weight(in.weight.size()),
        grad_bias(mean.size()),
        grad_scale(mean.size()),
        grad_shift(mean.size()) {
    using frnet::math::widen;
    const auto plane = static_cast<size_t>(s.out_height * s.out_width);
    const auto channels = static_cast<size_t>(s.channels);
    const auto channel_of = [&](size_t i) { return i / plane % channels; };
    const auto add = [](Expected& sum, double factor, const Expected& term) {
      sum.value += factor * term.value;
      sum.magnitude += std::fabs(factor) * term.magnitude;
    };

    for (size_t i = 0; i < v.size(); ++i) v[i].add(o.bias ? widen(in.bias[channel_of(i)]) : A(0));
    for_each_product(s, [&](size_t out, size_t at, size_t tap) {
      v[out].add(static_cast<double>(widen(in.weight[tap])) * widen(in.x[at]));
      if (o.addend) v[out].add(static_cast<double>(widen(in.weight[tap])) * widen(in.addend[at]));
    });

    // With the moments' rounding errors: an error of v moves the variance by 2 (v - mean) times as much.
    const double count = static_cast<double>(s.batch * s.out_height * s.out_width);
    std::vector<LongSum> means(channels), variances(channels);
    for (size_t i = 0; i < v.size(); ++i) means[channel_of(i)].add(v[i]);
    for (size_t c = 0; c < channels; ++c) mean[c] = means[c].over(count);
    for (size_t i = 0; i < v.size(); ++i) {
      const double difference = v[i].value - mean[channel_of(i)].value;
      variances[channel_of(i)].add(
          {difference * difference, std::fabs(difference) * (std::fabs(difference) + 2 * v[i].magnitude)});
    }
    for (size_t c = 0; c < channels; ++c) variance[c] = variances[c].over(count);

    std::vector<Expected> grad_v(v.size());
    std::vector<LongSum> pools(pooled.size()), grad_biases(channels), grad_scales(channels), grad_shifts(channels);
    for (size_t i = 0; i < v.size(); ++i) {
      const size_t c = channel_of(i);
      Expected z;
      add(z, o.scale ? in.scale[c] : A(1), v[i]);
      z.add(o.shift ? in.shift[c] : A(0));
      y[i].value = activate(o.activation, z.value);
      y[i].magnitude = 1.5 * z.magnitude;  // the steepest slope
      pools[i / plane].add(y[i]);

      const double grad = (o.grad_y ? static_cast<double>(widen(in.grad_y[i])) : 0) +
                          (o.grad_y_addend ? static_cast<double>(widen(in.grad_y_addend[i])) : 0);
      Expected g;
      g.add(grad * slope(o.activation, z.value));
      if (o.activation != Activation::none) g.magnitude += std::fabs(grad) * (1 + z.magnitude);
      if (near_kink(o.activation, z.value, kUnit * z.magnitude)) g.magnitude += std::fabs(grad) / kUnit;
      grad_shifts[c].add(g);
      grad_scales[c].add({g.value * v[i].value, g.magnitude * v[i].magnitude});

      add(grad_v[i], o.scale ? in.scale[c] : A(1), g);
      if (o.constant) grad_v[i].add(in.constant[c]);
      if (o.linear) add(grad_v[i], in.linear[c], v[i]);
      // grad_v may be stored as T on its way to the other gradients.
      grad_v[i].magnitude += (std::fabs(grad_v[i].value) * Precision<T>::value + kSmallest) / kUnit;
      grad_biases[c].add(grad_v[i]);
    }
    for (size_t i = 0; i < pools.size(); ++i) pooled[i] = pools[i].over(static_cast<double>(plane));
    for (size_t c = 0; c < channels; ++c) {
      grad_bias[c] = grad_biases[c].over();
      grad_scale[c] = grad_scales[c].over();
      grad_shift[c] = grad_shifts[c].over();
    }
    for_each_product(s, [&](size_t out, size_t at, size_t tap) {
      add(grad_x[at], widen(in.weight[tap]), grad_v[out]);
      add(grad_weight[tap], widen(in.x[at]), grad_v[out]);
      if (o.addend) add(grad_weight[tap], widen(in.addend[at]), grad_v[out]);
    });
  }

  // Calls f(output index, input index, weight index) for every product of the convolution.
  template <typename F>
  static void for_each_product(const DepthwiseConv2dShape& s, const F& f) {
    for (int64_t nc = 0; nc < s.batch * s.channels; ++nc)
      for (int64_t oy = 0; oy < s.out_height; ++oy)
        for (int64_t ox = 0; ox < s.out_width; ++ox)
          for (int64_t ky = 0; ky < s.kernel_h; ++ky)
            for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
              const int64_t iy = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
              const int64_t ix = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
              if (iy < 0 || iy >= s.in_height || ix < 0 || ix >= s.in_width) continue;
              f(static_cast<size_t>((nc * s.out_height + oy) * s.out_width + ox),
                static_cast<size_t>((nc * s.in_height + iy) * s.in_width + ix),
                static_cast<size_t>((nc % s.channels * s.kernel_h + ky) * s.kernel_w + kx));
            }
  }
};

}  // namespace test
