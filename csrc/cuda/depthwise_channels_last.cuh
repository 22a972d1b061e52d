// The kernel that slides over a channels-last tensor, forward or for the input gradient.
#pragma once

#include <cstdint>

#include "cuda/depthwise_output.cuh"
#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// An item is one row of one patch. A segment is what a block's items must not cross the end of: one image where images
// are reduced apart, else the whole batch.
struct ChannelsLastGrid {
  int64_t segment_items;
  int chunks;  // blocks per segment and tile of channels
  int channels;
  int source_channels, target_channels;  // in memory
  int channel_tiles;
  int lanes;  // packs of channels per tile
  int slots;  // items at a time
  int items_per_block;
  int padding_h;
  PatchAxis y, x;  // y.patches, y.lead and y.origin are not used
  FastDivide by_patches, by_rows;
};

// Channels innermost.
//   block  : a tile of channels, items_per_block consecutive items;  thread: 16 bytes of channels, kColumns
//            adjacent targets of one row at a time
//   shared : the tile's weights, biases and parameters, [entry, channel]; at the end the threads' parts of a reduction
//   traffic: writes target once in 16-byte packs; reads source (and addend, grad_y) once from memory, K/stride times
//            from L1
template <typename T, typename P, typename O>
__global__ void __launch_bounds__(kSlideThreads, 2)
    depthwise_conv2d_channels_last_kernel(const T* __restrict__ source,  // [batch, y.sources, x.sources, channels]
                                          const T* __restrict__ addend,  // of source's shape, or null
                                          const T* __restrict__ weight,  // [channels, K, K]
                                          const T* __restrict__ bias,    // [channels] or null
                                          T* __restrict__ target,        // [batch, y.targets, x.targets, channels]
                                          O output, ChannelsLastGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  constexpr int kKernel = P::kKernel;
  constexpr int kTaps = kKernel * kKernel;
  using Partial = typename O::template Partial<kSize>;
  A* weights = shared_memory<A>();  // [kTaps + 1 + kParameters, lanes * kSize]

  const int channel_tile = static_cast<int>(blockIdx.x % grid.channel_tiles);
  const int64_t segment_chunk = blockIdx.x / grid.channel_tiles;
  const int64_t segment = segment_chunk / grid.chunks;
  const int chunk = static_cast<int>(segment_chunk - segment * grid.chunks);
  const int width = grid.lanes * kSize;
  const int first_channel = channel_tile * width;
  const int channels_left = grid.channels - first_channel;
  const int channels = channels_left < width ? channels_left : width;
  const T* const tile_weight = weight + static_cast<int64_t>(first_channel) * kTaps;
  for (int i = threadIdx.x; i < channels * kTaps; i += blockDim.x) {
    const int c = i / kTaps;
    weights[(i - c * kTaps) * width + c] = math::widen(tile_weight[i]);
  }
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    weights[kTaps * width + c] = bias ? math::widen(bias[first_channel + c]) : A(0);
#pragma unroll
    for (int j = 0; j < O::kParameters; ++j) {
      weights[(kTaps + 1 + j) * width + c] = output.parameter(j, first_channel + c);
    }
  }
  __syncthreads();

  const int slot = static_cast<int>(threadIdx.x) / grid.lanes;
  const int tile_channel = (static_cast<int>(threadIdx.x) - slot * grid.lanes) * kSize;
  const bool active = slot < grid.slots && tile_channel < channels;
  const A* const lane_weights = weights + tile_channel;
  const int64_t c = first_channel + tile_channel;

  const int64_t first_in_segment = static_cast<int64_t>(chunk) * grid.items_per_block;
  const int64_t items_left = grid.segment_items - first_in_segment;
  const int items = items_left < grid.items_per_block ? static_cast<int>(items_left) : grid.items_per_block;
  const int64_t first_item = segment * grid.segment_items + first_in_segment;
  const int64_t first_row_index = first_item / grid.x.patches;
  const int first_patch = static_cast<int>(first_item - first_row_index * grid.x.patches);
  const int64_t first_n = first_row_index / grid.y.targets;
  const int first_row = static_cast<int>(first_row_index - first_n * grid.y.targets);

  Partial total;
  for (int i = slot; active && i < items; i += grid.slots) {
    const int rows_on = grid.by_patches.quotient(first_patch + i);
    const int patch = first_patch + i - rows_on * grid.x.patches;
    const int images_on = grid.by_rows.quotient(first_row + rows_on);
    const int row = first_row + rows_on - images_on * grid.y.targets;
    const int64_t n = first_n + images_on;

    // 1. The convolution. What is added to the source is convolved like it: the sum of two is never held anywhere.
    A sums[P::kColumns][kSize];
    {
      A biases[kSize];
      load_window(lane_weights + kTaps * width, biases);
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
#pragma unroll
        for (int e = 0; e < kSize; ++e) sums[v][e] = biases[e];
      }
    }
    // Backward with stride S, only every S-th tap of a column meets this row.
    constexpr int kTapStep = P::kIsBackward ? P::kStride : 1;
    const int first_tap = P::kIsBackward ? (row + grid.padding_h) % P::kStride : 0;
    const int first_source_column = patch * P::kColumnStep + grid.x.origin;
    const int tensors = O::kAddsSources && addend ? 2 : 1;
#pragma unroll 1
    for (int t = 0; t < tensors; ++t) {
      const T* const tensor = t == 0 ? source : addend;
#pragma unroll(kKernel == 3 ? 3 : 1)
      for (int ky = first_tap; ky < kKernel; ky += kTapStep) {
        const int source_row =
            P::kIsBackward ? (row + grid.padding_h - ky) / P::kStride : row * P::kStride - grid.padding_h + ky;
        if (static_cast<unsigned>(source_row) >= static_cast<unsigned>(grid.y.sources)) continue;
        const T* const from =
            tensor + ((n * grid.y.sources + source_row) * grid.x.sources + first_source_column) * grid.source_channels +
            c;
        Pack<T> window[P::kWindowColumns];
#pragma unroll
        for (int j = 0; j < P::kWindowColumns; ++j) {
          if (static_cast<unsigned>(first_source_column + j) < static_cast<unsigned>(grid.x.sources)) {
            window[j] = load_pack(from + static_cast<int64_t>(j) * grid.source_channels);
          }
        }
        A taps[kKernel][kSize];
#pragma unroll
        for (int kx = 0; kx < kKernel; ++kx) load_window(lane_weights + (ky * kKernel + kx) * width, taps[kx]);
#pragma unroll
        for (int j = 0; j < P::kWindowColumns; ++j) {
#pragma unroll
          for (int e = 0; e < kSize; ++e) {
            const A value = math::widen(window[j].get(e));
#pragma unroll
            for (int v = 0; v < P::kColumns; ++v) {
              const int kx = P::tap(v, j);
              if (kx >= 0) sums[v][e] += taps[kx][e] * value;
            }
          }
        }
      }
    }

    // 2. What is to become of it.
    const int first_column = patch * P::kColumns - grid.x.lead;
    if constexpr (O::kTakesMoments) {
      uint32_t valid = 0;
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) valid |= (first_column + v < grid.x.targets ? 1u : 0u) << v;
      total.merge(moments_of<A, P::kColumns, kSize>(valid, [&](int v, int e) { return sums[v][e]; }));
    } else {
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
        const int column = first_column + v;
        if (column < 0 || column >= grid.x.targets) continue;
        const int64_t pixel = (n * grid.y.targets + row) * grid.x.targets + column;
        A grads[kSize] = {};
        if constexpr (O::kReadsGradient) {
          if (output.grad_y) {
            const Pack<T> pack = load_pack(output.grad_y + pixel * grid.source_channels + c);
#pragma unroll
            for (int e = 0; e < kSize; ++e) grads[e] = math::widen(pack.get(e));
          }
          if (output.grad_y_addend) {
            const Pack<T> pack = load_pack(output.grad_y_addend + pixel * grid.source_channels + c);
#pragma unroll
            for (int e = 0; e < kSize; ++e) grads[e] += math::widen(pack.get(e));
          }
        }
        A parameters[O::kParameters + 1][kSize];
#pragma unroll
        for (int j = 0; j < O::kParameters; ++j) {
          load_window(lane_weights + (kTaps + 1 + j) * width, parameters[j]);
        }
        output.activate(sums[v], grads, [&](int j, int e) { return parameters[j][e]; });
        Pack<T> pack;
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          A own[O::kParameters + 1];
#pragma unroll
          for (int j = 0; j < O::kParameters; ++j) own[j] = parameters[j][e];
          pack.set(e, math::narrow<T>(output.template finish<kSize>(sums[v][e], own, grads[e], total, e)));
        }
        if (target) store_pack(target + pixel * grid.target_channels + c, pack);
      }
    }
  }

  // 3. Merge the slots.
  if constexpr (O::kReduces) {
    if (!output.reduces()) return;
    __syncthreads();  // the weights have been read
    merge_slots(total, reinterpret_cast<Partial*>(weights), slot, grid.slots, grid.lanes);
    if (slot != 0 || !active) return;
#pragma unroll
    for (int e = 0; e < kSize; ++e) output.store(total, e, chunk, segment * grid.channels + c + e);
  }
}

template <int K, int S, bool kBackward>
using SlideChannelsLastPatch = Patch<K, S, kBackward, kBackward ? S : 1, S == 2 && !kBackward ? 2 : 4>;

struct ChannelsLastPlan {
  ChannelsLastGrid grid;
  int64_t segments;
  int threads;
  size_t bytes;
};

template <typename T, typename P, typename O>
ChannelsLastPlan plan_channels_last(const DepthwiseConv2dShape& shape, bool reduces) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  ChannelsLastPlan plan;
  ChannelsLastGrid& grid = plan.grid;
  set_patch_axes<P>(shape, grid.y, grid.x);
  plan.segments = O::kPerImage && reduces ? shape.batch : 1;
  const int64_t items = shape.batch * grid.y.targets * grid.x.patches;
  grid.segment_items = items / plan.segments;
  grid.channels = static_cast<int>(shape.channels);
  grid.padding_h = static_cast<int>(shape.padding_h);
  const int packs = grid.channels / kSize;
  grid.channel_tiles = math::ceil_div(packs, 32);
  grid.lanes = math::ceil_div(packs, grid.channel_tiles);
  grid.slots = kSlideThreads / grid.lanes;
  if (grid.slots > grid.segment_items) grid.slots = static_cast<int>(grid.segment_items);
  // Up to eight rounds per block make the loading of the weights small beside the work.
  int64_t rounds = items * grid.channel_tiles / (grid.slots * 2 * kWantedSlideBlocks);
  rounds = rounds < 1 ? 1 : rounds > 8 ? 8 : rounds;
  grid.items_per_block = static_cast<int>(grid.slots * rounds);
  grid.by_patches = FastDivide(grid.x.patches);
  grid.by_rows = FastDivide(grid.y.targets);
  const int64_t chunks = math::ceil_div<int64_t>(grid.segment_items, grid.items_per_block);
  grid_of(chunks);  // refuses what does not fit an int
  grid.chunks = static_cast<int>(chunks);
  plan.threads = round_up(grid.lanes * grid.slots, 32);
  plan.bytes = (P::kKernel * P::kKernel + 1 + O::kParameters) * static_cast<size_t>(grid.lanes) * kSize * sizeof(A);
  const size_t partials = reduces ? plan.threads * sizeof(typename O::template Partial<kSize>) : 0;
  if (plan.bytes < partials) plan.bytes = partials;
  return plan;
}

// Returns the rows of the reduction, or 0 where the kernel cannot run.
template <typename T, typename P, typename O>
int64_t launch_channels_last(const SlideTensors<T>& tensors, O output, const DepthwiseConv2dShape& shape,
                             void* stream) {
  if (!channels_come_in_packs<T>(shape, tensors.source_channels) ||
      !channels_come_in_packs<T>(shape, tensors.target_channels) || !is_aligned(tensors.source) ||
      !is_aligned(tensors.addend) || !is_aligned(tensors.target)) {
    return 0;
  }
  if constexpr (O::kReadsGradient) {
    if (!is_aligned(output.grad_y) || !is_aligned(output.grad_y_addend)) return 0;
  }
  ChannelsLastPlan plan = plan_channels_last<T, P, O>(shape, output.reduces());
  plan.grid.source_channels = static_cast<int>(tensors.source_channels);
  plan.grid.target_channels = static_cast<int>(tensors.target_channels);
  output.set_rows(plan.grid.chunks);
  launch(depthwise_conv2d_channels_last_kernel<T, P, O>,
         grid_of(plan.segments * plan.grid.chunks * plan.grid.channel_tiles), dim3(plan.threads), plan.bytes, stream,
         tensors.source, tensors.addend, tensors.weight, tensors.bias, tensors.target, output, plan.grid);
  return plan.grid.chunks;
}

}  // namespace cuda
}  // namespace frnet
