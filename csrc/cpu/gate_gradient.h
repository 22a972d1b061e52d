// What a gate makes of its result's gradient on the way to the convolution before it, formed as the gradient is read.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "cpu/vec.h"

namespace frnet::cpu::FRNET_ISA {

// The gradient of a gate's input u, with g the group of channel c:
//   grad_u[n,c,p] = grad_y[n,c,p] * factor[n,c] * pixel_factor[n,g,p] + slope[n,c] * pixel_slope[n,g,p] + offset[n,c]
// A squeeze-and-excitation gate has factor and offset, a spatial group-wise one all but factor.
template <typename A>
struct GateGradient {
  const A *factor = nullptr, *slope = nullptr;              // [batch, channels]; null: 1 and 0
  const A* offset = nullptr;                                // [batch, channels]; null: there is no gate
  const A *pixel_factor = nullptr, *pixel_slope = nullptr;  // [batch, groups, pixels], both or none
  int64_t groups = 1;
};

// The gate over the planes of one block. Where there is none, nothing is set.
template <typename A>
class LaneGate {
 public:
  LaneGate(const GateGradient<A>& gate, const Block& block, const Shape& s) : gate_(gate) {
    if (!exists()) return;
    const int64_t plane = block.n * s.channels + block.c;
    const auto read = [&](const A* values) {
      return values == nullptr ? Vec<A>{} : load_partial(values + plane, block.count);
    };
    factor_ = gate.factor == nullptr ? broadcast(A(1)) : read(gate.factor);
    slope_ = read(gate.slope);
    offset_ = read(gate.offset);
    if (gate.pixel_factor == nullptr) return;
    const int64_t pixels = s.out_height * s.out_width, each = s.channels / gate.groups;
    for (int64_t l = 0; l < block.count; ++l) {
      const int64_t map = (plane + l) / each * pixels;
      if (maps_ > 0 && map_[maps_ - 1] == map) continue;
      for (int64_t k = 0; k < kLanes<A>; ++k) in_map_[maps_][k] = k >= l ? -1 : 0;
      map_[maps_++] = map;
    }
  }

  bool exists() const { return gate_.offset != nullptr; }

  // Gradients of a run of pixels from `pixel` on, in place.
  void apply(A* grad, int64_t pixel, int64_t count) const {
    constexpr int64_t kL = kLanes<A>;
    if (maps_ == 0) {
      for (int64_t i = 0; i < count * kL; i += kL) store(grad + i, load(grad + i) * factor_ + offset_);
      return;
    }
    const A *factors = gate_.pixel_factor + pixel, *slopes = gate_.pixel_slope + pixel;
    for (int64_t i = 0; i < count; ++i) {
      Vec<A> factor = broadcast(factors[map_[0] + i]), slope = broadcast(slopes[map_[0] + i]);
      for (int m = 1; m < maps_; ++m) {
        factor = in_map_[m] ? broadcast(factors[map_[m] + i]) : factor;
        slope = in_map_[m] ? broadcast(slopes[map_[m] + i]) : slope;
      }
      store(grad + i * kL, load(grad + i * kL) * factor_ * factor + (slope_ * slope + offset_));
    }
  }

 private:
  const GateGradient<A>& gate_;
  Vec<A> factor_, slope_, offset_;
  // Lanes of one group share its maps: in_map_[m] has the lanes from the m-th group on.
  int maps_ = 0;
  int64_t map_[kLanes<A>];
  typename VecOf<A>::index in_map_[kLanes<A>];
};

// Whether the convolution and its gradients go tile by tile: else its whole result has to be kept, and a gate is an op
// of its own.
bool works_in_tiles(const Shape& s);

// depthwise_conv2d_backward with a gate behind the epilogue: gradient.grad_y is that of the gate's result. For shapes
// that work in tiles.
template <typename T>
void backward_through_gate(const ConvGradient<T>& gradient, const GateGradient<accumulator_t<T>>& gate,
                           const ConvGradientOutput<T>& output, const Shape& s, void* workspace,
                           const Parallel& parallel);

}  // namespace frnet::cpu::FRNET_ISA
