// The spatial group-wise enhance gate (math/sge.h) of groups that a block holds, one to a team: what sge_gate and the
// fused convolutions share.
//
// An element is addressed as (group of the block, channel c of all the block's channels, pixel p). A channel's pixels
// lie next to each other or, channels_last, a pixel's channels; either way neighbouring threads read neighbours.
#pragma once

#include <cstdint>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/team.cuh"
#include "math/activation.h"
#include "math/sge.h"

namespace frnet {
namespace cuda {

struct SgeSizes {
  int channels;  // per group
  int pixels;
  int lanes;  // lanes_for(channels_last ? channels : pixels)
  bool channels_last;
  FastDivide by_channels, by_pixels;
};

inline SgeSizes make_sge_sizes(int64_t group_channels, int64_t pixels, bool channels_last) {
  return SgeSizes{static_cast<int>(group_channels),
                  static_cast<int>(pixels),
                  lanes_for(channels_last ? group_channels : pixels),
                  channels_last,
                  FastDivide(group_channels),
                  FastDivide(pixels)};
}

// What a team knows of its group. The arrays may lie in shared or in global memory.
template <typename A>
struct SgeGroup {
  bool active;  // false: the block has fewer groups than teams
  A weight;
  A bias;
  A* means;  // [channels]: m
  A* t;      // [pixels]
};

// store(c, sum over p of value(c, p)), c in [0, channels).
template <typename A, typename Value, typename Store>
__device__ __forceinline__ void sum_over_pixels(const Team& team, bool active, const SgeSizes& sizes, A* scratch,
                                                const Value& value, const Store& store) {
  if (sizes.channels_last) {
    sum_columns(team, active, sizes.pixels, sizes.channels, scratch, [&](int p, int c) { return value(c, p); }, store);
  } else {
    sum_rows<A>(team, active, sizes.channels, sizes.pixels, sizes.lanes, value, store);
  }
}

// store(p, sum over c of value(c, p)).
template <typename A, typename Value, typename Store>
__device__ __forceinline__ void sum_over_channels(const Team& team, bool active, const SgeSizes& sizes, A* scratch,
                                                  const Value& value, const Store& store) {
  if (sizes.channels_last) {
    sum_rows<A>(
        team, active, sizes.pixels, sizes.channels, sizes.lanes, [&](int p, int c) { return value(c, p); }, store);
  } else {
    sum_columns(team, active, sizes.channels, sizes.pixels, scratch, value, store);
  }
}

// Sum over the team of value(p), returned to all of its threads.
template <typename A, typename Value>
__device__ __forceinline__ A sum_of_pixels(const Team& team, bool active, const SgeSizes& sizes, A* scratch,
                                           const Value& value) {
  A sum = 0;
  if (active) {
    for (int p = team.thread; p < sizes.pixels; p += team.threads) sum += value(p);
  }
  return team_sum(team, sum, scratch);
}

// Fills means and t. load(c, p) is an element of the group, c in [0, channels).
template <typename A, typename Load>
__device__ __forceinline__ math::SgeNorm<A> sge_statistics(const Team& team, const SgeGroup<A>& group,
                                                           const SgeSizes& sizes, A* scratch, const Load& load) {
  const A pixels = static_cast<A>(sizes.pixels);
  A* const means = group.means;
  A* const t = group.t;
  sum_over_pixels(team, group.active, sizes, scratch, load, [&](int c, A sum) { means[c] = sum / pixels; });
  __syncthreads();
  sum_over_channels(
      team, group.active, sizes, scratch, [&](int c, int p) { return means[c] * load(c, p); },
      [&](int p, A sum) { t[p] = sum; });
  __syncthreads();
  const A mean = sum_of_pixels(team, group.active, sizes, scratch, [&](int p) { return t[p]; }) / pixels;
  const A squares = sum_of_pixels(team, group.active, sizes, scratch, [&](int p) {
    const A deviation = t[p] - mean;
    return deviation * deviation;
  });
  return math::sge_norm(mean, squares, pixels);
}

template <typename A>
__device__ __forceinline__ A sge_value(const SgeGroup<A>& group, const math::SgeNorm<A>& norm, A t) {
  return math::sigmoid<A>(group.weight * ((t - norm.mean) * norm.inv) + group.bias, math::ScalarExp{});
}

// Replaces t by the gate s.
template <typename A>
__device__ __forceinline__ void sge_replace_t(const Team& team, const SgeGroup<A>& group, const SgeSizes& sizes,
                                              const math::SgeNorm<A>& norm) {
  if (!group.active) return;
  for (int p = team.thread; p < sizes.pixels; p += team.threads) group.t[p] = sge_value(group, norm, group.t[p]);
}

// Writes the block's elements: to = f(group, c, p, value at from). from may be to itself; its rows are from_pitch
// apart.
template <typename T, typename F>
__device__ __forceinline__ void write_groups(const Box& box, T* to, const T* from, int64_t from_pitch,
                                             const FastDivide& by_units, const SgeSizes& sizes, const F& f) {
  constexpr int kSize = Pack<T>::kSize;
  const int step_pixel = sizes.channels_last ? 0 : 1;
  for_each_unit(box, to, by_units, [&](int row, int first) {
    const int begin = first > 0 ? first : 0;
    int c = sizes.channels_last ? begin : sizes.by_pixels.quotient(begin);
    int p = sizes.channels_last ? row : begin - c * sizes.pixels;
    int group = sizes.by_channels.quotient(c);
    int c_in_group = c - group * sizes.channels;
    Pack<T> pack = load_unit(from + row * from_pitch, first, box.width);
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (first + j < 0 || first + j >= box.width) continue;
      pack.set(j, math::narrow<T>(f(group, c, p, math::widen(pack.get(j)))));
      p += step_pixel;
      if (step_pixel == 0 || p == sizes.pixels) {
        if (step_pixel) p = 0;
        ++c;
        if (++c_in_group == sizes.channels) {
          c_in_group = 0;
          ++group;
        }
      }
    }
    store_unit(to + row * box.stride, first, box.width, pack);
  });
}

}  // namespace cuda
}  // namespace frnet
