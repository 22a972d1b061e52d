// Squeeze and excitation on the CPU.
//   thread : whole images where the batch is large enough, else channels of images, step by step
//   traffic: reads x once and writes y once as long as an image stays in the second-level cache, else reads x twice

#include "cpu/se_gate.h"

#include "cpu/se_image.h"

namespace frnet::cpu::FRNET_ISA {

template <typename T>
size_t se_gate_workspace(const SeGateShape& s) {
  using A = accumulator_t<T>;
  return static_cast<size_t>(Excitation<A>::values(s) + s.batch * s.channels) * sizeof(A);
}

template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& s, void* workspace,
             const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (s.pixels == 0) return;
  A* data = static_cast<A*>(workspace);
  run_images(
      s, parallel,
      [&](int64_t n, int64_t first, int64_t last) { pool(x, Excitation<A>(data, n, s).pooled, n, first, last, s); },
      [&](int64_t n) { excite(gate, Excitation<A>(data, n, s), s); },
      [&](int64_t n, int64_t first, int64_t last) {
        scale(x, Excitation<A>(data, n, s).gate, static_cast<const A*>(nullptr), y, n, first, last, s);
      });
}

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& s, void* workspace,
                      const Parallel& parallel) {
  using A = accumulator_t<T>;
  A* data = static_cast<A*>(workspace);
  A* products = data + Excitation<A>::values(s);  // [batch, channels]
  const int64_t images = s.pixels == 0 ? 0 : s.batch;
  if (images > 0) {
    run_images(
        s, parallel,
        [&](int64_t n, int64_t first, int64_t last) {
          pool(x, Excitation<A>(data, n, s).pooled, n, first, last, s);
          const ChannelPlanes<const T> planes = channel_planes(x, n, first, last, s);
          plane_sums<T>(channel_planes(grad_y, n, first, last, s), &planes, products + n * s.channels + first);
        },
        [&](int64_t n) {
          const Excitation<A> e(data, n, s);
          excite(gate, e, s);
          excite_backward(gate, products + n * s.channels, e, s);
        },
        [&](int64_t n, int64_t first, int64_t last) {
          const Excitation<A> e(data, n, s);
          if (grad_x != nullptr) scale(grad_y, e.gate, e.grad_pooled, grad_x, n, first, last, s);
        });
  }
  layer_gradients(gradient, data, images, s, parallel);
}

FRNET_INSTANTIATE_SE_GATE(float)
FRNET_INSTANTIATE_SE_GATE(double)
FRNET_INSTANTIATE_SE_GATE(float16)
FRNET_INSTANTIATE_SE_GATE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
