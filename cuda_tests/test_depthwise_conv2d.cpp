// The depthwise convolution's kernels against loops in double written straight from the header's formula.
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/depthwise_conv2d.h"

namespace {

using frnet::DepthwiseConv2dShape;
using frnet::Layout;
using test::DeviceBuffer;
using test::Expected;

struct Axis {
  int64_t kernel, stride, padding, dilation;
};

DepthwiseConv2dShape make_shape(int64_t batch, int64_t channels, int64_t height, int64_t width, Axis y, Axis x,
                                Layout layout) {
  const auto output = [](int64_t input, Axis a) {
    const int64_t slack = input + 2 * a.padding - a.dilation * (a.kernel - 1) - 1;
    return slack < 0 ? int64_t{0} : slack / a.stride + 1;
  };
  return DepthwiseConv2dShape{batch,      channels,   height,   width,    output(height, y), output(width, x),
                              y.kernel,   x.kernel,   y.stride, x.stride, y.padding,         x.padding,
                              y.dilation, x.dilation, layout};
}

std::string describe(const DepthwiseConv2dShape& s, const char* type) {
  char text[200];
  std::snprintf(text, sizeof text, "%s %s [%d,%d,%d,%d] kernel %dx%d stride %dx%d padding %dx%d dilation %dx%d", type,
                s.layout == Layout::nchw ? "nchw" : "channels_last", int(s.batch), int(s.channels), int(s.in_height),
                int(s.in_width), int(s.kernel_h), int(s.kernel_w), int(s.stride_h), int(s.stride_w), int(s.padding_h),
                int(s.padding_w), int(s.dilation_h), int(s.dilation_w));
  return text;
}

size_t index_of(const DepthwiseConv2dShape& s, int64_t height, int64_t width, int64_t n, int64_t c, int64_t y,
                int64_t x) {
  return static_cast<size_t>(s.layout == Layout::nchw ? ((n * s.channels + c) * height + y) * width + x
                                                      : ((n * height + y) * width + x) * s.channels + c);
}

// Calls f(output index, input index, weight index, channel) for every product of the convolution.
template <typename F>
void for_each_product(const DepthwiseConv2dShape& s, const F& f) {
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t oy = 0; oy < s.out_height; ++oy)
        for (int64_t ox = 0; ox < s.out_width; ++ox)
          for (int64_t ky = 0; ky < s.kernel_h; ++ky)
            for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
              const int64_t iy = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
              const int64_t ix = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
              if (iy < 0 || iy >= s.in_height || ix < 0 || ix >= s.in_width) continue;
              f(index_of(s, s.out_height, s.out_width, n, c, oy, ox),
                index_of(s, s.in_height, s.in_width, n, c, iy, ix),
                static_cast<size_t>((c * s.kernel_h + ky) * s.kernel_w + kx), static_cast<size_t>(c));
            }
}

template <typename T>
struct Results {
  std::vector<T> y, grad_x, grad_weight, grad_bias;
};

// offset shifts every tensor off its alignment.
template <typename T>
Results<T> compute(const DepthwiseConv2dShape& s, const std::vector<T>& x, const std::vector<T>& weight,
                   const std::vector<T>& bias, const std::vector<T>& grad_y, bool with_bias, size_t offset) {
  DeviceBuffer<T> d_x(x, offset), d_weight(weight, offset), d_bias(bias, offset), d_grad_y(grad_y, offset);
  DeviceBuffer<T> d_y(grad_y.size(), offset), d_grad_x(x.size(), offset);
  DeviceBuffer<T> d_grad_weight(weight.size(), offset), d_grad_bias(bias.size(), offset);
  DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_backward_weight_workspace<T>(s));
  launchers::depthwise_conv2d(d_x.data(), d_weight.data(), with_bias ? d_bias.data() : nullptr, d_y.data(), s,
                              test::kExecution);
  launchers::depthwise_conv2d_backward_input(d_grad_y.data(), d_weight.data(), d_grad_x.data(), s, test::kExecution);
  launchers::depthwise_conv2d_backward_weight(d_grad_y.data(), d_x.data(), d_grad_weight.data(),
                                              with_bias ? d_grad_bias.data() : nullptr, s, workspace.data(),
                                              test::kExecution);
  return {d_y.download(), d_grad_x.download(), d_grad_weight.download(), d_grad_bias.download()};
}

template <typename T>
void check_shape(const DepthwiseConv2dShape& s, bool with_bias, size_t offset) {
  const auto size = [](int64_t a, int64_t b, int64_t c, int64_t d = 1) { return static_cast<size_t>(a * b * c * d); };
  const auto x = test::random_values<T>(size(s.batch, s.channels, s.in_height, s.in_width), 1);
  const auto weight = test::random_values<T>(size(s.channels, s.kernel_h, s.kernel_w), 2);
  const auto bias = test::random_values<T>(static_cast<size_t>(s.channels), 3);
  const auto grad_y = test::random_values<T>(size(s.batch, s.channels, s.out_height, s.out_width), 4);

  std::vector<Expected> y(grad_y.size()), grad_x(x.size()), grad_weight(weight.size()), grad_bias(bias.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t plane = static_cast<size_t>(s.out_height * s.out_width);
    const auto channels = static_cast<size_t>(s.channels);
    const size_t c = s.layout == Layout::nchw ? i / plane % channels : i % channels;
    if (with_bias) y[i].add(frnet::math::widen(bias[c]));
    grad_bias[c].add(frnet::math::widen(grad_y[i]));
  }
  for_each_product(s, [&](size_t out, size_t in, size_t tap, size_t) {
    const double input = frnet::math::widen(x[in]);
    const double factor = frnet::math::widen(weight[tap]);
    const double slope = frnet::math::widen(grad_y[out]);
    y[out].add(factor * input);
    grad_x[in].add(factor * slope);
    grad_weight[tap].add(slope * input);
  });

  Results<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    Results<T> got = compute(s, x, weight, bias, grad_y, with_bias, offset);
    if (seed != 0) {
      test::require_identical(first.y, got.y, "y");
      test::require_identical(first.grad_x, got.grad_x, "grad_x");
      test::require_identical(first.grad_weight, got.grad_weight, "grad_weight");
      if (with_bias) test::require_identical(first.grad_bias, got.grad_bias, "grad_bias");
      continue;
    }
    test::require_close(got.y, y, "y");
    test::require_close(got.grad_x, grad_x, "grad_x");
    test::require_close(got.grad_weight, grad_weight, "grad_weight");
    if (with_bias) test::require_close(got.grad_bias, grad_bias, "grad_bias");
    first = std::move(got);
  }
}

int case_index = 0;

template <typename T>
void check_type(const char* type, const DepthwiseConv2dShape& shape, size_t offset) {
  // The bias comes and goes, so that both are met by most kinds of shape.
  const bool with_bias = ++case_index % 3 != 0;
  test::run(describe(shape, type) + (offset ? " misaligned" : "") + (with_bias ? " with bias " : " "),
            [&] { check_shape<T>(shape, with_bias, offset); });
}

void check_all(int64_t batch, int64_t channels, int64_t height, int64_t width, Axis y, Axis x, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const DepthwiseConv2dShape shape = make_shape(batch, channels, height, width, y, x, layout);
    check_type<float>("float", shape, offset);
    check_type<double>("double", shape, offset);
    check_type<frnet::float16>("float16", shape, offset);
    check_type<frnet::bfloat16>("bfloat16", shape, offset);
  }
}

void check_square(int64_t batch, int64_t channels, int64_t height, int64_t width, Axis axis, size_t offset = 0) {
  check_all(batch, channels, height, width, axis, axis, offset);
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  // The specialised kernels, 3x3 and 5x5 with stride 1 and 2: sizes of networks, and awkward ones.
  for (const int64_t kernel : {3, 5}) {
    for (const int64_t stride : {1, 2}) {
      const int64_t same = kernel / 2;
      check_square(1, 8, 60, 60, {kernel, stride, same, 1});
      check_square(2, 33, 15, 15, {kernel, stride, same, 1});
      check_square(3, 96, 4, 4, {kernel, stride, same, 1});
      check_square(2, 24, 8, 8, {kernel, stride, same, 1});
      check_square(1, 1, 1, 1, {kernel, stride, same, 1});
      check_square(1, 3, 41, 7, {kernel, stride, same, 1});
      check_square(2, 16, 13, 17, {kernel, stride, 0, 1});
      check_square(1, 8, 6, 9, {kernel, stride, 1, 1});
      check_square(1, 8, 9, 6, {kernel, stride, kernel + 2, 1});  // more padding than the kernel covers
      check_square(1, 8, 2, 2, {kernel, stride, 2, 1});           // input smaller than the kernel
      check_square(0, 8, 5, 5, {kernel, stride, same, 1});
      check_square(2, 7, 2, 1, {kernel, stride, 0, 1});  // no output at all
      check_square(2, 8, 11, 12, {kernel, stride, same, 1}, 1);
      check_all(1, 8, 12, 10, {kernel, stride, same, 1}, {kernel, stride, 0, 1});
    }
  }
  // Many planes to a block, planes cut into bands, and rows that do not fit into shared memory.
  check_square(3, 701, 4, 4, {3, 1, 1, 1});
  check_square(2, 701, 3, 5, {3, 2, 1, 1});
  check_square(7, 301, 3, 3, {3, 1, 1, 1});
  check_square(7, 301, 2, 3, {5, 2, 2, 1});
  check_square(1, 1, 97, 131, {3, 1, 1, 1});
  check_square(1, 1, 4, 5003, {3, 1, 1, 1});
  check_square(1, 2, 5, 2903, {5, 2, 2, 1});
  // Any shape.
  check_square(2, 7, 9, 11, {1, 1, 0, 1});
  check_square(1, 8, 15, 15, {7, 1, 3, 1});
  check_square(1, 33, 14, 9, {7, 2, 3, 1});
  check_square(2, 8, 15, 15, {3, 1, 2, 2});
  check_square(1, 3, 20, 21, {3, 3, 1, 1});
  check_square(1, 3, 20, 21, {5, 3, 4, 2});
  check_square(1, 2, 3, 3, {9, 1, 4, 1});
  check_square(2, 3, 4, 4, {3, 2, 40, 1});
  check_square(1, 2, 5, 5, {3, 1, 1000, 1000});  // only the centre tap meets the input
  check_all(2, 7, 10, 13, {1, 1, 0, 1}, {5, 1, 2, 1});
  check_all(1, 96, 7, 7, {3, 2, 1, 1}, {2, 1, 1, 1});
  check_all(1, 8, 12, 12, {3, 2, 1, 1}, {3, 1, 1, 1});
  check_all(1, 5, 12, 12, {2, 1, 0, 3}, {19, 1, 9, 1});
  check_square(2, 7, 10, 9, {4, 1, 1, 1}, 1);
  check_square(0, 3, 5, 5, {7, 1, 3, 1});
  check_square(2, 0, 5, 5, {3, 1, 1, 1});
  check_square(2, 3, 0, 4, {3, 1, 1, 1});  // only padding: y is the bias
  return test::finish();
}
