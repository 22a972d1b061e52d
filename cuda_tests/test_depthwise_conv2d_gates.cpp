// The gradients of a depthwise convolution with a gate behind it against loops in double: those of the convolution
// (depthwise_reference.h) behind those of the gates (se_reference.h, sge_gradient_reference.h), which have tests of
// their own.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "depthwise_reference.h"
#include "device_buffer.h"
#include "frnet/se_gate.h"
#include "frnet/sge_gate.h"
#include "gate_reference.h"
#include "near.h"
#include "se_reference.h"
#include "sge_gradient_reference.h"

namespace {

using frnet::ConvGradient;
using frnet::ConvGradientOutput;
using frnet::DepthwiseConv2dShape;
using frnet::GateFunction;
using frnet::Layout;
using test::accumulator_t;
using test::Activation;
using test::DeviceBuffer;
using test::Expected;
using test::Inputs;
using test::Options;
using test::Reference;
using test::Slice;

Options all_options(Activation activation, bool with_all) {
  Options o{};
  o.bias = o.scale = o.shift = o.constant = o.linear = with_all;
  o.activation = activation;
  o.grad_y = o.grad_x = o.grad_weight = o.grad_bias = true;
  return o;
}

template <typename T>
struct Results {
  using A = accumulator_t<T>;
  std::vector<T> x, weight, bias;
  std::vector<A> sum_g, sum_gv, gate[4];
};

// One gate: how its two launchers are called, and its gradients in double.
struct Se {
  int64_t squeezed;
  Activation activation;
  GateFunction function;

  template <typename A>
  test::SeLayers<A> layers(const DepthwiseConv2dShape& s) const {
    const auto weights = static_cast<size_t>(s.channels * squeezed);
    return {test::random_values<A>(weights, 11),
            test::random_values<A>(static_cast<size_t>(squeezed), 12),
            test::random_values<A>(weights, 13),
            test::random_values<A>(static_cast<size_t>(s.channels), 14),
            activation,
            function};
  }

  template <typename T>
  void backward(const ConvGradient<T>& sums, const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                const DepthwiseConv2dShape& s, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                Results<T>& got) const {
    using A = accumulator_t<T>;
    const auto values = layers<A>(s);
    DeviceBuffer<A> w1(values.w1), b1(values.b1), w2(values.w2), b2(values.b2);
    DeviceBuffer<A> grad_w1(values.w1.size()), grad_b1(values.b1.size());
    DeviceBuffer<A> grad_w2(values.w2.size()), grad_b2(values.b2.size());
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_se_backward_workspace<T>(s, squeezed));
    launchers::depthwise_conv2d_se_backward_sums<T>(sums,
                                                    {w1.data(), b1.data(), w2.data(), b2.data(), activation, function},
                                                    {grad_w1.data(), grad_b1.data(), grad_w2.data(), grad_b2.data()},
                                                    sum_g, sum_gv, s, squeezed, workspace.data(), test::kExecution);
    launchers::depthwise_conv2d_se_backward<T>(gradient, output, s, squeezed, workspace.data(), test::kExecution);
    got.gate[0] = grad_w1.download();
    got.gate[1] = grad_b1.download();
    got.gate[2] = grad_w2.download();
    got.gate[3] = grad_b2.download();
  }

  // The gradient of u, and those of the parameters.
  template <typename T>
  std::vector<std::vector<test::Bounded>> expected(const DepthwiseConv2dShape& s, const std::vector<double>& grad_y,
                                                   const std::vector<double>& u) const {
    const auto of_a = layers<accumulator_t<T>>(s);
    const test::SeLayers<double> exact{test::widened(of_a.w1),
                                       test::widened(of_a.b1),
                                       test::widened(of_a.w2),
                                       test::widened(of_a.b2),
                                       activation,
                                       function};
    const int64_t pixels = s.out_height * s.out_width;
    auto g = test::se_gradients<double>({s.batch, s.channels, pixels, squeezed, Layout::nchw}, grad_y, u, exact);
    return {g.x, g.w1, g.b1, g.w2, g.b2};
  }
};

struct Sge {
  int64_t groups;

  template <typename T>
  void backward(const ConvGradient<T>& sums, const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                const DepthwiseConv2dShape& s, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                Results<T>& got) const {
    using A = accumulator_t<T>;
    const auto count = static_cast<size_t>(groups);
    DeviceBuffer<A> weight(test::random_values<A>(count, 11)), bias(test::random_values<A>(count, 12));
    DeviceBuffer<A> grad_weight(count), grad_bias(count);
    DeviceBuffer<unsigned char> workspace(launchers::depthwise_conv2d_sge_backward_workspace<T>(s, groups));
    launchers::depthwise_conv2d_sge_backward_sums<T>(sums, {weight.data(), bias.data()}, grad_weight.data(),
                                                     grad_bias.data(), sum_g, sum_gv, s, groups, workspace.data(),
                                                     test::kExecution);
    launchers::depthwise_conv2d_sge_backward<T>(gradient, output, s, groups, workspace.data(), test::kExecution);
    got.gate[0] = grad_weight.download();
    got.gate[1] = grad_bias.download();
  }

  template <typename T>
  std::vector<std::vector<test::Bounded>> expected(const DepthwiseConv2dShape& s, const std::vector<double>& grad_y,
                                                   const std::vector<double>& u) const {
    const auto count = static_cast<size_t>(groups);
    const int64_t pixels = s.out_height * s.out_width;
    auto g = test::sge_gradients<double>({s.batch, s.channels, pixels, groups, Layout::nchw}, grad_y, u,
                                         test::widened(test::random_values<accumulator_t<T>>(count, 11)),
                                         test::widened(test::random_values<accumulator_t<T>>(count, 12)));
    return {g.x, g.weight, g.bias};
  }
};

template <typename T, typename Gate>
Results<T> compute(const DepthwiseConv2dShape& s, const Inputs<T>& in, const Options& o, const Gate& gate) {
  using A = accumulator_t<T>;
  const size_t channels = in.bias.size();
  Slice<T> x(s, s.in_height, s.in_width, o, 0, in.x), grad_y(s, s.out_height, s.out_width, o, 1, in.grad_y);
  Slice<T> grad_x(s, s.in_height, s.in_width, o, 2);
  DeviceBuffer<T> weight(in.weight), bias(in.bias), grad_weight(in.weight.size()), grad_bias(channels);
  DeviceBuffer<A> scale(in.scale), shift(in.shift), constant(in.constant), linear(in.linear);
  DeviceBuffer<A> sum_g(channels), sum_gv(channels);
  ConvGradient<T> sums;
  sums.grad_y = grad_y.data();
  sums.input.x = x.data();
  sums.weight = weight.data();
  sums.bias = o.bias ? bias.data() : nullptr;
  sums.epilogue = {o.scale ? scale.data() : nullptr, o.shift ? shift.data() : nullptr, o.activation};
  ConvGradient<T> gradient = sums;
  gradient.constant = o.constant ? constant.data() : nullptr;
  gradient.linear = o.linear ? linear.data() : nullptr;
  ConvGradientOutput<T> output;
  output.grad_x = grad_x.data();
  output.grad_weight = grad_weight.data();
  output.grad_bias = grad_bias.data();
  Results<T> got;
  gate.template backward<T>(sums, gradient, output, s, sum_g.data(), sum_gv.data(), got);
  got.x = grad_x.download("grad_x");
  got.weight = grad_weight.download();
  got.bias = grad_bias.download();
  got.sum_g = sum_g.download();
  got.sum_gv = sum_gv.download();
  return got;
}

template <typename T, typename Gate>
void check_case(const DepthwiseConv2dShape& s, const Options& o, const Gate& gate) {
  const Inputs<T> in(s, o);
  Inputs<double> exact(s, o);
  exact.x = test::widened(in.x);
  exact.weight = test::widened(in.weight);
  exact.bias = test::widened(in.bias);
  exact.grad_y = test::widened(in.grad_y);
  exact.scale = test::widened(in.scale);
  exact.shift = test::widened(in.shift);
  exact.constant = test::widened(in.constant);
  exact.linear = test::widened(in.linear);
  std::vector<double> u;
  for (const Expected& value : Reference<double>(s, exact, o).y) u.push_back(value.value);
  const auto of_gate = gate.template expected<T>(s, exact.grad_y, u);
  for (size_t i = 0; i < u.size(); ++i) exact.grad_y[i] = of_gate[0][i].value;
  const Reference<double> want(s, exact, o);

  test::set_seed(0);
  const Results<T> got = compute<T>(s, in, o, gate);
  test::require_near(got.x, want.grad_x, T{}, "grad_x");
  test::require_near(got.weight, want.grad_weight, T{}, "grad_weight");
  test::require_near(got.bias, want.grad_bias, T{}, "grad_bias");
  test::require_near(got.sum_g, want.grad_shift, T{}, "sum_g");
  test::require_near(got.sum_gv, want.grad_scale, T{}, "sum_gv");
  for (size_t k = 1; k < of_gate.size(); ++k) {
    test::require_near(got.gate[k - 1], of_gate[k], T{}, "gradient " + std::to_string(k) + " of the gate");
  }
  test::set_seed(1);
  const Results<T> again = compute<T>(s, in, o, gate);
  test::require_identical(got.x, again.x, "grad_x");
  test::require_identical(got.weight, again.weight, "grad_weight");
  test::require_identical(got.bias, again.bias, "grad_bias");
  test::require_identical(got.sum_g, again.sum_g, "sum_g");
  test::require_identical(got.sum_gv, again.sum_gv, "sum_gv");
  for (size_t k = 0; k < 4; ++k) test::require_identical(got.gate[k], again.gate[k], "the gate's gradients");
}

int case_index = 0;

template <typename Gate>
void check_gate(const char* kind, const DepthwiseConv2dShape& s, const Gate& gate) {
  const auto activation = static_cast<Activation>(case_index % 5);
  const Options o = all_options(activation, case_index % 3 != 0);
  ++case_index;
  const std::string name = std::string(kind) + " " + test::describe(s, o, "");
  test::run("float " + name, [&] { check_case<float>(s, o, gate); });
  test::run("double " + name, [&] { check_case<double>(s, o, gate); });
  test::run("float16 " + name, [&] { check_case<frnet::float16>(s, o, gate); });
  test::run("bfloat16 " + name, [&] { check_case<frnet::bfloat16>(s, o, gate); });
}

void check_all(int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t groups, test::ConvAxis axis) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const auto s = test::make_conv_shape(batch, channels, height, width, axis, axis, layout);
    check_gate("squeeze and excitation", s,
               Se{std::max<int64_t>(1, channels / 4), static_cast<Activation>((case_index + 2) % 5),
                  static_cast<GateFunction>(case_index % 2)});
    check_gate("spatial group-wise enhance", s, Sge{groups});
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
      check_all(2, 24, 15, 15, 2, {kernel, stride, kernel / 2, 1});
      check_all(1, 16, 7, 20, 8, {kernel, stride, 0, 1});
    }
  }
  check_all(2, 96, 4, 4, 8, {3, 1, 1, 1});
  check_all(19, 40, 5, 4, 4, {3, 1, 1, 1});  // more images than squeeze and excitation takes at a time
  check_all(37, 3, 6, 6, 3, {3, 2, 1, 1});   // planes that share vectors across images
  check_all(2, 12, 9, 9, 12, {3, 1, 1, 1});
  check_all(1, 6, 61, 60, 1, {3, 1, 1, 1});
  check_all(1, 2, 140, 130, 1, {3, 1, 1, 1});  // planes in tiles
  check_all(1, 12, 9, 9, 3, {7, 1, 3, 1});
  check_all(1, 12, 9, 9, 3, {3, 1, 2, 2});
  check_all(1, 4, 20, 20, 2, {9, 1, 4, 1});  // a kernel that fits no tile
  check_all(0, 8, 9, 7, 2, {3, 1, 1, 1});
  return test::finish();
}
