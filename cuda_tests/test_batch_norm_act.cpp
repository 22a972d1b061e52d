// Batch normalisation and activation, and with the spatial group-wise enhance gate behind them, against loops in
// double, written straight from the definitions.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "activation_reference.h"
#include "check.h"
#include "device_buffer.h"
#include "frnet/batch_norm_act_sge.h"
#include "gate_reference.h"
#include "near.h"
#include "sge_gradient_reference.h"

namespace {

using frnet::accumulator_t;
using frnet::BatchNorm;
using frnet::BatchNormActGradient;
using frnet::BatchNormActShape;
using frnet::Layout;
using test::Activation;
using test::DeviceBuffer;
using test::Expected;

constexpr double kEpsilon = 1e-3;

template <typename T>
struct Inputs {
  using A = accumulator_t<T>;
  std::vector<T> x, grad_y;
  std::vector<A> gamma, beta;  // empty: not given

  // distance: of the values from zero, in multiples of their spread.
  Inputs(const BatchNormActShape& s, bool affine, double distance)
      : x(test::random_values<T>(static_cast<size_t>(s.batch * s.channels * s.pixels), 1)),
        grad_y(test::random_values<T>(x.size(), 2)) {
    for (T& value : x) value = frnet::math::narrow<T>(frnet::math::widen(value) + static_cast<A>(distance));
    if (!affine) return;
    gamma = test::random_values<A>(static_cast<size_t>(s.channels), 3);
    beta = test::random_values<A>(static_cast<size_t>(s.channels), 4);
    for (A& value : gamma) value *= 4;
    for (A& value : beta) value = value * 3 + 2;
  }
};

struct Expectation {
  std::vector<Expected> mean, variance, y, grad_x, grad_gamma, grad_beta;
};

// Calls f(index) for the values of channel c.
template <typename F>
void each(const BatchNormActShape& s, int64_t c, const F& f) {
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t p = 0; p < s.pixels; ++p) f(test::element(s.layout, s.channels, s.pixels, n, c, p));
}

// grad_y: of the activation's result.
template <typename T>
Expectation expect(const BatchNormActShape& s, Activation activation, const Inputs<T>& in,
                   const std::vector<Expected>& grad_y) {
  Expectation want;
  const auto count = static_cast<double>(s.batch * s.pixels);
  const auto at = [](const std::vector<T>& values, size_t i) { return double(frnet::math::widen(values[i])); };
  want.y.resize(in.x.size());
  want.grad_x.resize(in.x.size());
  for (int64_t c = 0; c < s.channels; ++c) {
    const auto k = static_cast<size_t>(c);
    const double gamma = in.gamma.empty() ? 1 : double(in.gamma[k]), beta = in.beta.empty() ? 0 : double(in.beta[k]);
    test::LongSum sum, squares, sum_g, sum_gh;
    each(s, c, [&](size_t i) { sum.add(at(in.x, i)); });
    const Expected mean = sum.over(count);
    each(s, c, [&](size_t i) { squares.add((at(in.x, i) - mean.value) * (at(in.x, i) - mean.value)); });
    Expected variance = squares.over(count);
    // The mean is rounded; how far that moves a normalised value, in units of the rounding.
    const double inv_std = 1 / std::sqrt(variance.value + kEpsilon), moved = std::fabs(mean.value) * inv_std;
    variance.magnitude += std::fabs(mean.value) * std::sqrt(variance.value);
    const auto h = [&](size_t i) { return (at(in.x, i) - mean.value) * inv_std; };
    const auto slope = [&](size_t i) { return test::slope(activation, gamma * h(i) + beta); };
    const auto g = [&](size_t i) { return grad_y[i].value * slope(i); };
    const auto size_g = [&](size_t i) { return grad_y[i].magnitude * std::fabs(slope(i)); };
    each(s, c, [&](size_t i) {
      sum_g.add(Expected{g(i), size_g(i)});
      sum_gh.add(Expected{g(i) * h(i), size_g(i) * std::fabs(h(i))});
    });
    const Expected grad_beta = sum_g.over();
    Expected grad_gamma = sum_gh.over();
    grad_gamma.magnitude += moved * grad_beta.magnitude;
    each(s, c, [&](size_t i) {
      const double scale = gamma * inv_std, size = std::fabs(h(i)) + moved;
      want.y[i] = {test::activate(activation, gamma * h(i) + beta),
                   test::kSteepest * (std::fabs(gamma) * size + std::fabs(beta))};
      want.grad_x[i] = {scale * (g(i) - (grad_beta.value + h(i) * grad_gamma.value) / count),
                        std::fabs(scale) * (size_g(i) + (grad_beta.magnitude + size * grad_gamma.magnitude) / count)};
    });
    want.mean.push_back(mean);
    want.variance.push_back(variance);
    want.grad_gamma.push_back(grad_gamma);
    want.grad_beta.push_back(grad_beta);
  }
  return want;
}

template <typename T>
std::vector<Expected> given(const std::vector<T>& values) {
  std::vector<Expected> result;
  for (const T value : values)
    result.push_back({frnet::math::widen(value), std::fabs(double(frnet::math::widen(value)))});
  return result;
}

// Moves beta where rounding could put a value on the other side of a jump of the activation's slope.
template <typename T>
void move_off_kinks(const BatchNormActShape& s, Activation activation, Inputs<T>& in) {
  if (in.beta.empty()) return;
  for (int64_t c = 0; c < s.channels; ++c) {
    const auto k = static_cast<size_t>(c);
    const auto at_kink = [&] {
      const Expectation want = expect(s, Activation::none, in, given(in.grad_y));
      bool found = false;
      each(s, c, [&](size_t i) { found = found || test::near_kink(activation, want.y[i].value, 1e-5); });
      return found;
    };
    while (at_kink()) in.beta[k] += accumulator_t<T>(0.0137);
  }
}

template <typename T>
struct Results {
  using A = accumulator_t<T>;
  std::vector<T> y, grad_x;
  std::vector<A> mean, variance, grad_gamma, grad_beta;
};

// wanted: a bit for each of x, gamma and beta. offset shifts tensors off their alignment.
template <typename T>
Results<T> compute(const BatchNormActShape& s, Activation activation, const Inputs<T>& in, unsigned wanted,
                   size_t offset) {
  using A = accumulator_t<T>;
  const auto channels = static_cast<size_t>(s.channels);
  DeviceBuffer<T> x(in.x, offset), grad_y(in.grad_y, offset), y(in.x.size(), offset), grad_x(in.x.size(), offset);
  DeviceBuffer<A> gamma(in.gamma), beta(in.beta), mean(channels), variance(channels);
  DeviceBuffer<A> grad_gamma(channels), grad_beta(channels);
  DeviceBuffer<unsigned char> workspace(launchers::batch_norm_act_workspace<T>(s));
  const BatchNorm<A> norm{in.gamma.empty() ? nullptr : gamma.data(), in.beta.empty() ? nullptr : beta.data(),
                          mean.data(), variance.data(), A(kEpsilon)};
  launchers::batch_norm_act<T>(x.data(), norm, activation, mean.data(), variance.data(), y.data(), s, workspace.data(),
                               test::kExecution);
  BatchNormActGradient<T> gradient;
  if (wanted & 1) gradient.grad_x = grad_x.data();
  if (wanted & 2) gradient.grad_gamma = grad_gamma.data();
  if (wanted & 4) gradient.grad_beta = grad_beta.data();
  launchers::batch_norm_act_backward<T>(grad_y.data(), x.data(), norm, activation, gradient, s, workspace.data(),
                                        test::kExecution);
  Results<T> got;
  got.y = y.download();
  got.mean = mean.download();
  got.variance = variance.download();
  if (wanted & 1) got.grad_x = grad_x.download();
  if (wanted & 2) got.grad_gamma = grad_gamma.download();
  if (wanted & 4) got.grad_beta = grad_beta.download();
  return got;
}

template <typename T>
void check_case(const BatchNormActShape& s, Activation activation, bool affine, double distance, unsigned wanted,
                size_t offset) {
  Inputs<T> in(s, affine, distance);
  move_off_kinks(s, activation, in);
  const Expectation want = expect(s, activation, in, given(in.grad_y));
  test::set_seed(0);
  const Results<T> got = compute(s, activation, in, wanted, offset);
  test::require_close(got.mean, want.mean, "mean");
  test::require_close(got.variance, want.variance, "variance");
  test::require_near(got.y, want.y, T{}, "y");
  if (wanted & 1) test::require_near(got.grad_x, want.grad_x, T{}, "grad_x");
  if (wanted & 2) test::require_near(got.grad_gamma, want.grad_gamma, T{}, "grad_gamma");
  if (wanted & 4) test::require_near(got.grad_beta, want.grad_beta, T{}, "grad_beta");
  for (const uint64_t seed : {1, 2}) {
    test::set_seed(seed);
    const Results<T> again = compute(s, activation, in, wanted, offset);
    test::require_identical(got.y, again.y, "y");
    test::require_identical(got.mean, again.mean, "mean");
    test::require_identical(got.variance, again.variance, "variance");
    test::require_identical(got.grad_x, again.grad_x, "grad_x");
    test::require_identical(got.grad_gamma, again.grad_gamma, "grad_gamma");
    test::require_identical(got.grad_beta, again.grad_beta, "grad_beta");
  }
}

// ------------------------------------------------------------------------------------------ with a gate behind

template <typename T>
struct GatedResults {
  using A = accumulator_t<T>;
  std::vector<T> y, grad_x;
  std::vector<A> mean, variance, grad_gamma, grad_beta, grad_weight, grad_bias;
};

template <typename T>
GatedResults<T> compute_gated(const BatchNormActShape& s, int64_t groups, Activation activation, const Inputs<T>& in,
                              const std::vector<accumulator_t<T>>& weight, const std::vector<accumulator_t<T>>& bias) {
  using A = accumulator_t<T>;
  const auto channels = static_cast<size_t>(s.channels);
  DeviceBuffer<T> x(in.x), grad_y(in.grad_y), y(in.x.size()), grad_x(in.x.size());
  DeviceBuffer<A> gamma(in.gamma), beta(in.beta), mean(channels), variance(channels), gate_weight(weight);
  DeviceBuffer<A> gate_bias(bias), grad_gamma(channels), grad_beta(channels), grad_weight(weight.size());
  DeviceBuffer<A> grad_bias(bias.size());
  DeviceBuffer<unsigned char> workspace(launchers::batch_norm_act_sge_workspace<T>(s, groups));
  const BatchNorm<A> norm{gamma.data(), beta.data(), mean.data(), variance.data(), A(kEpsilon)};
  launchers::batch_norm_act_sge<T>(x.data(), norm, activation, {gate_weight.data(), gate_bias.data()}, mean.data(),
                                   variance.data(), y.data(), s, groups, workspace.data(), test::kExecution);
  launchers::batch_norm_act_sge_backward<T>(grad_y.data(), x.data(), norm, activation,
                                            {gate_weight.data(), gate_bias.data()},
                                            {grad_x.data(), grad_gamma.data(), grad_beta.data()}, grad_weight.data(),
                                            grad_bias.data(), s, groups, workspace.data(), test::kExecution);
  return {y.download(),          grad_x.download(),    mean.download(),        variance.download(),
          grad_gamma.download(), grad_beta.download(), grad_weight.download(), grad_bias.download()};
}

template <typename T>
void check_gated(const BatchNormActShape& s, int64_t groups, Activation activation) {
  using A = accumulator_t<T>;
  Inputs<T> in(s, true, 0);
  move_off_kinks(s, activation, in);
  const auto weight = test::random_values<A>(static_cast<size_t>(groups), 21);
  const auto bias = test::random_values<A>(static_cast<size_t>(groups), 22);
  Expectation want = expect(s, activation, in, given(in.grad_y));
  std::vector<double> between;
  for (const Expected& value : want.y) between.push_back(value.value);
  const auto wide = [](const std::vector<A>& values) { return std::vector<double>(values.begin(), values.end()); };
  const frnet::SgeGateShape gated{s.batch, s.channels, s.pixels, groups, s.layout};
  const auto y = test::sge_gated<double>(test::exactly(between), wide(weight), wide(bias), s.batch, s.channels,
                                         s.pixels, groups, s.layout);
  const auto gate = test::sge_gradients<double>(gated, test::widened(in.grad_y), between, wide(weight), wide(bias));
  std::vector<Expected> behind;
  for (const test::Bounded& value : gate.x) behind.push_back({value.value, test::magnitude(value)});
  want = expect(s, activation, in, behind);
  GatedResults<T> first;
  for (const uint64_t seed : {0, 1}) {
    test::set_seed(seed);
    const GatedResults<T> got = compute_gated(s, groups, activation, in, weight, bias);
    if (seed == 0) {
      first = got;
      test::require_close(got.mean, want.mean, "mean");
      test::require_close(got.variance, want.variance, "variance");
      test::require_near(got.y, y, T{}, "y");
      test::require_near(got.grad_x, want.grad_x, T{}, "grad_x");
      test::require_near(got.grad_gamma, want.grad_gamma, T{}, "grad_gamma");
      test::require_near(got.grad_beta, want.grad_beta, T{}, "grad_beta");
      test::require_near(got.grad_weight, gate.weight, T{}, "the gate's grad_weight");
      test::require_near(got.grad_bias, gate.bias, T{}, "the gate's grad_bias");
      continue;
    }
    test::require_identical(first.y, got.y, "y");
    test::require_identical(first.grad_x, got.grad_x, "grad_x");
    test::require_identical(first.grad_gamma, got.grad_gamma, "grad_gamma");
    test::require_identical(first.grad_weight, got.grad_weight, "the gate's grad_weight");
  }
}

int case_index = 0;

void check_all_gated(int64_t batch, int64_t channels, int64_t pixels, int64_t groups) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    // (Where the gate's input is rounded to 16 bits, its statistics are those of other values than the reference's.)
    for (const auto activation : {Activation::none, static_cast<Activation>(1 + case_index++ % 4)}) {
      const BatchNormActShape s{batch, channels, pixels, layout};
      char name[160];
      std::snprintf(name, sizeof name, " %s [%d,%d,%d] in %d groups, activation %d",
                    layout == Layout::nchw ? "nchw" : "channels_last", int(batch), int(channels), int(pixels),
                    int(groups), int(activation));
      test::run("gated float" + std::string(name), [&] { check_gated<float>(s, groups, activation); });
      test::run("gated double" + std::string(name), [&] { check_gated<double>(s, groups, activation); });
    }
  }
}

void check_all(int64_t batch, int64_t channels, int64_t pixels, double distance = 0, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      // Activations, parameters and wanted gradients come and go, so that all are met by most kinds of shape. Without
      // parameters every channel lies on the kinks.
      const int index = case_index++;
      const bool affine = index % 4 != 0;
      const auto activation = affine ? static_cast<Activation>(index % 5) : Activation::silu;
      const unsigned wanted = index % 3 == 0 ? static_cast<unsigned>(1 + index % 7) : 7u;
      const BatchNormActShape s{batch, channels, pixels, layout};
      char name[160];
      std::snprintf(name, sizeof name, " %s [%d,%d,%d] activation %d%s wanted %u distance %g%s",
                    layout == Layout::nchw ? "nchw" : "channels_last", int(batch), int(channels), int(pixels),
                    int(activation), affine ? "" : " plain", wanted, distance, offset ? " misaligned" : "");
      const auto run = [&](const char* type, const auto& body) { test::run(type + std::string(name), body); };
      run("float", [&] { check_case<float>(s, activation, affine, distance, wanted, offset); });
      run("double", [&] { check_case<double>(s, activation, affine, distance, wanted, offset); });
      if (distance != 0) continue;  // 16 bits do not hold such values
      run("float16", [&] { check_case<frnet::float16>(s, activation, affine, distance, wanted, offset); });
      run("bfloat16", [&] { check_case<frnet::bfloat16>(s, activation, affine, distance, wanted, offset); });
    }
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  check_all(2, 1, 1);
  check_all(2, 3, 7);
  check_all(5, 19, 16);   // planes of a few vectors, four at a time and what is left
  check_all(37, 6, 25);   // several chunks of images
  check_all(3, 67, 225);  // more channels than four vectors, the last not full
  check_all(2, 5, 900);
  check_all(1, 2, 9001);  // a plane in segments
  check_all(70, 40, 9);   // many rows of adjacent channels
  check_all(2, 70, 49, 0, 1);
  check_all(3, 5, 41, 0, 3);
  check_all(9, 12, 64, 300);
  check_all(1, 3, 5000, 300);
  check_all_gated(2, 24, 49, 8);
  check_all_gated(5, 21, 16, 7);
  check_all_gated(1, 6, 900, 2);
  check_all_gated(3, 64, 30, 1);
  check_all_gated(1, 2, 17000, 1);  // more pixels than the stack has room for
  return test::finish();
}
