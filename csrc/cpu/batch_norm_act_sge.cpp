// Batch normalisation, activation and the spatial group-wise enhance gate on the CPU.
//   thread : groups of images, behind and in front of passes of batch_norm_act.cpp
//   traffic: reads x twice and writes y once, as long as a group stays in the cache; backward reads x twice and grad_y
//            once, writes the gradient in front of the activation, reads it and writes grad_x in its place

#include "cpu/batch_norm_act_sge.h"

#include "cpu/batch_norm_act.h"
#include "cpu/partial_sums.h"
#include "cpu/sge_epilogue.h"
#include "cpu/sge_image.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

template <typename T>
struct Room {
  using A = accumulator_t<T>;
  A *scale, *shift, *sum_g, *sum_gv;       // [channels]
  A *image_sum_g, *image_sum_gv;           // [batch, channels]
  A *image_grad_weight, *image_grad_bias;  // [batch, groups]
  A* gate;                                 // as SgeWorkspace
  void* norm;                              // as batch_norm_act_workspace
  size_t bytes;

  Room(void* workspace, const BatchNormActShape& s, const SgeGateShape& gated) {
    WorkspaceLayout layout(workspace);
    for (A** values : {&scale, &shift, &sum_g, &sum_gv}) *values = layout.take<A>(s.channels);
    for (A** values : {&image_sum_g, &image_sum_gv}) *values = layout.take<A>(s.batch * s.channels);
    for (A** values : {&image_grad_weight, &image_grad_bias}) *values = layout.take<A>(s.batch * gated.groups);
    gate = layout.take<A>(SgeWorkspace<A>{nullptr, gated}.values());
    norm = layout.take_bytes(batch_norm_act_workspace<T>(s));
    bytes = layout.bytes();
  }
};

SgeGateShape gate_shape(const BatchNormActShape& s, int64_t groups) {
  return {s.batch, s.channels, s.pixels, groups, s.layout};
}

}  // namespace

template <typename T>
size_t batch_norm_act_sge_workspace(const BatchNormActShape& s, int64_t groups) {
  return Room<T>(nullptr, s, gate_shape(s, groups)).bytes;
}

template <typename T>
void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean, accumulator_t<T>* variance, T* y,
                        const BatchNormActShape& s, int64_t groups, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeGateShape gated = gate_shape(s, groups);
  const Room<T> room(workspace, s, gated);
  batch_norm_statistics<T>(x, mean, variance, s, room.norm, parallel);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  const SgeWorkspace<A> of_gate{room.gate, gated};
  parallel(s.batch * groups, group_grain(gated), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A stack[kStackPixels];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / groups, group = item % groups;
      const GroupEpilogue<A> epilogue({room.scale, room.shift, activation}, group * (s.channels / groups));
      activate_group(group_planes(x, n, group, gated), epilogue, group_planes(y, n, group, gated));
      gate_one<T>(y, gate, y, n, group, gated, of_gate, stack);
    }
  });
}

template <typename T>
void batch_norm_act_sge_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const SgeGate<accumulator_t<T>>& gate,
                                 const BatchNormActGradient<T>& gradient, accumulator_t<T>* grad_weight,
                                 accumulator_t<T>* grad_bias, const BatchNormActShape& s, int64_t groups,
                                 void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeGateShape gated = gate_shape(s, groups);
  const Room<T> room(workspace, s, gated);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  const SgeWorkspace<A> of_gate{room.gate, gated};
  const int64_t each = s.channels / groups, pixels = s.pixels;
  parallel(s.batch * groups, group_grain(gated), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A stack[3 * kStackPixels];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / groups, group = item % groups, first = group * each, plane = n * s.channels + first;
      const GroupEpilogue<A> epilogue({room.scale, room.shift, activation}, first);
      const ChannelPlanes<const T> v = group_planes(x, n, group, gated), grad = group_planes(grad_y, n, group, gated);
      // First the gate's input, then the gradient in front of the activation.
      const ChannelPlanes<T> kept = group_planes(gradient.grad_x, n, group, gated);
      activate_group(v, epilogue, kept);
      A *const t = of_gate.pixel_values(n, group, stack), *const map = t + pixels, *const grad_t = map + pixels;
      A *const mean = of_gate.channel_values(n, group), *const through_mean = mean + each;
      const SgeParameterGradient<A> parameters =
          gate_group_gradients<T>(grad, group_planes<const T>(gradient.grad_x, n, group, gated), gate.weight[group],
                                  gate.bias[group], mean, through_mean, t, map, grad_t);
      room.image_grad_weight[item] = parameters.weight;
      room.image_grad_bias[item] = parameters.bias;
      sum_gradients(
          grad, v, epilogue, map, grad_t, mean, through_mean,
          [&](auto adjacent, Vec<A> value, int64_t c, int64_t lanes) {
            return value - per_channel(adjacent, norm.mean + first, c, lanes);
          },
          [&](int64_t c, int64_t p, int64_t lanes, Vec<A> g) { store_some(kept.at(c, p), g, lanes); },
          room.image_sum_g + plane, room.image_sum_gv + plane);
    }
  });
  sum_partials(room.image_grad_weight, s.batch, groups, grad_weight, parallel);
  sum_partials(room.image_grad_bias, s.batch, groups, grad_bias, parallel);
  sum_partials(room.image_sum_g, s.batch, s.channels, room.sum_g, parallel);
  sum_partials(room.image_sum_gv, s.batch, s.channels, room.sum_gv, parallel);
  batch_norm_backward_from_sums<T>(gradient.grad_x, x, norm, room.sum_g, room.sum_gv, gradient, s, room.norm, parallel);
}

FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(float)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(double)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(float16)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
