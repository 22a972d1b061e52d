// The spatial group-wise enhance gate on the CPU.
//   thread : groups of images
//   traffic: reads x once and writes y once as long as a group stays in the cache; backward reads x and grad_y and
//            writes grad_x

#include "cpu/sge_gate.h"

#include "cpu/sge_image.h"

namespace frnet::cpu::FRNET_ISA {

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
  gate_images(x, gate, y, s, SgeWorkspace<A>{static_cast<A*>(workspace), s}, parallel);
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

FRNET_INSTANTIATE_SGE_GATE(float)
FRNET_INSTANTIATE_SGE_GATE(double)
FRNET_INSTANTIATE_SGE_GATE(float16)
FRNET_INSTANTIATE_SGE_GATE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
