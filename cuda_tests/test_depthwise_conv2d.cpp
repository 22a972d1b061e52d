// The depthwise convolution's kernels against loops in double written straight from the header's formulas.
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "depthwise_reference.h"
#include "device_buffer.h"
#include "frnet/depthwise_conv2d.h"

namespace {

using frnet::accumulator_t;
using frnet::Activation;
using frnet::DepthwiseConv2dShape;
using frnet::Layout;
using test::DeviceBuffer;
using test::Inputs;
using test::Options;
using test::Reference;
using test::Slice;

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
                              y.dilation, x.dilation, layout,   channels};
}

// -------------------------------------------------------------------------------------------- the launchers

// Vectors of what was not asked for stay empty.
template <typename T>
struct Results {
  using A = accumulator_t<T>;
  std::vector<T> y, grad_x, grad_weight, grad_bias;
  std::vector<A> pooled, mean, variance, sum_g, sum_gv, grad_scale, grad_shift;
};

template <typename T>
Results<T> compute(const DepthwiseConv2dShape& s, const Inputs<T>& in, const Options& o) {
  using A = accumulator_t<T>;
  Results<T> got;
  Slice<T> x(s, s.in_height, s.in_width, o, 0, in.x), addend(s, s.in_height, s.in_width, o, 1, in.addend);
  DeviceBuffer<T> weight(in.weight, o.offset), bias(in.bias, o.offset);
  DeviceBuffer<A> scale(in.scale), shift(in.shift), constant(in.constant), linear(in.linear);
  const frnet::ConvInput<T> input{x.data(), o.addend ? addend.data() : nullptr};
  const T* const d_bias = o.bias ? bias.data() : nullptr;
  const frnet::Epilogue<A> epilogue{o.scale ? scale.data() : nullptr, o.shift ? shift.data() : nullptr, o.activation};
  const size_t channels = in.bias.size();
  const size_t batch = static_cast<size_t>(s.batch);

  {
    Slice<T> y(s, s.out_height, s.out_width, o, 2);
    DeviceBuffer<A> pooled(batch * channels);
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_workspace<T>(s, o.pooled));
    launchers::depthwise_conv2d<T>(input, weight.data(), d_bias, epilogue, y.data(), o.pooled ? pooled.data() : nullptr,
                                   s, workspace.data(), test::kExecution);
    got.y = y.download("y");
    if (o.pooled) got.pooled = pooled.download();
  }
  {
    DeviceBuffer<A> mean(channels), variance(channels);
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_statistics_workspace<T>(s));
    launchers::depthwise_conv2d_statistics<T>(input, weight.data(), d_bias, mean.data(), variance.data(), s,
                                              workspace.data(), test::kExecution);
    got.mean = mean.download();
    got.variance = variance.download();
  }
  Slice<T> grad_y(s, s.out_height, s.out_width, o, 3, in.grad_y);
  Slice<T> grad_y_addend(s, s.out_height, s.out_width, o, 1, in.grad_y_addend);
  Slice<T> grad_x(s, s.in_height, s.in_width, o, 2);
  DeviceBuffer<T> grad_weight(in.weight.size(), o.offset), grad_bias(channels, o.offset);
  DeviceBuffer<A> grad_scale(channels), grad_shift(channels), sum_g(channels), sum_gv(channels);
  DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_backward_workspace<T>(s));
  frnet::ConvGradient<T> gradient;
  gradient.grad_y = o.grad_y ? grad_y.data() : nullptr;
  gradient.grad_y_addend = o.grad_y_addend ? grad_y_addend.data() : nullptr;
  gradient.input = input;
  gradient.weight = weight.data();
  gradient.bias = d_bias;
  gradient.epilogue = epilogue;
  gradient.constant = o.constant ? constant.data() : nullptr;
  gradient.linear = o.linear ? linear.data() : nullptr;
  launchers::depthwise_conv2d_backward_sums<T>(gradient, sum_g.data(), sum_gv.data(), s, workspace.data(),
                                               test::kExecution);
  frnet::ConvGradientOutput<T> output;
  if (o.grad_x) output.grad_x = grad_x.data();
  if (o.grad_weight) output.grad_weight = grad_weight.data();
  if (o.grad_bias) output.grad_bias = grad_bias.data();
  if (o.grad_scale) output.grad_scale = grad_scale.data();
  if (o.grad_shift) output.grad_shift = grad_shift.data();
  launchers::depthwise_conv2d_backward<T>(gradient, output, s, workspace.data(), test::kExecution);
  got.sum_g = sum_g.download();
  got.sum_gv = sum_gv.download();
  if (o.grad_x) got.grad_x = grad_x.download("grad_x");
  if (o.grad_weight) got.grad_weight = grad_weight.download();
  if (o.grad_bias) got.grad_bias = grad_bias.download();
  if (o.grad_scale) got.grad_scale = grad_scale.download();
  if (o.grad_shift) got.grad_shift = grad_shift.download();
  return got;
}

template <typename A>
void require_all_nan(const std::vector<A>& values, const char* what) {
  for (const A value : values) test::require(std::isnan(value), std::string(what) + " of nothing is not NaN");
}

template <typename T>
void check_case(const DepthwiseConv2dShape& s, const Options& o, uint64_t other_seed) {
  const Inputs<T> in(s, o);
  const Reference<T> want(s, in, o);
  test::set_seed(0);
  const Results<T> got = compute(s, in, o);
  test::require_close(got.y, want.y, "y");
  if (s.out_height * s.out_width == 0) {
    require_all_nan(got.pooled, "the mean");
  } else if (o.pooled) {
    test::require_close(got.pooled, want.pooled, "pooled");
  }
  if (got.y.empty()) {
    require_all_nan(got.mean, "the mean");
    require_all_nan(got.variance, "the variance");
  } else {
    test::require_close(got.mean, want.mean, "mean");
    test::require_close(got.variance, want.variance, "variance");
  }
  test::require_close(got.sum_g, want.grad_shift, "sum_g");
  test::require_close(got.sum_gv, want.grad_scale, "sum_gv");
  if (o.grad_x) test::require_close(got.grad_x, want.grad_x, "grad_x");
  if (o.grad_weight) test::require_close(got.grad_weight, want.grad_weight, "grad_weight");
  if (o.grad_bias) test::require_close(got.grad_bias, want.grad_bias, "grad_bias");
  if (o.grad_scale) test::require_close(got.grad_scale, want.grad_scale, "grad_scale");
  if (o.grad_shift) test::require_close(got.grad_shift, want.grad_shift, "grad_shift");

  test::set_seed(other_seed);
  const Results<T> again = compute(s, in, o);
  test::require_identical(got.y, again.y, "y");
  test::require_identical(got.pooled, again.pooled, "pooled");
  test::require_identical(got.mean, again.mean, "mean");
  test::require_identical(got.variance, again.variance, "variance");
  test::require_identical(got.sum_g, again.sum_g, "sum_g");
  test::require_identical(got.sum_gv, again.sum_gv, "sum_gv");
  test::require_identical(got.grad_x, again.grad_x, "grad_x");
  test::require_identical(got.grad_weight, again.grad_weight, "grad_weight");
  test::require_identical(got.grad_bias, again.grad_bias, "grad_bias");
  test::require_identical(got.grad_scale, again.grad_scale, "grad_scale");
  test::require_identical(got.grad_shift, again.grad_shift, "grad_shift");
}

// ---------------------------------------------------------------------------------------------- the options

// Drawn anew for every case, so that together they meet most pairs of options; every third case is the plain
// convolution, which has kernels of its own.
Options draw_options(std::mt19937& random, size_t offset) {
  const auto one_in = [&](uint32_t n) { return random() % n == 0; };
  Options o{};
  o.offset = offset;
  o.skew = one_in(4);
  o.bias = !one_in(3);
  o.grad_y = true;
  const bool all = one_in(2);  // of the gradients
  o.pooled = one_in(2);
  o.grad_x = all || one_in(2);
  o.grad_weight = all || one_in(2);
  o.grad_bias = all || one_in(2);
  o.grad_scale = all || one_in(2);
  o.grad_shift = all || one_in(2);
  if (one_in(3)) {
    // Eight channels keep slices aligned, others do not.
    o.before = one_in(2) ? 8 : random() % 4;
    o.after = one_in(2) ? 8 : random() % 4;
  }
  o.addend = one_in(4);
  if (one_in(3)) return o;
  o.scale = !one_in(4);
  o.shift = !one_in(4);
  o.activation = static_cast<Activation>(random() % 5);
  o.grad_y = !one_in(8);
  o.grad_y_addend = one_in(5);
  o.constant = one_in(3);
  o.linear = one_in(3);
  return o;
}

std::mt19937& random_options() {
  static std::mt19937 instance(1);
  return instance;
}

template <typename T>
void check_options(const char* type, DepthwiseConv2dShape shape, const Options& options) {
  shape.memory_channels = options.before + shape.channels + options.after;
  const uint64_t other_seed = 1 + random_options()() % 2;
  test::run(describe(shape, options, type), [&] { check_case<T>(shape, options, other_seed); });
}

void check_all(int64_t batch, int64_t channels, int64_t height, int64_t width, Axis y, Axis x, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const DepthwiseConv2dShape shape = make_shape(batch, channels, height, width, y, x, layout);
    const auto draw = [&] { return draw_options(random_options(), offset); };
    check_options<float>("float", shape, draw());
    check_options<double>("double", shape, draw());
    check_options<frnet::float16>("float16", shape, draw());
    check_options<frnet::bfloat16>("bfloat16", shape, draw());
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
  // Several tiles of channels, the last one not full.
  for (int i = 0; i < 3; ++i) check_square(2, 264, 2, 3, {3, 1, 1, 1});
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
  // Values far from zero, whose variance a sum of squares would lose.
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    for (const int64_t kernel : {3, 7}) {
      const Axis axis{kernel, 1, kernel / 2, 1};
      Options options = draw_options(random_options(), 0);
      options.bias = true;
      options.mean = 1000;
      options.linear = false;  // linear * v would leave the range of float16
      check_options<float>("float", make_shape(3, 16, 14, 13, axis, axis, layout), options);
      check_options<frnet::float16>("float16", make_shape(3, 16, 14, 13, axis, axis, layout), options);
    }
  }
  return test::finish();
}
