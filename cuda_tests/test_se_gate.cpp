// Squeeze and excitation, its gradient, and both behind a convolution, against loops in double written straight from
// the definitions; the gradient's loops against differences.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/se_gate.h"
#include "gate_reference.h"
#include "se_reference.h"

namespace {

using frnet::accumulator_t;
using frnet::Activation;
using frnet::GateFunction;
using frnet::Layout;
using frnet::SeGate;
using frnet::SeGateGradient;
using frnet::SeGateShape;
using test::Bounded;
using test::DeviceBuffer;
using test::element;
using test::SeLayers;

template <typename A>
SeLayers<A> random_layers(int64_t channels, int64_t squeezed, bool with_bias, Activation activation,
                          GateFunction gate) {
  const auto weights = static_cast<size_t>(channels * squeezed);
  return {test::random_values<A>(weights, 11),
          test::random_values<A>(with_bias ? static_cast<size_t>(squeezed) : 0, 12),
          test::random_values<A>(weights, 13),
          test::random_values<A>(with_bias ? static_cast<size_t>(channels) : 0, 14),
          activation,
          gate};
}

// The gradient's loops against central differences of the gate itself.
void check_gradient_reference(Activation activation, GateFunction gate) {
  const SeGateShape s{2, 5, 4, 3, Layout::nchw};
  const auto x = test::random_values<double>(40, 1);
  const auto grad_y = test::random_values<double>(40, 2);
  SeLayers<double> layers = random_layers<double>(5, 3, true, activation, gate);
  const auto loss = [&](const std::vector<double>& x_) {
    const auto y = test::se_gated<double>(s, test::exactly(x_), test::exactly(x_), layers);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i].value * grad_y[i];
    return sum;
  };
  const test::SeGradients want = test::se_gradients<double>(s, grad_y, x, layers);
  const auto check = [&](std::vector<double>& values, const std::vector<Bounded>& gradient, const auto& loss_of) {
    for (size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-6;
      const double before = values[i];
      values[i] = before + kStep;
      const double above = loss_of();
      values[i] = before - kStep;
      const double below = loss_of();
      values[i] = before;
      const double difference = (above - below) / (2 * kStep);
      test::require(std::fabs(difference - gradient[i].value) < 1e-7 * (1 + std::fabs(difference)),
                    "the gradient is not that of the gate, at " + std::to_string(i));
    }
  };
  std::vector<double> moved = x;
  check(moved, want.x, [&] { return loss(moved); });
  check(layers.w1, want.w1, [&] { return loss(x); });
  check(layers.b1, want.b1, [&] { return loss(x); });
  check(layers.w2, want.w2, [&] { return loss(x); });
  check(layers.b2, want.b2, [&] { return loss(x); });
}

// ------------------------------------------------------------------------------------------------- the gate

template <typename A>
struct DeviceLayers {
  DeviceBuffer<A> w1, b1, w2, b2;
  SeGate<A> gate;
  explicit DeviceLayers(const SeLayers<A>& layers)
      : w1(layers.w1),
        b1(layers.b1),
        w2(layers.w2),
        b2(layers.b2),
        gate{w1.data(),         layers.b1.empty() ? nullptr : b1.data(),
             w2.data(),         layers.b2.empty() ? nullptr : b2.data(),
             layers.activation, layers.gate} {}
};

template <typename T>
struct Results {
  using A = accumulator_t<T>;
  std::vector<T> y, in_place, grad_x;
  std::vector<A> w1, b1, w2, b2;
};

// wanted: a bit for each of w1, b1, w2, b2. offset shifts every tensor off its alignment.
template <typename T>
Results<T> compute(const SeGateShape& s, const std::vector<T>& x, const std::vector<T>& grad_y,
                   const SeLayers<accumulator_t<T>>& layers, unsigned wanted, size_t offset) {
  using A = accumulator_t<T>;
  DeviceBuffer<T> d_x(x, offset), d_grad_y(grad_y, offset), d_y(x.size(), offset), d_grad_x(x.size(), offset);
  DeviceLayers<A> d_layers(layers);
  DeviceBuffer<A> w1(layers.w1.size()), b1(static_cast<size_t>(s.squeezed));
  DeviceBuffer<A> w2(layers.w2.size()), b2(static_cast<size_t>(s.channels));
  DeviceBuffer<unsigned char> workspace(launchers::se_gate_workspace<T>(s));
  launchers::se_gate<T>(d_x.data(), d_layers.gate, d_y.data(), s, workspace.data(), test::kExecution);
  const SeGateGradient<A> gradient{wanted & 1 ? w1.data() : nullptr, wanted & 2 ? b1.data() : nullptr,
                                   wanted & 4 ? w2.data() : nullptr, wanted & 8 ? b2.data() : nullptr};
  launchers::se_gate_backward<T>(d_grad_y.data(), d_x.data(), d_layers.gate, d_grad_x.data(), gradient, s,
                                 workspace.data(), test::kExecution);
  const std::vector<T> y = d_y.download();
#if !defined(FRNET_TEST_CPU)
  launchers::se_gate<T>(d_x.data(), d_layers.gate, d_x.data(), s, workspace.data(), test::kExecution);
  const std::vector<T> in_place = d_x.download();
#else
  const std::vector<T>& in_place = y;  // only promised on CUDA
#endif
  return {y, in_place, d_grad_x.download(), w1.download(), b1.download(), w2.download(), b2.download()};
}

template <typename T>
void check_gate(const SeGateShape& s, const SeLayers<accumulator_t<T>>& layers, unsigned wanted, size_t offset) {
  const auto size = static_cast<size_t>(s.batch * s.channels * s.pixels);
  const auto x = test::random_values<T>(size, 1);
  const auto grad_y = test::random_values<T>(size, 2);
  Results<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    const Results<T> got = compute(s, x, grad_y, layers, wanted, offset);
    test::require_identical(got.y, got.in_place, "y in place");
    if (seed == 0) {
      first = got;
      test::require_within(got.y, test::se_gated<T>(s, test::exactly(x), test::exactly(x), layers), "y");
      const test::SeGradients want = test::se_gradients<T>(s, grad_y, x, layers);
      test::require_within(got.grad_x, want.x, "grad_x");
      if (wanted & 1) test::require_within(got.w1, want.w1, "grad_w1");
      if (wanted & 2) test::require_within(got.b1, want.b1, "grad_b1");
      if (wanted & 4) test::require_within(got.w2, want.w2, "grad_w2");
      if (wanted & 8) test::require_within(got.b2, want.b2, "grad_b2");
      continue;
    }
    test::require_identical(first.y, got.y, "y");
    test::require_identical(first.grad_x, got.grad_x, "grad_x");
    test::require_identical(first.w1, got.w1, "grad_w1");
    test::require_identical(first.b1, got.b1, "grad_b1");
    test::require_identical(first.w2, got.w2, "grad_w2");
    test::require_identical(first.b2, got.b2, "grad_b2");
  }
}

int case_index = 0;

template <typename T>
void check_type(const char* type, const SeGateShape& s, size_t offset) {
  // Biases, wanted gradients and functions come and go, so that all are met by most kinds of shape.
  const int index = case_index++;
  const bool with_bias = index % 3 != 0;
  const unsigned wanted = index % 4 == 0 ? static_cast<unsigned>(index / 4 % 16) : 15u;
  const auto activation = static_cast<Activation>(index % 5);
  const auto gate = static_cast<GateFunction>(index / 2 % 2);
  char name[200];
  std::snprintf(name, sizeof name, "%s %s [%d,%d,%d] squeezed %d activation %d gate %d wanted %u%s", type,
                s.layout == Layout::nchw ? "nchw" : "channels_last", int(s.batch), int(s.channels), int(s.pixels),
                int(s.squeezed), int(activation), int(gate), wanted, offset ? " misaligned" : "");
  const auto layers = random_layers<accumulator_t<T>>(s.channels, s.squeezed, with_bias, activation, gate);
  test::run(name, [&] { check_gate<T>(s, layers, wanted, offset); });
}

void check_all(int64_t batch, int64_t channels, int64_t pixels, int64_t squeezed, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const SeGateShape s{batch, channels, pixels, squeezed, layout};
    check_type<float>("float", s, offset);
    check_type<double>("double", s, offset);
    check_type<frnet::float16>("float16", s, offset);
    check_type<frnet::bfloat16>("bfloat16", s, offset);
  }
}

// ------------------------------------------------------------------------------------------ the convolution

template <typename T>
void check_fused(const frnet::DepthwiseConv2dShape& s, int64_t squeezed, Activation activation, bool with_all) {
  using A = accumulator_t<T>;
  const auto channels = static_cast<size_t>(s.channels);
  const auto x = test::random_values<T>(static_cast<size_t>(s.batch * s.in_height * s.in_width) * channels, 1);
  test::ConvParameters<T> conv;
  conv.weight = test::random_values<T>(channels * static_cast<size_t>(s.kernel_h * s.kernel_w), 3);
  conv.activation = activation;
  if (with_all) {
    conv.bias = test::random_values<T>(channels, 4);
    conv.scale = test::random_values<A>(channels, 5);
    conv.shift = test::random_values<A>(channels, 6);
  }
  const auto layers = random_layers<A>(s.channels, squeezed, with_all, Activation::relu, GateFunction::hardsigmoid);
  const int64_t pixels = s.out_height * s.out_width;
  std::vector<Bounded> result(static_cast<size_t>(s.batch * pixels) * channels);
  test::convolve(s, test::exactly(x), conv, 0, s.channels, result);
  std::vector<Bounded> stored = result;
  for (Bounded& v : stored) v = test::rounded<T>(v);
  const auto want = test::se_gated<T>({s.batch, s.channels, pixels, squeezed, s.layout}, result, stored, layers);

  DeviceBuffer<T> d_x(x), d_weight(conv.weight), d_bias(conv.bias);
  DeviceBuffer<A> d_scale(conv.scale), d_shift(conv.shift);
  DeviceLayers<A> d_layers(layers);
  DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_se_workspace<T>(s, squeezed));
  std::vector<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    DeviceBuffer<T> y(want.size());
    launchers::depthwise_conv2d_se<T>(
        {d_x.data()}, d_weight.data(), with_all ? d_bias.data() : nullptr,
        {with_all ? d_scale.data() : nullptr, with_all ? d_shift.data() : nullptr, activation}, d_layers.gate, y.data(),
        s, squeezed, workspace.data(), test::kExecution);
    const std::vector<T> got = y.download();
    if (seed == 0) {
      test::require_within(got, want, "y");
      first = got;
    }
    test::require_identical(first, got, "y");
  }
}

void check_all_fused(int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t squeezed,
                     test::ConvAxis axis) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const auto s = test::make_conv_shape(batch, channels, height, width, axis, axis, layout);
    const auto activation = static_cast<Activation>(case_index % 5);
    const bool with_all = case_index % 3 != 0;
    ++case_index;
    char name[200];
    std::snprintf(name, sizeof name, "convolution %s [%d,%d,%d,%d] kernel %d stride %d activation %d",
                  layout == Layout::nchw ? "nchw" : "channels_last", int(batch), int(channels), int(height), int(width),
                  int(axis.kernel), int(axis.stride), int(activation));
    const auto run = [&](const char* type, const auto& body) { test::run(std::string(type) + " " + name, body); };
    run("float", [&] { check_fused<float>(s, squeezed, activation, with_all); });
    run("double", [&] { check_fused<double>(s, squeezed, activation, with_all); });
    run("float16", [&] { check_fused<frnet::float16>(s, squeezed, activation, with_all); });
    run("bfloat16", [&] { check_fused<frnet::bfloat16>(s, squeezed, activation, with_all); });
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const auto activation :
       {Activation::none, Activation::relu, Activation::relu6, Activation::hardswish, Activation::silu}) {
    for (const auto gate : {GateFunction::sigmoid, GateFunction::hardsigmoid}) {
      test::run("the gradient's reference", [&] { check_gradient_reference(activation, gate); });
    }
  }
  check_all(1, 1, 1, 1);
  check_all(2, 8, 7, 4);
  check_all(3, 17, 41, 5);
  check_all(2, 96, 49, 6);
  check_all(1, 240, 16, 15);
  check_all(20, 24, 9, 6);
  check_all(33, 40, 4, 10);
  check_all(2, 33, 225, 8, 1);
  check_all(3, 24, 35, 6, 3);
  check_all(1, 6, 3001, 2);
  check_all(1, 300, 5, 280);
  check_all(2, 5, 9, 0);
  check_all(0, 8, 5, 2);
  check_all(2, 8, 0, 2);
  check_all(2, 0, 5, 2);
  for (const int64_t stride : {1, 2}) {
    check_all_fused(2, 24, 15, 15, 6, {3, stride, 1, 1});
    check_all_fused(1, 11, 7, 9, 3, {5, stride, 2, 1});
  }
  check_all_fused(1, 12, 9, 9, 3, {7, 1, 3, 1});
  check_all_fused(0, 12, 9, 9, 3, {3, 1, 1, 1});
  return test::finish();
}
