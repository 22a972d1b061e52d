// The multi-scale stage against loops in double written straight from its header's formulas.
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/hierarchical_depthwise_conv2d.h"
#include "gate_reference.h"

namespace {

using frnet::accumulator_t;
using frnet::Activation;
using frnet::HierarchicalConv;
using frnet::HierarchicalShape;
using frnet::Layout;
using test::Bounded;
using test::DeviceBuffer;
using test::element;

// What a case has besides its shape.
struct Options {
  bool bias, scale, shift, out_scale, out_shift;
  Activation activation;
  size_t offset;  // of every tensor from its alignment
};

template <typename T>
std::vector<Bounded> expected(const HierarchicalShape& shape, const std::vector<T>& x,
                              const test::ConvParameters<T>& conv, const std::vector<accumulator_t<T>>& out_scale,
                              const std::vector<accumulator_t<T>>& out_shift,
                              const std::vector<accumulator_t<T>>& weight, const std::vector<accumulator_t<T>>& bias) {
  const auto& s = shape.conv;
  const int64_t pixels = s.out_height * s.out_width;
  const int64_t per_split = s.channels / shape.splits;
  std::vector<Bounded> input = test::exactly(x);
  std::vector<Bounded> u(static_cast<size_t>(s.batch * s.channels * pixels));
  for (int64_t split = 0; split < shape.splits; ++split) {
    const int64_t begin = split * per_split;
    const int64_t end = begin + per_split;
    if (shape.chained && split > 0) {
      for (int64_t n = 0; n < s.batch; ++n)
        for (int64_t c = begin; c < end; ++c)
          for (int64_t p = 0; p < pixels; ++p) {
            const Bounded& before = u[element(s.layout, s.channels, pixels, n, c - per_split, p)];
            Bounded& to = input[element(s.layout, s.channels, pixels, n, c, p)];
            to.value += before.value;
            to.error += before.error + test::kSumError<T> * std::fabs(before.value);
          }
    }
    test::convolve(s, input, conv, begin, end, u);
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t c = begin; c < end; ++c)
        for (int64_t p = 0; p < pixels; ++p) {
          Bounded& v = u[element(s.layout, s.channels, pixels, n, c, p)];
          v = test::rounded<T>(v);
        }
  }
  if (!out_scale.empty() || !out_shift.empty()) {
    for (size_t i = 0; i < u.size(); ++i) {
      const size_t c = s.layout == Layout::nchw ? i / static_cast<size_t>(pixels) % static_cast<size_t>(s.channels)
                                                : i % static_cast<size_t>(s.channels);
      const double scale = out_scale.empty() ? 1 : static_cast<double>(out_scale[c]);
      const double shift = out_shift.empty() ? 0 : static_cast<double>(out_shift[c]);
      const double magnitude = std::fabs(scale * u[i].value) + std::fabs(shift);
      u[i] = test::rounded<T>(
          {scale * u[i].value + shift, std::fabs(scale) * u[i].error + test::kSumError<T> * magnitude});
    }
  }
  if (shape.groups == 0) return u;
  return test::sge_gated<T>(u, weight, bias, s.batch, s.channels, pixels, shape.groups, s.layout);
}

template <typename T>
void check(const HierarchicalShape& shape, const Options& options) {
  using A = accumulator_t<T>;
  const auto& s = shape.conv;
  const auto channels = static_cast<size_t>(s.channels);
  const auto x = test::random_values<T>(static_cast<size_t>(s.batch * s.in_height * s.in_width) * channels, 1);
  const auto some = [&](bool given, uint32_t seed) { return test::random_values<A>(given ? channels : 0, seed); };
  test::ConvParameters<T> conv;
  conv.weight = test::random_values<T>(channels * static_cast<size_t>(s.kernel_h * s.kernel_w), 2);
  conv.bias = test::random_values<T>(options.bias ? channels : 0, 3);
  conv.scale = some(options.scale, 4);
  conv.shift = some(options.shift, 5);
  conv.activation = options.activation;
  const auto out_scale = some(options.out_scale, 6);
  const auto out_shift = some(options.out_shift, 7);
  const auto weight = test::random_values<A>(static_cast<size_t>(shape.groups), 8);
  const auto bias = test::random_values<A>(static_cast<size_t>(shape.groups), 9);
  const auto want = expected(shape, x, conv, out_scale, out_shift, weight, bias);

  DeviceBuffer<T> d_x(x, options.offset), d_weight(conv.weight), d_bias(conv.bias);
  DeviceBuffer<A> scale(conv.scale), shift(conv.shift), d_out_scale(out_scale), d_out_shift(out_shift);
  DeviceBuffer<A> gate_weight(weight), gate_bias(bias);
  DeviceBuffer<unsigned char> workspace(launchers::hierarchical_depthwise_conv2d_workspace<T>(shape));
  const HierarchicalConv<T> all{
      d_x.data(),
      d_weight.data(),
      options.bias ? d_bias.data() : nullptr,
      {options.scale ? scale.data() : nullptr, options.shift ? shift.data() : nullptr, options.activation},
      options.out_scale ? d_out_scale.data() : nullptr,
      options.out_shift ? d_out_shift.data() : nullptr,
      {shape.groups ? gate_weight.data() : nullptr, shape.groups ? gate_bias.data() : nullptr}};
  std::vector<T> first;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    DeviceBuffer<T> y(want.size(), options.offset);
    launchers::hierarchical_depthwise_conv2d<T>(all, y.data(), shape, workspace.data(), test::kExecution);
    const std::vector<T> got = y.download();
    if (seed == 0) {
      test::require_within(got, want, "y");
      first = got;
    }
    test::require_identical(first, got, "y");
  }
}

int case_index = 0;

template <typename T>
void check_type(const char* type, const HierarchicalShape& shape, size_t offset) {
  // The options come and go, so that each is met by most kinds of shape.
  const int index = ++case_index;
  const Options options{index % 2 == 0, index % 3 != 0, index % 5 != 0,
                        index % 4 != 0, index % 7 > 1,  static_cast<Activation>(index % 5),
                        offset};
  const auto& s = shape.conv;
  char name[240];
  std::snprintf(
      name, sizeof name, "%s %s [%d,%d,%d,%d] kernel %d stride %d splits %d%s groups %d activation %d%s%s%s%s%s", type,
      s.layout == Layout::nchw ? "nchw" : "channels_last", int(s.batch), int(s.channels), int(s.in_height),
      int(s.in_width), int(s.kernel_h), int(s.stride_h), int(shape.splits), shape.chained ? " chained" : "",
      int(shape.groups), int(options.activation), options.bias ? " bias" : "", options.scale ? " scale" : "",
      options.shift ? " shift" : "", options.out_scale ? " out_scale" : "", options.out_shift ? " out_shift" : "");
  test::run(name, [&] { check<T>(shape, options); });
}

void check_all(int64_t batch, int64_t channels, int64_t height, int64_t width, test::ConvAxis axis, int64_t splits,
               int64_t groups, size_t offset = 0) {
  for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
    const auto conv = test::make_conv_shape(batch, channels, height, width, axis, axis, layout);
    const HierarchicalShape shape{conv, splits, axis.stride == 1, groups};
    check_type<float>("float", shape, offset);
    check_type<double>("double", shape, offset);
    check_type<frnet::float16>("float16", shape, offset);
    check_type<frnet::bfloat16>("bfloat16", shape, offset);
  }
}

#if !defined(FRNET_TEST_CPU)
void check_refusals() {
  const auto conv = test::make_conv_shape(1, 12, 9, 9, {3, 1, 1, 1}, {3, 1, 1, 1}, Layout::nchw);
  const auto smaller = test::make_conv_shape(1, 12, 9, 9, {3, 1, 0, 1}, {3, 1, 0, 1}, Layout::nchw);
  const HierarchicalShape refused[] = {
      {conv, 5, true, 0}, {conv, 0, true, 0}, {conv, 4, true, 5}, {smaller, 4, true, 0}};
  for (const HierarchicalShape& shape : refused) {
    bool caught = false;
    try {
      launchers::hierarchical_depthwise_conv2d_workspace<float>(shape);
    } catch (const std::invalid_argument&) {
      caught = true;
    }
    test::require(caught, "splits " + std::to_string(shape.splits) + ", groups " + std::to_string(shape.groups) +
                              " are not refused");
  }
}
#endif

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const int64_t kernel : {3, 5}) {
    for (const int64_t stride : {1, 2}) {
      const test::ConvAxis same{kernel, stride, kernel / 2, 1};
      check_all(2, 96, 7, 7, same, 4, 8);
      check_all(1, 48, 15, 15, same, 4, 0);
      check_all(2, 24, 9, 6, same, 4, 2);  // groups reach over splits
      check_all(1, 21, 7, 5, same, 3, 3);
    }
  }
  check_all(1, 7, 5, 9, {3, 1, 1, 1}, 1, 7);
  check_all(1, 7, 5, 9, {3, 1, 1, 1}, 7, 0);
  check_all(1, 30, 41, 7, {3, 1, 1, 1}, 2, 6);
  check_all(1, 8, 1, 1, {3, 1, 1, 1}, 4, 0);
  check_all(1, 12, 13, 17, {3, 2, 0, 1}, 4, 4);
  check_all(1, 32, 9, 9, {3, 1, 1, 1}, 4, 4, 1);  // misaligned
  check_all(90, 24, 2, 3, {3, 1, 1, 1}, 4, 12);   // several groups to a block, fewer in the last
  check_all(1, 160, 4, 4, {3, 1, 1, 1}, 4, 8);
  // A group's results do not fit into shared memory, then no plane does, then kernels that are not fused.
  check_all(1, 16, 48, 47, {3, 1, 1, 1}, 2, 2);
  check_all(1, 4, 133, 131, {3, 1, 1, 1}, 2, 2);
  check_all(1, 16, 9, 9, {7, 1, 3, 1}, 4, 4);
  check_all(1, 16, 9, 9, {7, 2, 3, 1}, 4, 2);
  check_all(1, 12, 9, 9, {3, 1, 2, 2}, 3, 0);
  check_all(0, 12, 9, 9, {3, 1, 1, 1}, 4, 4);
#if !defined(FRNET_TEST_CPU)
  test::run("splits and groups that do not divide", check_refusals);
#endif
  return test::finish();
}
