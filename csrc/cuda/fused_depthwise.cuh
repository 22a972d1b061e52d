// Depthwise convolutions of the splits of one image's channels with what follows them, in one pass over memory: what
// depthwise_conv2d_sge (one split) and hierarchical_depthwise_conv2d have in common.
//   u_i = activation(scale_i * conv_i(x_i + u_{i-1}) + shift_i)      not chained: conv_i(x_i)
//   y_i = sge_gate(out_scale_i * u_i + out_shift_i)                  or without the gate
// A block owns the same run of channels of every split of one image, whole groups of the gate where there is one, and
// takes the splits one after another; a team of warps gates one group. u is rounded to T before it is used again, and
// out_scale * u + out_shift before its statistics are taken, as if each had been stored.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/sge.cuh"
#include "cuda/team.cuh"
#include "frnet/hierarchical_depthwise_conv2d.h"
#include "math/activation.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// Both return false, having done nothing, where the shape has no such kernel or a block's planes do not fit into shared
// memory. shape.groups must be 0 or a multiple of shape.splits, and neither tensor empty.
template <typename T>
bool fused_depthwise_planes(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream);
template <typename T>
bool fused_depthwise_channels_last(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream);

template <typename T>
bool fused_depthwise(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream) {
  return shape.conv.layout == Layout::nchw ? fused_depthwise_planes(conv, y, shape, stream)
                                           : fused_depthwise_channels_last(conv, y, shape, stream);
}

constexpr int kFusedThreads = 256;
// About two blocks for each of 132 multiprocessors; a block without a gate takes as few channels as that needs.
constexpr int64_t kFusedWantedBlocks = 264;

struct FusedGrid {
  int channels;  // of the image
  int splits;
  int split_channels;
  int block_channels;  // of each split
  int blocks_per_image;
  bool chained;
  bool gated;
  SgeSizes sizes;  // of the gate's groups; ungated: of a group of block_channels
  int teams;
  Activation activation;
  PatchAxis y, x;
  int weights;       // values of shared memory for them
  int group_values;  // for the teams' arrays and scratch
  FastDivide by_patches;
  // NCHW: the padded source planes staged at a time
  Tile tile;
  int tile_planes;
  FastDivide by_source_rows, by_source_columns, by_patch_rows, by_target_columns;
  // channels_last
  int pitch;   // between pixels of the results
  int region;  // values of one split's results
  int padding_h;
  FastDivide by_lanes, by_units;
};

// Per-channel factors; each may be null, biases too.
template <typename T>
struct FusedFactors {
  using A = accumulator_t<T>;
  const T* weight;
  const T* bias;
  const A* scale;
  const A* shift;
  const A* out_scale;
  const A* out_shift;
  const A* gate_weight;
  const A* gate_bias;
};

// ------------------------------------------------------------------------------------------------- epilogue

// A channel's weights in shared memory: kTaps taps, then these, kExtra in number.
enum { kBias, kScale, kShift, kExtra };

template <int kTaps, typename T>
__device__ __forceinline__ accumulator_t<T> channel_factor(const FusedFactors<T>& factors, int64_t channel, int i) {
  using A = accumulator_t<T>;
  if (i < kTaps) return math::widen(factors.weight[channel * kTaps + i]);
  if (i == kTaps + kBias) return factors.bias ? math::widen(factors.bias[channel]) : A(0);
  if (i == kTaps + kScale) return factors.scale ? factors.scale[channel] : A(1);
  return factors.shift ? factors.shift[channel] : A(0);
}

// One switch for all values of a patch.
template <int kCount, typename A>
__device__ __forceinline__ void activate_all(Activation activation, A (&values)[kCount]) {
  const auto apply = [&](auto which) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = math::activate<A>(decltype(which)::value, values[i], math::ScalarExp{});
    }
  };
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return apply(std::integral_constant<Activation, Activation::relu>{});
    case Activation::relu6:
      return apply(std::integral_constant<Activation, Activation::relu6>{});
    case Activation::hardswish:
      return apply(std::integral_constant<Activation, Activation::hardswish>{});
    case Activation::silu:
      return apply(std::integral_constant<Activation, Activation::silu>{});
  }
}

// out_scale * u + out_shift as if it had been stored.
template <typename T>
__device__ __forceinline__ accumulator_t<T> affine(const FusedFactors<T>& factors, int64_t channel,
                                                   accumulator_t<T> u) {
  using A = accumulator_t<T>;
  if (!factors.out_scale && !factors.out_shift) return u;
  const A scale = factors.out_scale ? factors.out_scale[channel] : A(1);
  const A shift = factors.out_shift ? factors.out_shift[channel] : A(0);
  return math::widen(math::narrow<T>(scale * u + shift));
}

// Gates a split's results and writes them; box and `to` are what the block owns of y in this split, from its results
// with rows from_pitch apart. first_channel: of the block in this split. Every thread must have written its results.
template <typename T>
__device__ __forceinline__ void finish_split(const FusedFactors<T>& factors, const FusedGrid& grid, const Box& box,
                                             T* to, const T* from, int from_pitch, int first_channel, int channels,
                                             accumulator_t<T>* arrays) {
  using A = accumulator_t<T>;
  const SgeSizes& sizes = grid.sizes;
  const int per_group = sizes.channels + sizes.pixels;
  if (grid.gated) {
    A* const scratch = arrays + grid.teams * per_group;
    const Team team = make_team(grid.teams);
    const int c_begin = team.index * sizes.channels;  // within the block
    const int g = (first_channel + c_begin) / sizes.channels;
    const bool active = c_begin < channels;
    A* const mine = arrays + team.index * per_group;
    const SgeGroup<A> group{active, active ? factors.gate_weight[g] : A(0), active ? factors.gate_bias[g] : A(0), mine,
                            mine + sizes.channels};
    const math::SgeNorm<A> norm = sge_statistics(team, group, sizes, scratch, [&](int c, int p) {
      const int at = sizes.channels_last ? p * from_pitch + c_begin + c : (c_begin + c) * sizes.pixels + p;
      return affine(factors, first_channel + c_begin + c, math::widen(from[at]));
    });
    sge_replace_t(team, group, sizes, norm);
    __syncthreads();
  }
  write_groups(box, to, from, from_pitch, grid.by_units, sizes, [&](int g, int c, int p, A value) {
    const A result = affine(factors, first_channel + c, value);
    return grid.gated ? result * arrays[g * per_group + sizes.channels + p] : result;
  });
}

// ------------------------------------------------------------------------------------------------ launchers

// What both layouts' grids share, for a block of `units` groups of the gate, or of `units` channels without one.
template <typename T>
void set_fused_block(const HierarchicalConv<T>& conv, const HierarchicalShape& shape, int64_t units, FusedGrid& grid) {
  using A = accumulator_t<T>;
  const DepthwiseConv2dShape& s = shape.conv;
  const int64_t pixels = s.out_height * s.out_width;
  const int64_t unit = shape.groups > 0 ? s.channels / shape.groups : 1;
  grid.channels = static_cast<int>(s.channels);
  grid.splits = static_cast<int>(shape.splits);
  grid.split_channels = static_cast<int>(s.channels / shape.splits);
  grid.block_channels = static_cast<int>(units * unit);
  grid.blocks_per_image = math::ceil_div(grid.split_channels, grid.block_channels);
  grid.chained = shape.chained;
  grid.gated = shape.groups > 0;
  grid.sizes = make_sge_sizes(grid.gated ? unit : grid.block_channels, pixels, s.layout == Layout::channels_last);
  grid.teams = grid.gated ? static_cast<int>(units) : 1;
  grid.activation = conv.epilogue.activation;
  // Teams' arrays, then their scratch.
  const int64_t values = grid.teams * (unit + pixels) + kFusedThreads;
  grid.group_values = grid.gated ? static_cast<int>(shared_bytes_of<A>(values) / sizeof(A)) : 0;
}

// Whole warps for every team.
inline dim3 fused_threads(const FusedGrid& grid) {
  const int step = 32 * grid.teams;
  return dim3(static_cast<unsigned>(kFusedThreads / step * step));
}

template <typename T>
FusedFactors<T> factors_of(const HierarchicalConv<T>& conv) {
  return FusedFactors<T>{conv.weight,    conv.bias,      conv.epilogue.scale, conv.epilogue.shift,
                         conv.out_scale, conv.out_shift, conv.gate.weight,    conv.gate.bias};
}

// The most units a block may take: no more than wanted, than a split has, than there can be teams, or than leave too
// few blocks; at least 1.
inline int64_t limit_fused_units(int64_t wanted, const HierarchicalShape& shape, bool keep_blocks) {
  const int64_t per_split = (shape.groups > 0 ? shape.groups : shape.conv.channels) / shape.splits;
  const int64_t enough = keep_blocks ? shape.conv.batch * per_split / kFusedWantedBlocks : per_split;
  const int64_t teams = shape.groups > 0 ? kFusedThreads / 32 : per_split;
  for (const int64_t limit : {per_split, enough, teams}) wanted = wanted < limit ? wanted : limit;
  return wanted > 1 ? wanted : 1;
}

// Planes that no block could hold are refused early, so that sizes of tiles cannot overflow an int.
inline bool planes_are_too_large(const DepthwiseConv2dShape& s) {
  constexpr int64_t kMost = int64_t{1} << 17;
  return s.in_height > kMost || s.in_width > kMost || s.out_height > kMost || s.out_width > kMost ||
         s.in_height * s.in_width > kMost || s.out_height * s.out_width > kMost || s.channels > (int64_t{1} << 29);
}

}  // namespace cuda
}  // namespace frnet
