// The SGE gate, its gradient, and the convolution fused with it, against loops in double written straight from the
// definitions; the gradient's loops against differences.
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/sge_gate.h"
#include "gate_reference.h"
#include "sge_gradient_reference.h"

namespace {

using frnet::accumulator_t;
using frnet::Layout;
using frnet::SgeGate;
using frnet::SgeGateShape;
using test::Bounded;
using test::DeviceBuffer;
using test::element;

std::string describe(const SgeGateShape& s, const char* type) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %s [%d,%d,%d] groups %d", type,
                s.layout == Layout::nchw ? "nchw" : "channels_last", int(s.batch), int(s.channels), int(s.pixels),
                int(s.groups));
  return text;
}

template <typename T>
std::vector<Bounded> gated(const SgeGateShape& s, const std::vector<Bounded>& x,
                           const std::vector<accumulator_t<T>>& weight, const std::vector<accumulator_t<T>>& bias) {
  return test::sge_gated<T>(x, weight, bias, s.batch, s.channels, s.pixels, s.groups, s.layout);
}

// The gradient's loops against central differences of the gate itself.
void check_gradient_reference() {
  const SgeGateShape s{2, 6, 11, 3, Layout::channels_last};
  const auto x = test::random_values<double>(2 * 6 * 11, 1);
  const auto grad_y = test::random_values<double>(x.size(), 2);
  const auto weight = test::random_values<double>(3, 3);
  const auto bias = test::random_values<double>(3, 4);
  const auto loss = [&](const std::vector<double>& x_, const std::vector<double>& weight_,
                        const std::vector<double>& bias_) {
    const auto y = gated<double>(s, test::exactly(x_), weight_, bias_);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i].value * grad_y[i];
    return sum;
  };
  const test::SgeGradients want = test::sge_gradients<double>(s, grad_y, x, weight, bias);
  const auto check = [&](std::vector<double> values, const std::vector<Bounded>& gradient, const auto& loss_of) {
    for (size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-5;
      const double before = values[i];
      values[i] = before + kStep;
      const double above = loss_of(values);
      values[i] = before - kStep;
      const double below = loss_of(values);
      values[i] = before;
      const double difference = (above - below) / (2 * kStep);
      test::require(std::fabs(difference - gradient[i].value) < 1e-7 * (1 + std::fabs(difference)),
                    "the gradient is not that of the gate, at " + std::to_string(i));
    }
  };
  check(x, want.x, [&](const auto& v) { return loss(v, weight, bias); });
  check(weight, want.weight, [&](const auto& v) { return loss(x, v, bias); });
  check(bias, want.bias, [&](const auto& v) { return loss(x, weight, v); });
}

// ------------------------------------------------------------------------------------------------- the gate

template <typename T>
struct Results {
  std::vector<T> y, in_place, grad_x;
  std::vector<accumulator_t<T>> grad_weight, grad_bias;
};

// offset shifts every tensor off its alignment.
template <typename T>
Results<T> compute(const SgeGateShape& s, const std::vector<T>& x, const std::vector<T>& grad_y,
                   const std::vector<accumulator_t<T>>& weight, const std::vector<accumulator_t<T>>& bias,
                   size_t offset) {
  using A = accumulator_t<T>;
  DeviceBuffer<T> d_x(x, offset), d_grad_y(grad_y, offset), d_y(x.size(), offset), d_grad_x(x.size(), offset);
  DeviceBuffer<A> d_weight(weight), d_bias(bias), d_grad_weight(weight.size()), d_grad_bias(bias.size());
  DeviceBuffer<unsigned char> workspace(launchers::sge_gate_workspace<T>(s));
  const SgeGate<A> gate{d_weight.data(), d_bias.data()};
  launchers::sge_gate<T>(d_x.data(), gate, d_y.data(), s, workspace.data(), test::kExecution);
  launchers::sge_gate_backward<T>(d_grad_y.data(), d_x.data(), gate, d_grad_x.data(), d_grad_weight.data(),
                                  d_grad_bias.data(), s, workspace.data(), test::kExecution);
  const std::vector<T> y = d_y.download();
#if !defined(FRNET_TEST_CPU)
  launchers::sge_gate<T>(d_x.data(), gate, d_x.data(), s, workspace.data(), test::kExecution);
  const std::vector<T> in_place = d_x.download();
#else
  const std::vector<T>& in_place = y;  // only promised on CUDA
#endif
  return {y, in_place, d_grad_x.download(), d_grad_weight.download(), d_grad_bias.download()};
}

template <typename T>
void require_same(const Results<T>& first, const Results<T>& second) {
  test::require_identical(first.y, second.y, "y");
  test::require_identical(first.grad_x, second.grad_x, "grad_x");
  test::require_identical(first.grad_weight, second.grad_weight, "grad_weight");
  test::require_identical(first.grad_bias, second.grad_bias, "grad_bias");
}

template <typename T>
void check_gate(const SgeGateShape& s, size_t offset) {
  using A = accumulator_t<T>;
  const auto size = static_cast<size_t>(s.batch * s.channels * s.pixels);
  const auto x = test::random_values<T>(size, 1);
  const auto grad_y = test::random_values<T>(size, 2);
  const auto weight = test::random_values<A>(static_cast<size_t>(s.groups), 3);
  const auto bias = test::random_values<A>(static_cast<size_t>(s.groups), 4);
  Results<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    Results<T> got = compute(s, x, grad_y, weight, bias, offset);
    test::require_identical(got.y, got.in_place, "y in place");
    if (seed != 0) {
      require_same(first, got);
      continue;
    }
    const test::SgeGradients gradients = test::sge_gradients<T>(s, grad_y, x, weight, bias);
    test::require_within(got.y, gated<T>(s, test::exactly(x), weight, bias), "y");
    test::require_within(got.grad_x, gradients.x, "grad_x");
    test::require_within(got.grad_weight, gradients.weight, "grad_weight");
    test::require_within(got.grad_bias, gradients.bias, "grad_bias");
    first = std::move(got);
  }
}

void check_all(int64_t batch, int64_t channels, int64_t pixels, int64_t groups, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const SgeGateShape s{batch, channels, pixels, groups, layout};
    const std::string suffix = offset ? " misaligned" : "";
    test::run(describe(s, "float") + suffix, [&] { check_gate<float>(s, offset); });
    test::run(describe(s, "double") + suffix, [&] { check_gate<double>(s, offset); });
    test::run(describe(s, "float16") + suffix, [&] { check_gate<frnet::float16>(s, offset); });
    test::run(describe(s, "bfloat16") + suffix, [&] { check_gate<frnet::bfloat16>(s, offset); });
  }
}

// One pixel has no unbiased deviation.
template <typename T>
void check_one_pixel(Layout layout) {
  const SgeGateShape s{2, 6, 1, 3, layout};
  const auto x = test::random_values<T>(12, 1);
  const std::vector<accumulator_t<T>> weight(3, 1), bias(3, 0);
  const Results<T> got = compute(s, x, x, weight, bias, 0);
  for (const auto* values : {&got.y, &got.grad_x}) {
    for (const T v : *values) test::require(std::isnan(frnet::math::widen(v)), "one pixel: not NaN");
  }
  for (const auto* values : {&got.grad_weight, &got.grad_bias}) {
    for (const auto v : *values) test::require(std::isnan(v), "one pixel: the parameters' gradients are not NaN");
  }
}

// Where all pixels are alike, the gate is sigmoid(bias) everywhere, and passes that much of every gradient.
template <typename T>
void check_no_deviation(Layout layout) {
  using A = accumulator_t<T>;
  const SgeGateShape s{1, 4, 16, 2, layout};
  const std::vector<T> x(64, frnet::math::narrow<T>(A(0.5))), grad_y(64, frnet::math::narrow<T>(A(1)));
  const std::vector<A> weight(2, A(2)), bias(2, A(0));
  const Results<T> got = compute(s, x, grad_y, weight, bias, 0);
  for (const T v : got.y) test::require(frnet::math::widen(v) == A(0.25), "no deviation: y");
  for (const T v : got.grad_x) test::require(frnet::math::widen(v) == A(0.5), "no deviation: grad_x");
  for (const A v : got.grad_weight) test::require(v == A(0), "no deviation: grad_weight");
  for (const A v : got.grad_bias) test::require(v == A(4), "no deviation: grad_bias");
}

// What is not finite stays within its group and image.
void check_not_finite(Layout layout) {
  const SgeGateShape s{2, 6, 9, 3, layout};
  auto x = test::random_values<float>(2 * 6 * 9, 1);
  x[element(layout, 6, 9, 1, 2, 4)] = std::numeric_limits<float>::infinity();
  const std::vector<float> weight(3, 1), bias(3, 0);
  const Results<float> got = compute(s, x, x, weight, bias, 0);
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 0; c < 6; ++c)
      for (int64_t p = 0; p < 9; ++p) {
        const bool finite = std::isfinite(got.y[element(layout, 6, 9, n, c, p)]);
        test::require(finite == !(n == 1 && c / 2 == 1), "an infinity is in the wrong places");
      }
}

#if !defined(FRNET_TEST_CPU)
void check_refusals() {
  for (const int64_t groups : {0, 5, -1}) {
    const SgeGateShape s{1, 6, 9, groups, Layout::nchw};
    bool refused = false;
    try {
      launchers::sge_gate_workspace<float>(s);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    test::require(refused, std::to_string(groups) + " groups of 6 channels are not refused");
  }
}
#endif

// ------------------------------------------------------------------------------------------ the convolution

template <typename T>
void check_fused(const frnet::DepthwiseConv2dShape& s, int64_t groups, frnet::Activation activation, bool with_all,
                 bool with_addend) {
  using A = accumulator_t<T>;
  const auto channels = static_cast<size_t>(s.channels);
  const auto x = test::random_values<T>(static_cast<size_t>(s.batch * s.in_height * s.in_width) * channels, 1);
  const auto addend = test::random_values<T>(with_addend ? x.size() : 0, 2);
  test::ConvParameters<T> conv;
  conv.weight = test::random_values<T>(channels * static_cast<size_t>(s.kernel_h * s.kernel_w), 3);
  conv.activation = activation;
  if (with_all) {
    conv.bias = test::random_values<T>(channels, 4);
    conv.scale = test::random_values<A>(channels, 5);
    conv.shift = test::random_values<A>(channels, 6);
  }
  const auto weight = test::random_values<A>(static_cast<size_t>(groups), 7);
  const auto bias = test::random_values<A>(static_cast<size_t>(groups), 8);

  const int64_t pixels = s.out_height * s.out_width;
  std::vector<Bounded> input = test::exactly(x);
  for (size_t i = 0; i < addend.size(); ++i) input[i].value += frnet::math::widen(addend[i]);
  std::vector<Bounded> want(static_cast<size_t>(s.batch * pixels) * channels);
  test::convolve(s, input, conv, 0, s.channels, want);
  for (Bounded& v : want) v = test::rounded<T>(v);
  want = test::sge_gated<T>(want, weight, bias, s.batch, s.channels, pixels, groups, s.layout);

  DeviceBuffer<T> d_x(x), d_addend(addend), d_weight(conv.weight), d_bias(conv.bias);
  DeviceBuffer<A> d_scale(conv.scale), d_shift(conv.shift), gate_weight(weight), gate_bias(bias);
  DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_sge_workspace<T>(s, groups));
  std::vector<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    DeviceBuffer<T> y(want.size());
    launchers::depthwise_conv2d_sge<T>(
        {d_x.data(), with_addend ? d_addend.data() : nullptr}, d_weight.data(), with_all ? d_bias.data() : nullptr,
        {with_all ? d_scale.data() : nullptr, with_all ? d_shift.data() : nullptr, activation},
        SgeGate<A>{gate_weight.data(), gate_bias.data()}, y.data(), s, groups, workspace.data(), test::kExecution);
    const std::vector<T> got = y.download();
    if (seed == 0) {
      test::require_within(got, want, "y");
      first = got;
    }
    test::require_identical(first, got, "y");
  }
}

int case_index = 0;

void check_all_fused(int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t groups,
                     test::ConvAxis axis, bool with_addend = false) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const auto s = test::make_conv_shape(batch, channels, height, width, axis, axis, layout);
    const auto activation = static_cast<frnet::Activation>(case_index % 5);
    const bool with_all = case_index % 3 != 0;
    ++case_index;
    char name[200];
    std::snprintf(name, sizeof name, "convolution %s [%d,%d,%d,%d] groups %d kernel %d stride %d activation %d",
                  layout == Layout::nchw ? "nchw" : "channels_last", int(batch), int(channels), int(height), int(width),
                  int(groups), int(axis.kernel), int(axis.stride), int(activation));
    const auto run = [&](const char* type, const auto& body) { test::run(std::string(type) + " " + name, body); };
    run("float", [&] { check_fused<float>(s, groups, activation, with_all, with_addend); });
    run("double", [&] { check_fused<double>(s, groups, activation, with_all, with_addend); });
    run("float16", [&] { check_fused<frnet::float16>(s, groups, activation, with_all, with_addend); });
    run("bfloat16", [&] { check_fused<frnet::bfloat16>(s, groups, activation, with_all, with_addend); });
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  test::run("the gradient's reference", check_gradient_reference);
  for (const int64_t groups : {1, 2, 3, 4, 6, 12}) check_all(2, 12, 41, groups);
  check_all(1, 7, 7, 7);
  check_all(2, 30, 41, 5);
  check_all(1, 96, 49, 8);
  check_all(3, 33, 225, 11);
  check_all(1, 240, 16, 2);
  check_all(2, 32, 225, 32);
  check_all(1, 1, 2, 1);
  check_all(1, 257, 3, 1);
  check_all(2, 24, 30, 3, 1);
  check_all(2, 10, 33, 5, 1);
  check_all(16, 35, 4, 35);  // several small groups to a block, fewer in the last
  check_all(16, 35, 5, 35, 1);
  // Data that does not fit into shared memory, then sums that do not either.
  check_all(1, 12, 2500, 2);
  check_all(1, 5, 4097, 1);
  check_all(1, 2, 13109, 1);
  check_all(0, 8, 5, 2);
  check_all(2, 8, 0, 2);
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    test::run("one pixel, float", [&] { check_one_pixel<float>(layout); });
    test::run("one pixel, double", [&] { check_one_pixel<double>(layout); });
    test::run("one pixel, float16", [&] { check_one_pixel<frnet::float16>(layout); });
    test::run("one pixel, bfloat16", [&] { check_one_pixel<frnet::bfloat16>(layout); });
    test::run("no deviation, float", [&] { check_no_deviation<float>(layout); });
    test::run("no deviation, double", [&] { check_no_deviation<double>(layout); });
    test::run("no deviation, float16", [&] { check_no_deviation<frnet::float16>(layout); });
    test::run("no deviation, bfloat16", [&] { check_no_deviation<frnet::bfloat16>(layout); });
    test::run("not finite", [&] { check_not_finite(layout); });
  }
#if !defined(FRNET_TEST_CPU)
  test::run("groups that do not divide", check_refusals);
#endif

  for (const int64_t kernel : {3, 5}) {
    for (const int64_t stride : {1, 2}) {
      const test::ConvAxis same{kernel, stride, kernel / 2, 1};
      check_all_fused(2, 24, 15, 15, 2, same);
      check_all_fused(1, 16, 7, 41, 8, same);
      check_all_fused(1, 12, 13, 9, 3, {kernel, stride, 0, 1});
    }
  }
  check_all_fused(1, 14, 6, 5, 7, {3, 1, 4, 1});  // more padding than the kernel covers
  check_all_fused(1, 96, 4, 4, 8, {3, 1, 1, 1});
  check_all_fused(107, 5, 3, 3, 5, {3, 1, 1, 1});  // several groups to a block, fewer in the last
  // The convolution by itself, then the gate.
  check_all_fused(1, 6, 61, 60, 1, {3, 1, 1, 1});  // the group does not fit
  check_all_fused(1, 12, 9, 9, 3, {7, 1, 3, 1});
  check_all_fused(1, 12, 9, 9, 3, {3, 1, 2, 2});
  check_all_fused(2, 8, 9, 7, 2, {3, 1, 1, 1}, true);
  check_all_fused(0, 8, 9, 7, 2, {3, 1, 1, 1});
  return test::finish();
}
