// Sums over stretches of memory, and the way through the planes and pixels of the gates.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"

namespace frnet::cpu::FRNET_ISA {

// Calls body(index, lanes, u) for whole vectors over [0, count) and once for what is left; u runs through 0..3, for
// four sums that do not wait for each other.
template <typename A, typename F>
FRNET_HD void for_vectors(int64_t count, const F& body) {
  constexpr int64_t kL = kLanes<A>;
  int64_t i = 0;
  for (; i + 4 * kL <= count; i += 4 * kL) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) body(i + u * kL, kL, u);
  }
  for (; i + kL <= count; i += kL) body(i, kL, 0);
  if (i < count) body(i, count - i, 1);
}

template <typename T, typename A = accumulator_t<T>>
FRNET_HD Vec<A> load_some(const T* from, int64_t lanes) {
  return lanes == kLanes<A> ? load(from) : load_partial(from, lanes);
}

template <typename T, typename A = accumulator_t<T>>
FRNET_HD void store_some(T* to, Vec<A> value, int64_t lanes) {
  if (lanes == kLanes<A>) {
    store(to, value);
  } else {
    store_partial(to, value, lanes);
  }
}

// The sum of value(index, lanes) over [0, count); lanes past the end must be zero.
template <typename A, typename F>
FRNET_HD A sum_vectors(int64_t count, const F& value) {
  Vec<A> sum[4] = {};
  for_vectors<A>(count, [&](int64_t i, int64_t lanes, int u) { sum[u] += value(i, lanes); });
  return horizontal_sum<A>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// Some channels of one image.
template <typename T>
struct ChannelPlanes {
  T* data;
  int64_t channels, pixels;
  int64_t channel_stride, pixel_stride;

  ChannelPlanes(T* image, int64_t first, int64_t channels, int64_t pixels, int64_t image_channels, Layout layout)
      : data(image + first * (layout == Layout::channels_last ? 1 : pixels)),
        channels(channels),
        pixels(pixels),
        channel_stride(layout == Layout::channels_last ? 1 : pixels),
        pixel_stride(layout == Layout::channels_last ? image_channels : 1) {}

  bool channels_adjacent() const { return channel_stride == 1 && pixels > 1; }
  T* plane(int64_t c) const { return data + c * channel_stride; }
  T* pixel(int64_t p) const { return data + p * pixel_stride; }
  T* at(int64_t c, int64_t p) const { return data + c * channel_stride + p * pixel_stride; }
};

// Calls body(adjacent, channel, pixel, lanes) for vectors of neighbours in memory: of channels where adjacent, an
// integral constant, is true, else of pixels.
template <typename A, typename T, typename F>
FRNET_HD void for_plane_vectors(const ChannelPlanes<T>& planes, const F& body) {
  if (!planes.channels_adjacent()) {
    for (int64_t c = 0; c < planes.channels; ++c) {
      for_vectors<A>(planes.pixels, [&](int64_t p, int64_t lanes, int) { body(std::false_type{}, c, p, lanes); });
    }
    return;
  }
  for (int64_t p = 0; p < planes.pixels; ++p) {
    for (int64_t c = 0; c < planes.channels; c += kLanes<A>) {
      body(std::true_type{}, c, p, min(kLanes<A>, planes.channels - c));
    }
  }
}

// What such a vector meets of an array of one value per channel, and of one value per pixel.
template <typename A, typename Adjacent>
FRNET_HD Vec<A> per_channel(Adjacent, const A* values, int64_t c, int64_t lanes) {
  return Adjacent::value ? load_some(values + c, lanes) : broadcast(values[c]);
}
template <typename A, typename Adjacent>
FRNET_HD Vec<A> per_pixel(Adjacent, const A* values, int64_t p, int64_t lanes) {
  return Adjacent::value ? broadcast(values[p]) : load_some(values + p, lanes);
}

// Zero past the first lanes.
template <typename A>
FRNET_HD Vec<A> first_lanes(Vec<A> value, int64_t lanes) {
  if (lanes == kLanes<A>) return value;
  alignas(kVectorBytes) A kept[kLanes<A>] = {};
  store_some(kept, value, lanes);
  return load(kept);
}

// to[c] = sum over pixels of value(vector of x, and of z where it is not null).
template <typename T, typename A = accumulator_t<T>>
void plane_sums(const ChannelPlanes<const T>& x, const ChannelPlanes<const T>* z, A* to) {
  if (!x.channels_adjacent()) {
    for (int64_t c = 0; c < x.channels; ++c) {
      to[c] = sum_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes) {
        const Vec<A> value = load_some(x.plane(c) + i, lanes);
        return z == nullptr ? value : value * load_some(z->plane(c) + i, lanes);
      });
    }
    return;
  }
  for (int64_t c = 0; c < x.channels; c += kLanes<A>) {
    const int64_t lanes = min(kLanes<A>, x.channels - c);
    Vec<A> sum[4] = {};
    const auto add = [&](int64_t p, int u) {
      const Vec<A> value = load_some(x.pixel(p) + c, lanes);
      sum[u] += z == nullptr ? value : value * load_some(z->pixel(p) + c, lanes);
    };
    int64_t p = 0;
    for (; p + 4 <= x.pixels; p += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) add(p + u, u);
    }
    for (; p < x.pixels; ++p) add(p, 0);
    store_some(to + c, (sum[0] + sum[1]) + (sum[2] + sum[3]), lanes);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
