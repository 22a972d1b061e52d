// The spatial group-wise enhance gate on the CPU, alone and behind a depthwise convolution.
//   thread : groups of images; with a convolution before it, the groups whose channels fill vectors and whose results
//            stay in the second-level cache, convolved and then gated
//   traffic: reads x once and writes y once as long as a group stays in the cache; backward reads x and grad_y and
//            writes grad_x

#include "cpu/sge_gate.h"

#include "cpu/gate_schedule.h"
#include "cpu/sge_image.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

int64_t group_grain(const SgeGateShape& s) {
  return math::ceil_div(kOutputsPerThread, max(1, s.channels / s.groups * s.pixels));
}

template <typename T>
void gate_all(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& s,
              const SgeWorkspace<accumulator_t<T>>& workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  parallel(s.batch * s.groups, group_grain(s), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A stack[kStackPixels];
    for (int64_t item = begin; item < end; ++item) {
      gate_one(x, gate, y, item / s.groups, item % s.groups, s, workspace, stack);
    }
  });
}

SgeGateShape gate_shape(const Shape& s, int64_t groups) {
  return {s.batch, s.channels, s.out_height * s.out_width, groups, s.layout};
}

}  // namespace

template <typename T>
size_t sge_gate_workspace(const SgeGateShape& s) {
  using A = accumulator_t<T>;
  return static_cast<size_t>(SgeWorkspace<A>{nullptr, s}.values()) * sizeof(A);
}

template <typename T>
void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& s, void* workspace,
              const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (s.pixels == 0) return;
  gate_all(x, gate, y, s, SgeWorkspace<A>{static_cast<A*>(workspace), s}, parallel);
}

template <typename T>
void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const SgeGateShape& s,
                       void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeWorkspace<A> room{static_cast<A*>(workspace), s};
  const int64_t images = s.pixels == 0 ? 0 : s.batch;
  parallel(images * s.groups, group_grain(s), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A stack[3 * kStackPixels];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / s.groups, group = item % s.groups;
      A* mean = room.channel_values(n, group);
      A* t = room.pixel_values(n, group, stack);
      const SgeParameterGradient<A> gradient = gate_group_backward<T>(
          group_planes(grad_y, n, group, s), group_planes(x, n, group, s), gate.weight[group], gate.bias[group],
          group_planes(grad_x, n, group, s), mean, mean + s.channels / s.groups, t, t + s.pixels, t + 2 * s.pixels);
      room.sums(n, group)[0] = gradient.weight;
      room.sums(n, group)[1] = gradient.bias;
    }
  });
  for (int64_t group = 0; group < s.groups; ++group) {
    double weight = 0, bias = 0;
    for (int64_t n = 0; n < images; ++n) {
      weight += room.sums(n, group)[0];
      bias += room.sums(n, group)[1];
    }
    grad_weight[group] = static_cast<A>(weight);
    grad_bias[group] = static_cast<A>(bias);
  }
}

template <typename T>
size_t depthwise_conv2d_sge_workspace(const Shape& s, int64_t groups) {
  return conv_workspace_bytes<T>(s) + sge_gate_workspace<T>(gate_shape(s, groups));
}

template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const Shape& s, int64_t groups, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeGateShape gated = gate_shape(s, groups);
  const SgeWorkspace<A> room{reinterpret_cast<A*>(static_cast<char*>(workspace) + conv_workspace_bytes<T>(s)), gated};
  const Tiling tiling = forward_tiling(s);
  const GroupUnits units = group_units<A>(s.channels / groups, groups, gated.pixels, s.batch);
  if (tiling.rows == 0 || !units.worthwhile) {
    depthwise_conv2d<T>(input, weight, bias, epilogue, y, nullptr, s, workspace, parallel);
    return gate_all<T>(y, gate, y, gated, room, parallel);
  }
  parallel(s.batch * units.per_image, 1, [&](int64_t begin, int64_t end) {
    Scratch<A> scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / units.per_image;
      const int64_t first = item % units.per_image * units.groups, last = min(first + units.groups, groups);
      convolve_channels(input, weight, bias, epilogue, y, static_cast<A*>(nullptr), n, first * units.channels,
                        last * units.channels, s, tiling, scratch);
      for (int64_t group = first; group < last; ++group) gate_one<T>(y, gate, y, n, group, gated, room, scratch.pixels);
      scratch.zeroed_for = -1;
    }
  });
}

FRNET_INSTANTIATE_SGE_GATE(float)
FRNET_INSTANTIATE_SGE_GATE(double)
FRNET_INSTANTIATE_SGE_GATE(float16)
FRNET_INSTANTIATE_SGE_GATE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
