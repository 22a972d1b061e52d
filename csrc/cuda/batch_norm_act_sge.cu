// Batch normalisation, activation and the spatial group-wise enhance gate, one after the other: the gate works in
// place, and its input is formed again for the gradient.
//   traffic: reads x twice, writes y, reads and writes it again; backward forms the gate's input from x, and of the
//            gate and of the normalisation what each reads and writes
#include "frnet/batch_norm_act_sge.h"

#include "cuda/batch_norm_act.cuh"
#include "workspace_layout.h"

namespace frnet {
namespace cuda {

namespace {

using Shape = BatchNormActShape;

SgeGateShape gate_shape(const Shape& s, int64_t groups) { return {s.batch, s.channels, s.pixels, groups, s.layout}; }

template <typename T>
struct Room {
  T* activations;  // of x's shape
  void *gate, *norm;
  size_t bytes;

  Room(void* workspace, const Shape& s, int64_t groups) {
    WorkspaceLayout layout(workspace);
    activations = layout.take<T>(s.batch * s.channels * s.pixels);
    gate = layout.take_bytes(sge_gate_workspace<T>(gate_shape(s, groups)));
    norm = layout.take_bytes(batch_norm_act_workspace<T>(s));
    bytes = layout.bytes();
  }
};

}  // namespace

template <typename T>
size_t batch_norm_act_sge_workspace(const Shape& s, int64_t groups) {
  return Room<T>(nullptr, s, groups).bytes;
}

template <typename T>
void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean, accumulator_t<T>* variance, T* y,
                        const Shape& s, int64_t groups, void* workspace, void* stream) {
  const Room<T> room(workspace, s, groups);
  batch_norm_act<T>(x, norm, activation, mean, variance, y, s, room.norm, stream);
  sge_gate<T>(y, gate, y, gate_shape(s, groups), room.gate, stream);
}

template <typename T>
void batch_norm_act_sge_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const SgeGate<accumulator_t<T>>& gate,
                                 const BatchNormActGradient<T>& gradient, accumulator_t<T>* grad_weight,
                                 accumulator_t<T>* grad_bias, const Shape& s, int64_t groups, void* workspace,
                                 void* stream) {
  const Room<T> room(workspace, s, groups);
  normalise_activate<T>(x, norm, activation, room.activations, s, room.norm, stream);
  sge_gate_backward<T>(grad_y, room.activations, gate, gradient.grad_x, grad_weight, grad_bias, gate_shape(s, groups),
                       room.gate, stream);
  batch_norm_act_backward<T>(gradient.grad_x, x, norm, activation, gradient, s, room.norm, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                      \
  template void batch_norm_act_sge<T>(const T*, const BatchNorm<accumulator_t<T>>&, Activation,                   \
                                      const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, T*, \
                                      const Shape&, int64_t, void*, void*);                                       \
  template void batch_norm_act_sge_backward<T>(                                                                   \
      const T*, const T*, const BatchNorm<accumulator_t<T>>&, Activation, const SgeGate<accumulator_t<T>>&,       \
      const BatchNormActGradient<T>&, accumulator_t<T>*, accumulator_t<T>*, const Shape&, int64_t, void*, void*); \
  template size_t batch_norm_act_sge_workspace<T>(const Shape&, int64_t);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
