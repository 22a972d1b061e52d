// The scratch of the spatial group-wise enhance gate, and the gate over the groups of the images of a tensor.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "cpu/sge_group.h"
#include "frnet/sge_gate.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

// Up to this many pixels, what the gate keeps per pixel lies on the stack; beyond, in the workspace.
inline constexpr int64_t kStackPixels = 16 * 1024;

// The workspace: two values per channel of every image, three per pixel of every group of every image where those do
// not fit on the stack, and two sums per group of every image.
template <typename A>
struct SgeWorkspace {
  A* data;
  const SgeGateShape& s;

  bool pixels_on_stack() const { return s.pixels <= kStackPixels; }
  int64_t values() const {
    return 2 * s.batch * s.channels + 2 * s.batch * s.groups +
           (pixels_on_stack() ? 0 : 3 * s.batch * s.groups * s.pixels);
  }
  A* channel_values(int64_t n, int64_t group) const {
    return data + 2 * (n * s.channels + group * (s.channels / s.groups));
  }
  A* sums(int64_t n, int64_t group) const { return data + 2 * s.batch * s.channels + 2 * (n * s.groups + group); }
  A* pixel_values(int64_t n, int64_t group, A* stack) const {
    return pixels_on_stack() ? stack
                             : data + 2 * s.batch * (s.channels + s.groups) + 3 * (n * s.groups + group) * s.pixels;
  }
};

template <typename T>
ChannelPlanes<T> group_planes(T* tensor, int64_t n, int64_t group, const SgeGateShape& s) {
  const int64_t channels = s.channels / s.groups;
  return ChannelPlanes<T>(tensor + n * s.channels * s.pixels, group * channels, channels, s.pixels, s.channels,
                          s.layout);
}

template <typename T, typename A = accumulator_t<T>>
void gate_one(const T* x, const SgeGate<A>& gate, T* y, int64_t n, int64_t group, const SgeGateShape& s,
              const SgeWorkspace<A>& workspace, A* stack) {
  gate_group<T>(group_planes(x, n, group, s), gate.weight[group], gate.bias[group], group_planes(y, n, group, s),
                workspace.channel_values(n, group), workspace.pixel_values(n, group, stack));
}

inline int64_t group_grain(const SgeGateShape& s) {
  return math::ceil_div(kOutputsPerThread, max(1, s.channels / s.groups * s.pixels));
}

template <typename T>
void gate_images(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& s,
                 const SgeWorkspace<accumulator_t<T>>& workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  parallel(s.batch * s.groups, group_grain(s), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A stack[kStackPixels];
    for (int64_t item = begin; item < end; ++item) {
      gate_one(x, gate, y, item / s.groups, item % s.groups, s, workspace, stack);
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA
