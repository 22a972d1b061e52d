// The steps of squeeze and excitation over the images of a tensor.
#pragma once

#include <cstdint>

#include "cpu/gate_schedule.h"
#include "cpu/se_excite.h"

namespace frnet::cpu::FRNET_ISA {

// Channels that one item of work pools or scales where images are shared by threads.
inline constexpr int64_t kChannelsPerItem = 16;

template <typename T>
ChannelPlanes<T> channel_planes(T* tensor, int64_t n, int64_t first, int64_t last, const SeGateShape& s) {
  return ChannelPlanes<T>(tensor + n * s.channels * s.pixels, first, last - first, s.pixels, s.channels, s.layout);
}

template <typename T, typename A = accumulator_t<T>>
void pool(const T* x, A* pooled, int64_t n, int64_t first, int64_t last, const SeGateShape& s) {
  plane_sums<T>(channel_planes(x, n, first, last, s), nullptr, pooled + first);
  for (int64_t c = first; c < last; ++c) pooled[c] /= static_cast<A>(s.pixels);
}

// y = x * factor[c] + offset[c] / pixels; offset may be null.
template <typename T, typename A = accumulator_t<T>>
void scale(const T* x, const A* factor, const A* offset, T* y, int64_t n, int64_t first, int64_t last,
           const SeGateShape& s) {
  const ChannelPlanes<const T> from = channel_planes(x, n, first, last, s);
  const ChannelPlanes<T> to = channel_planes(y, n, first, last, s);
  const A inverse = A(1) / static_cast<A>(s.pixels);
  for_plane_vectors<A>(from, [&](auto adjacent, int64_t c, int64_t p, int64_t lanes) {
    Vec<A> value = load_some(from.at(c, p), lanes) * per_channel(adjacent, factor + first, c, lanes);
    if (offset != nullptr) value += per_channel(adjacent, offset + first, c, lanes) * inverse;
    store_some(to.at(c, p), value, lanes);
  });
}

// Images one by one: begin(n) fills what excite reads, end(n) uses what it wrote. Small batches: the same in turns over
// channels.
template <typename Begin, typename Middle, typename End>
void run_images(const SeGateShape& s, const Parallel& parallel, const Begin& begin, const Middle& middle,
                const End& end) {
  const int64_t image = max(1, s.channels * s.pixels);
  if (s.batch >= kUnitsForFusion || s.batch * image <= kOutputsPerThread) {
    return parallel(s.batch, math::ceil_div(kOutputsPerThread, image), [&](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        begin(n, int64_t{0}, s.channels);
        middle(n);
        end(n, int64_t{0}, s.channels);
      }
    });
  }
  const int64_t items = math::ceil_div(s.channels, kChannelsPerItem);
  const auto in_turn = [&](const auto& step) {
    parallel(s.batch * items, math::ceil_div(kOutputsPerThread, kChannelsPerItem * s.pixels),
             [&](int64_t first, int64_t last) {
               for (int64_t item = first; item < last; ++item) {
                 const int64_t c = item % items * kChannelsPerItem;
                 step(item / items, c, min(c + kChannelsPerItem, s.channels));
               }
             });
  };
  in_turn(begin);
  parallel(s.batch, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) middle(n);
  });
  in_turn(end);
}

inline SeGateShape se_gate_shape(const Shape& s, int64_t squeezed) {
  return {s.batch, s.channels, s.out_height * s.out_width, squeezed, s.layout};
}

// The gradients of the layers: sums over the images, one row of a weight per item.
template <typename A>
void layer_gradients(const SeGateGradient<A>& gradient, A* data, int64_t images, const SeGateShape& s,
                     const Parallel& parallel) {
  const auto outer_sums = [&](int64_t rows, int64_t columns, A* weight, A* bias, const auto& row_factor,
                              const auto& column_values) {
    if (weight == nullptr && bias == nullptr) return;
    parallel(rows, math::ceil_div(kOutputsPerThread, max(1, columns * images)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const auto factor = [&](int64_t n) { return row_factor(Excitation<A>(data, n, s))[row]; };
        if (weight != nullptr) {
          add_rows(weight + row * columns, columns, images, factor,
                   [&](int64_t n) { return column_values(Excitation<A>(data, n, s)); });
        }
        A sum = 0;
        for (int64_t n = 0; n < images; ++n) sum += factor(n);
        if (bias != nullptr) bias[row] = sum;
      }
    });
  };
  outer_sums(
      s.squeezed, s.channels, gradient.grad_w1, gradient.grad_b1, [](const Excitation<A>& e) { return e.grad_hidden; },
      [](const Excitation<A>& e) { return e.pooled; });
  outer_sums(
      s.channels, s.squeezed, gradient.grad_w2, gradient.grad_b2, [](const Excitation<A>& e) { return e.grad_gate; },
      [](const Excitation<A>& e) { return e.hidden; });
}

}  // namespace frnet::cpu::FRNET_ISA
