// How a convolution and the gate behind it share a cache: which channels of an image one thread takes at a time.
#pragma once

#include <cstdint>

#include "cpu/depthwise_conv2d.h"
#include "cpu/depthwise_forward.h"

namespace frnet::cpu::FRNET_ISA {

// Below this many units of work, threads would wait for each other: the convolution and the gate then take turns over
// the whole tensor, which is small.
inline constexpr int64_t kUnitsForFusion = 16;
// Results that stay in the second-level cache until they are gated, beside what the convolution works in.
inline constexpr int64_t kCachedBytes = 384 * 1024;

struct GroupUnits {
  int64_t channels;   // per group
  int64_t groups;     // per unit
  int64_t per_image;  // units
  bool worthwhile;
};

// Groups at a time: as few as fill the lanes of the convolution's vectors to nine tenths, in so many bytes.
template <typename A>
GroupUnits group_units(int64_t channels, int64_t groups, int64_t pixels, int64_t batch, int64_t bytes) {
  constexpr int64_t kL = kLanes<A>;
  const auto filled = [&](int64_t count) {
    const int64_t lanes = count * channels;
    return static_cast<double>(lanes) / static_cast<double>(math::ceil_div(lanes, kL) * kL);
  };
  const int64_t most = max(1, bytes / max(1, channels * pixels * static_cast<int64_t>(sizeof(A))));
  int64_t best = 1;
  for (int64_t count = 2; count <= min(groups, most) && filled(best) < 0.9; ++count) {
    if (filled(count) > filled(best)) best = count;
  }
  const int64_t per_image = math::ceil_div(groups, best);
  return {channels, best, per_image, per_image * batch >= kUnitsForFusion};
}

// What depthwise_conv2d needs, rounded up so that what follows it is aligned.
template <typename T>
size_t conv_workspace_bytes(const Shape& s) {
  return (depthwise_conv2d_workspace<T>(s, false) + 63) / 64 * 64;
}

// Channels [first, last) of image n.
template <typename T, typename A = accumulator_t<T>>
void convolve_channels(const ConvInput<T>& input, const T* weight, const T* bias, const Epilogue<A>& epilogue, T* y,
                       A* pooled, int64_t n, int64_t first, int64_t last, const Shape& s, const Tiling& tiling,
                       Scratch<A>& scratch) {
  for (int64_t c = first; c < last; c += kLanes<A>) {
    forward_block(input, weight, bias, epilogue, y, pooled == nullptr ? nullptr : pooled + c,
                  Block{n, c, min(kLanes<A>, last - c), 0, kLanes<A>}, s, tiling, scratch);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
