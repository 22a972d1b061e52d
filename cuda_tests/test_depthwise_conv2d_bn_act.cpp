// Convolution with batch statistics, and with a gate behind it, against loops in double: those of depthwise_reference.h
// with the scale, the shift and the terms that the statistics make.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "depthwise_reference.h"
#include "device_buffer.h"
#include "frnet/depthwise_conv2d_bn_act.h"
#include "frnet/se_gate.h"
#include "frnet/sge_gate.h"
#include "gate_reference.h"
#include "near.h"
#include "se_reference.h"

namespace {

using frnet::DepthwiseConv2dShape;
using frnet::Layout;
using test::accumulator_t;
using test::Activation;
using test::Bounded;
using test::DeviceBuffer;
using test::Expected;
using test::Inputs;
using test::Options;
using test::Reference;
using test::Slice;

constexpr double kEpsilon = 1e-3;
constexpr int64_t kSqueezed = 3;

// gamma and beta are scale and shift of the inputs.
Options options(Activation activation, bool with_all) {
  Options o{};
  o.bias = o.addend = with_all;
  o.scale = o.shift = true;
  o.activation = activation;
  o.grad_y = o.grad_x = o.grad_weight = o.grad_bias = true;
  o.grad_y_addend = with_all;
  if (with_all) o.before = o.after = 3;
  return o;
}

struct Expectation {
  std::vector<Expected> mean, variance, y, grad_x, grad_weight, grad_bias, grad_gamma, grad_beta;
  std::vector<Bounded> after_se, after_sge;
};

template <typename T>
test::SeLayers<double> layers(int64_t channels) {
  using A = accumulator_t<T>;
  const auto weights = static_cast<size_t>(channels * kSqueezed);
  return {test::widened(test::random_values<A>(weights, 11)),
          {},
          test::widened(test::random_values<A>(weights, 13)),
          {},
          Activation::relu,
          frnet::GateFunction::sigmoid};
}

// The inputs of the whole tensors as doubles.
template <typename T>
Inputs<double> exactly(const DepthwiseConv2dShape& s, const Inputs<T>& given, const Options& o) {
  Inputs<double> in(s, o);
  for (auto [to, from] : {std::pair{&in.x, &given.x},
                          {&in.addend, &given.addend},
                          {&in.weight, &given.weight},
                          {&in.bias, &given.bias},
                          {&in.grad_y, &given.grad_y},
                          {&in.grad_y_addend, &given.grad_y_addend}}) {
    *to = test::widened(*from);
  }
  in.scale = test::widened(given.scale);
  in.shift = test::widened(given.shift);
  return in;
}

DepthwiseConv2dShape without_neighbours(DepthwiseConv2dShape s) {
  s.memory_channels = s.channels;
  return s;
}

// Moves beta where rounding could put a value on the other side of a jump of the activation's slope: through the
// statistics that would reach all values of its channel.
template <typename T>
void move_off_kinks(const DepthwiseConv2dShape& s, Inputs<T>& in, const Options& o) {
  const Reference<double> want(s, exactly(s, in, o), o);
  const auto plane = static_cast<size_t>(s.out_height * s.out_width), channels = in.scale.size();
  for (size_t c = 0; c < channels; ++c) {
    const double scale = in.scale[c] / std::sqrt(want.variance[c].value + kEpsilon);
    const auto at_kink = [&] {
      for (size_t i = 0; i < want.v.size(); ++i) {
        if (i / plane % channels != c) continue;
        const double z = scale * (want.v[i].value - want.mean[c].value) + in.shift[c];
        if (test::near_kink(o.activation, z, 1e-5)) return true;
      }
      return false;
    };
    while (at_kink()) in.shift[c] += accumulator_t<T>(0.0137);
  }
}

template <typename T>
Expectation expect(const DepthwiseConv2dShape& s, const Inputs<T>& given, Options o, int64_t groups) {
  Inputs<double> in = exactly(s, given, o);
  const std::vector<double> gamma = in.scale, beta = in.shift;
  Expectation want;
  const Reference<double> statistics(s, in, o);
  want.mean = statistics.mean;
  want.variance = statistics.variance;
  const size_t channels = gamma.size();
  std::vector<double> inv_std(channels);
  for (size_t c = 0; c < channels; ++c) {
    inv_std[c] = 1 / std::sqrt(want.variance[c].value + kEpsilon);
    in.scale[c] = gamma[c] * inv_std[c];
    in.shift[c] = beta[c] - want.mean[c].value * in.scale[c];
  }
  const Reference<double> normalised(s, in, o);
  want.y = normalised.y;
  want.grad_beta = normalised.grad_shift;
  const auto count = static_cast<double>(s.batch * s.out_height * s.out_width);
  for (size_t c = 0; c < channels; ++c) {
    const double sum_g = normalised.grad_shift[c].value, mean = want.mean[c].value;
    const double grad_gamma = inv_std[c] * (normalised.grad_scale[c].value - mean * sum_g);
    const double magnitude =
        inv_std[c] * (normalised.grad_scale[c].magnitude + std::fabs(mean) * normalised.grad_shift[c].magnitude);
    want.grad_gamma.push_back({grad_gamma, magnitude});
    in.linear[c] = -in.scale[c] * inv_std[c] * grad_gamma / count;
    in.constant[c] = -in.scale[c] * sum_g / count - in.linear[c] * mean;
  }
  o.constant = o.linear = true;
  const Reference<double> gradients(s, in, o);
  want.grad_x = gradients.grad_x;
  want.grad_weight = gradients.grad_weight;
  want.grad_bias = gradients.grad_bias;

  std::vector<double> y;
  for (const Expected& value : want.y) y.push_back(value.value);
  const int64_t pixels = s.out_height * s.out_width;
  want.after_se = test::se_gated<double>({s.batch, s.channels, pixels, kSqueezed, Layout::nchw}, test::exactly(y),
                                         test::exactly(y), layers<T>(s.channels));
  const auto count_of_groups = static_cast<size_t>(groups);
  want.after_sge = test::sge_gated<double>(test::exactly(y),
                                           test::widened(test::random_values<accumulator_t<T>>(count_of_groups, 21)),
                                           test::widened(test::random_values<accumulator_t<T>>(count_of_groups, 22)),
                                           s.batch, s.channels, pixels, groups, Layout::nchw);
  return want;
}

template <typename T>
struct Results {
  using A = accumulator_t<T>;
  std::vector<T> y, after_se, after_sge, grad_x, grad_weight, grad_bias;
  std::vector<A> mean, variance, grad_gamma, grad_beta;
};

template <typename T>
Results<T> compute(const DepthwiseConv2dShape& s, const Inputs<T>& in, const Options& o, int64_t groups) {
  using A = accumulator_t<T>;
  Results<T> got;
  const size_t channels = in.bias.size();
  Slice<T> x(s, s.in_height, s.in_width, o, 0, in.x), addend(s, s.in_height, s.in_width, o, 1, in.addend);
  DeviceBuffer<T> weight(in.weight), bias(in.bias);
  DeviceBuffer<A> gamma(in.scale), beta(in.shift), mean(channels), variance(channels);
  const frnet::ConvInput<T> input{x.data(), o.addend ? addend.data() : nullptr};
  const T* const d_bias = o.bias ? bias.data() : nullptr;
  const frnet::BatchNorm<A> norm{gamma.data(), beta.data(), mean.data(), variance.data(), A(kEpsilon)};
  {
    Slice<T> y(s, s.out_height, s.out_width, o, 2);
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_bn_act_workspace<T>(s));
    launchers::depthwise_conv2d_bn_act<T>(input, weight.data(), d_bias, norm, o.activation, mean.data(),
                                          variance.data(), y.data(), s, workspace.data(), test::kExecution);
    got.y = y.download("y");
    got.mean = mean.download();
    got.variance = variance.download();
  }
  if (s.memory_channels == s.channels) {  // a gate is for whole tensors
    const auto weights = static_cast<size_t>(s.channels * kSqueezed);
    DeviceBuffer<A> w1(test::random_values<A>(weights, 11)), w2(test::random_values<A>(weights, 13));
    Slice<T> y(s, s.out_height, s.out_width, o, 2);
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_bn_act_se_workspace<T>(s, kSqueezed));
    launchers::depthwise_conv2d_bn_act_se<T>(
        input, weight.data(), d_bias, norm, o.activation,
        {w1.data(), nullptr, w2.data(), nullptr, Activation::relu, frnet::GateFunction::sigmoid}, mean.data(),
        variance.data(), y.data(), s, kSqueezed, workspace.data(), test::kExecution);
    got.after_se = y.download("y");
    const auto count = static_cast<size_t>(groups);
    DeviceBuffer<A> gate_weight(test::random_values<A>(count, 21)), gate_bias(test::random_values<A>(count, 22));
    DeviceBuffer<unsigned char> sge_workspace(launchers::depthwise_conv2d_bn_act_sge_workspace<T>(s, groups));
    launchers::depthwise_conv2d_bn_act_sge<T>(input, weight.data(), d_bias, norm, o.activation,
                                              {gate_weight.data(), gate_bias.data()}, mean.data(), variance.data(),
                                              y.data(), s, groups, sge_workspace.data(), test::kExecution);
    got.after_sge = y.download("y");
  }
  Slice<T> grad_y(s, s.out_height, s.out_width, o, 3, in.grad_y);
  Slice<T> grad_y_addend(s, s.out_height, s.out_width, o, 1, in.grad_y_addend);
  Slice<T> grad_x(s, s.in_height, s.in_width, o, 2);
  DeviceBuffer<T> grad_weight(in.weight.size()), grad_bias(channels);
  DeviceBuffer<A> grad_gamma(channels), grad_beta(channels);
  frnet::ConvGradient<T> gradient;
  gradient.grad_y = grad_y.data();
  gradient.grad_y_addend = o.grad_y_addend ? grad_y_addend.data() : nullptr;
  gradient.input = input;
  gradient.weight = weight.data();
  gradient.bias = d_bias;
  gradient.epilogue.activation = o.activation;
  DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_bn_act_backward_workspace<T>(s));
  launchers::depthwise_conv2d_bn_act_backward<T>(
      gradient, norm, {grad_x.data(), grad_weight.data(), grad_bias.data(), grad_gamma.data(), grad_beta.data()}, s,
      workspace.data(), test::kExecution);
  got.grad_x = grad_x.download("grad_x");
  got.grad_weight = grad_weight.download();
  got.grad_bias = grad_bias.download();
  got.grad_gamma = grad_gamma.download();
  got.grad_beta = grad_beta.download();
  return got;
}

template <typename T>
void check_case(const DepthwiseConv2dShape& s, const Options& o, int64_t groups) {
  Inputs<T> in(s, o);
  move_off_kinks(without_neighbours(s), in, o);
  const Expectation want = expect(without_neighbours(s), in, o, groups);
  test::set_seed(0);
  const Results<T> got = compute(s, in, o, groups);
  test::require_close(got.mean, want.mean, "mean");
  test::require_close(got.variance, want.variance, "variance");
  test::require_near(got.y, want.y, T{}, "y");
  test::require_near(got.grad_x, want.grad_x, T{}, "grad_x");
  test::require_near(got.grad_weight, want.grad_weight, T{}, "grad_weight");
  test::require_near(got.grad_bias, want.grad_bias, T{}, "grad_bias");
  test::require_near(got.grad_gamma, want.grad_gamma, T{}, "grad_gamma");
  test::require_near(got.grad_beta, want.grad_beta, T{}, "grad_beta");
  if (!got.after_se.empty()) test::require_near(got.after_se, want.after_se, T{}, "y behind squeeze and excitation");
  if (!got.after_sge.empty()) test::require_near(got.after_sge, want.after_sge, T{}, "y behind enhancement");
  test::set_seed(1);
  const Results<T> again = compute(s, in, o, groups);
  test::require_identical(got.y, again.y, "y");
  test::require_identical(got.after_se, again.after_se, "y behind squeeze and excitation");
  test::require_identical(got.after_sge, again.after_sge, "y behind enhancement");
  test::require_identical(got.grad_x, again.grad_x, "grad_x");
  test::require_identical(got.grad_weight, again.grad_weight, "grad_weight");
  test::require_identical(got.grad_gamma, again.grad_gamma, "grad_gamma");
}

int case_index = 0;

void check_all(int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t groups, test::ConvAxis axis) {
  for (const bool with_all : {false, true}) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      const Options o = options(static_cast<Activation>(case_index++ % 5), with_all);
      auto s = test::make_conv_shape(batch, channels, height, width, axis, axis, layout);
      s.memory_channels = o.before + channels + o.after;
      const std::string name = test::describe(s, o, "");
      test::run("float " + name, [&] { check_case<float>(s, o, groups); });
      test::run("double " + name, [&] { check_case<double>(s, o, groups); });
      test::run("float16 " + name, [&] { check_case<frnet::float16>(s, o, groups); });
      test::run("bfloat16 " + name, [&] { check_case<frnet::bfloat16>(s, o, groups); });
    }
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const int64_t kernel : {3, 5}) {
    for (const int64_t stride : {1, 2}) {
      // Enough channels for columns at every width of vectors, the last not full; then too few.
      check_all(3, 77, 9, 8, 7, {kernel, stride, kernel / 2, 1});
      check_all(2, 5, 11, 7, 1, {kernel, stride, 0, 1});
    }
  }
  check_all(2, 72, 31, 29, 9, {3, 1, 1, 1});
  check_all(40, 66, 4, 5, 3, {3, 1, 1, 1});
  check_all(3, 68, 9, 9, 4, {1, 1, 0, 1});
  check_all(2, 65, 9, 9, 5, {3, 1, 2, 2});
  check_all(2, 64, 10, 10, 8, {3, 2, 3, 1});   // more padding than the kernel covers
  check_all(1, 2, 140, 130, 1, {3, 1, 1, 1});  // planes in tiles
  check_all(1, 4, 20, 20, 2, {9, 1, 4, 1});    // a kernel that fits no tile
  return test::finish();
}
