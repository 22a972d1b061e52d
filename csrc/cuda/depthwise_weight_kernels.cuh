// The kernels of the weight gradient; depthwise_conv2d_backward_weight.cu says what they compute, chooses between them
// and adds up their partial sums. grad_y is the gradient of the convolution's result, addend null or added to x.
#pragma once

#include <cstdint>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kWeightThreads = 256;
// Taps of one kernel row that the any-shape kernel sums at a time.
constexpr int kTapGroup = 8;

// ---------------------------------------------------------------------------------------------- NCHW tiles

struct WeightPlaneGrid {
  int64_t items;  // batch * bands
  int64_t chunks;
  int channels;
  int64_t grad_channels, x_channels;  // in memory
  int groups;                         // of channels
  int channels_per_block;             // more than one only where bands == 1
  int lanes;                          // threads per channel, a power of two
  int bands;
  int band_patches;
  PatchAxis y, x;
  Tile x_tile, grad_tile;
  FastDivide by_in_rows, by_in_columns, by_out_rows, by_out_columns, by_patch_columns;
};

// Planes of an NCHW tensor.
//   block  : channels_per_block channels, one chunk of (image, band) pairs;  thread: patches of one channel,
//            whose K*K sums it keeps in registers
//   shared : the padded band of x and the band of grad_y as accumulation type; at the end the lanes' sums
template <typename T, typename P>
__global__ void __launch_bounds__(kWeightThreads, 2)
    depthwise_conv2d_weight_planes_kernel(const T* __restrict__ grad_y,  // [batch, channels, y.targets, x.targets]
                                          const T* __restrict__ x,       // [batch, channels, y.sources, x.sources]
                                          const T* __restrict__ addend,  // of x's shape, or null
                                          accumulator_t<T>* __restrict__ partials,  // [chunks, channels * (K*K + 1)]
                                          WeightPlaneGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kKernel = P::kKernel;
  constexpr int kTaps = kKernel * kKernel;
  const int x_tile_size = grid.channels_per_block * grid.x_tile.plane_stride;
  const int grad_tile_size = grid.channels_per_block * grid.grad_tile.plane_stride;
  A* x_tile = shared_memory<A>();
  A* grad_tile = x_tile + x_tile_size;

  const int group = static_cast<int>(blockIdx.x % grid.groups);
  const int64_t chunk = blockIdx.x / grid.groups;
  const int first_channel = group * grid.channels_per_block;
  const int channels_left = grid.channels - first_channel;
  const int channels = channels_left < grid.channels_per_block ? channels_left : grid.channels_per_block;
  const int plane = static_cast<int>(threadIdx.x) / grid.lanes;
  const int lane = static_cast<int>(threadIdx.x) % grid.lanes;

  A sums[kTaps + 1] = {};  // the bias's last
  const int64_t item_end = (chunk + 1) * grid.items / grid.chunks;
  for (int64_t item = chunk * grid.items / grid.chunks; item < item_end; ++item) {
    const int64_t n = item / grid.bands;
    const int first_patch = static_cast<int>(item - n * grid.bands) * grid.band_patches;
    const int patches_left = grid.y.patches - first_patch;
    const int patch_rows = patches_left < grid.band_patches ? patches_left : grid.band_patches;

    // 1. Stage both bands, inside zeros.
    __syncthreads();
    clear(x_tile, x_tile_size + grad_tile_size);
    __syncthreads();
    const int tile_top = first_patch * P::kRowStep + grid.y.origin;  // the row of x that tile row 0 holds
    int row_begin = 0;
    int row_end = grid.y.sources;
    int out_begin = 0;
    int out_end = grid.y.targets;
    if (grid.channels_per_block == 1) {
      if (row_begin < tile_top) row_begin = tile_top;
      if (row_end > tile_top + grid.x_tile.rows) row_end = tile_top + grid.x_tile.rows;
      out_begin = first_patch * P::kRows;
      if (out_end > out_begin + patch_rows * P::kRows) out_end = out_begin + patch_rows * P::kRows;
    }
    if (row_begin < row_end) {
      const int64_t offset = ((n * grid.x_channels + first_channel) * grid.y.sources + row_begin) * grid.x.sources;
      stage_planes(x + offset, channels, row_end - row_begin, grid.by_in_rows, grid.by_in_columns, row_begin - tile_top,
                   -grid.x.origin, x_tile, grid.x_tile);
      if (addend) {
        __syncthreads();  // the two may be read in different packs, so by different threads
        stage_planes<true>(addend + offset, channels, row_end - row_begin, grid.by_in_rows, grid.by_in_columns,
                           row_begin - tile_top, -grid.x.origin, x_tile, grid.x_tile);
      }
    }
    stage_planes(grad_y + ((n * grid.grad_channels + first_channel) * grid.y.targets + out_begin) * grid.x.targets,
                 channels, out_end - out_begin, grid.by_out_rows, grid.by_out_columns, 0, 0, grad_tile, grid.grad_tile);
    __syncthreads();

    // 2. Sum over this thread's patches.
    const int patches = plane < channels ? patch_rows * grid.x.patches : 0;
    for (int i = lane; i < patches; i += grid.lanes) {
      const int patch_row = grid.by_patch_columns.quotient(i);
      const int patch_column = i - patch_row * grid.x.patches;
      A grads[P::kRows][P::kColumns];
      const A* grad_from = grad_tile + plane * grid.grad_tile.plane_stride +
                           patch_row * P::kRows * grid.grad_tile.pitch + patch_column * P::kColumns;
#pragma unroll
      for (int r = 0; r < P::kRows; ++r) {
        load_window(grad_from + r * grid.grad_tile.pitch, grads[r]);
#pragma unroll
        for (int v = 0; v < P::kColumns; ++v) sums[kTaps] += grads[r][v];
      }
      const A* from = x_tile + plane * grid.x_tile.plane_stride + patch_row * P::kRowStep * grid.x_tile.pitch +
                      patch_column * P::kColumnStep;
      for_each_product<P>(from, grid.x_tile.pitch,
                          [&](int r, int v, int tap, A value) { sums[tap] += grads[r][v] * value; });
    }
  }

  // 3. Add the lanes of each channel, first within a warp, then across warps.
  const int warp_lanes = grid.lanes < 32 ? grid.lanes : 32;
  A* lane_sums = x_tile;  // [threads / warp_lanes, kTaps + 1]
  __syncthreads();
#pragma unroll
  for (int t = 0; t <= kTaps; ++t) {
    for (int distance = warp_lanes / 2; distance > 0; distance /= 2) {
      sums[t] += __shfl_xor_sync(0xffffffffu, sums[t], distance);
    }
    if (threadIdx.x % warp_lanes == 0) lane_sums[(threadIdx.x / warp_lanes) * (kTaps + 1) + t] = sums[t];
  }
  __syncthreads();
  const int segments = grid.lanes / warp_lanes;
  A* const row = partials + chunk * grid.channels * (kTaps + 1);
  for (int i = threadIdx.x; i < channels * (kTaps + 1); i += blockDim.x) {
    const int p = i / (kTaps + 1);
    const int t = i - p * (kTaps + 1);
    A sum = 0;
    for (int s = 0; s < segments; ++s) sum += lane_sums[(p * segments + s) * (kTaps + 1) + t];
    const int64_t c = first_channel + p;
    row[t < kTaps ? c * kTaps + t : static_cast<int64_t>(grid.channels) * kTaps + c] = sum;
  }
}

// ------------------------------------------------------------------------------------------- channels last

struct WeightChannelsLastGrid {
  int64_t items;  // batch * y.targets * x.patches; an item is one row of one patch
  int64_t chunks;
  int channels;
  int64_t grad_channels, x_channels;  // in memory
  int channel_tiles;
  int lanes;  // packs of channels per tile
  int slots;  // threads per block / (lanes * K)
  int stride_h;
  int padding_h;
  PatchAxis y, x;  // y.patches, y.lead and y.origin are not used
};

// Channels innermost.
//   block  : a tile of channels, one chunk of items;  thread: 16 bytes of channels and one row of the kernel,
//            whose K sums per channel it keeps in registers
//   shared : the sums of all threads for one tap, at the end
template <typename T, typename P>
__global__ void __launch_bounds__(kWeightThreads, 2) depthwise_conv2d_weight_channels_last_kernel(
    const T* __restrict__ grad_y,             // [batch, y.targets, x.targets, channels]
    const T* __restrict__ x,                  // [batch, y.sources, x.sources, channels]
    const T* __restrict__ addend,             // of x's shape, or null
    accumulator_t<T>* __restrict__ partials,  // [chunks, channels * (K*K + 1)]
    WeightChannelsLastGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  constexpr int kKernel = P::kKernel;
  constexpr int kTaps = kKernel * kKernel;

  const int first_channel = static_cast<int>(blockIdx.x % grid.channel_tiles) * grid.lanes * kSize;
  const int64_t chunk = blockIdx.x / grid.channel_tiles;
  const int work = static_cast<int>(threadIdx.x) / grid.lanes;
  const int c = first_channel + (static_cast<int>(threadIdx.x) - work * grid.lanes) * kSize;
  const int slot = work / kKernel;
  const int ky = work - slot * kKernel;
  const bool active = slot < grid.slots && c < grid.channels;

  A sums[kKernel + 1][kSize] = {};  // the bias's last
  const int64_t item_end = (chunk + 1) * grid.items / grid.chunks;
  const int64_t first_item = chunk * grid.items / grid.chunks + slot;
  // The position is carried along rather than divided out anew for every item.
  int64_t row_index = first_item / grid.x.patches;
  int patch = static_cast<int>(first_item - row_index * grid.x.patches);
  int64_t n = row_index / grid.y.targets;
  int row = static_cast<int>(row_index - n * grid.y.targets);
  for (int64_t item = first_item; active && item < item_end; item += grid.slots) {
    const T* grad_from =
        grad_y + ((n * grid.y.targets + row) * grid.x.targets + patch * P::kColumns) * grid.grad_channels + c;
    Pack<T> grads[P::kColumns];
#pragma unroll
    for (int v = 0; v < P::kColumns; ++v) {
      if (patch * P::kColumns + v < grid.x.targets) {
        grads[v] = load_pack(grad_from + v * grid.grad_channels);
      }
    }
    if (ky == 0) {
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
#pragma unroll
        for (int e = 0; e < kSize; ++e) sums[kKernel][e] += math::widen(grads[v].get(e));
      }
    }
    const int source_row = row * grid.stride_h - grid.padding_h + ky;
    if (static_cast<unsigned>(source_row) < static_cast<unsigned>(grid.y.sources)) {
      const int source_column = patch * P::kColumnStep + grid.x.origin;
      const int64_t offset = ((n * grid.y.sources + source_row) * grid.x.sources + source_column) * grid.x_channels + c;
      const int tensors = addend ? 2 : 1;
#pragma unroll 1
      for (int t = 0; t < tensors; ++t) {
        const T* const from = (t == 0 ? x : addend) + offset;
        Pack<T> window[P::kWindowColumns];
#pragma unroll
        for (int j = 0; j < P::kWindowColumns; ++j) {
          if (static_cast<unsigned>(source_column + j) < static_cast<unsigned>(grid.x.sources)) {
            window[j] = load_pack(from + j * grid.x_channels);
          }
        }
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          A slopes[P::kColumns];
#pragma unroll
          for (int v = 0; v < P::kColumns; ++v) slopes[v] = math::widen(grads[v].get(e));
#pragma unroll
          for (int j = 0; j < P::kWindowColumns; ++j) {
            const A value = math::widen(window[j].get(e));
#pragma unroll
            for (int v = 0; v < P::kColumns; ++v) {
              const int kx = P::tap(v, j);
              if (kx >= 0) sums[kx][e] += slopes[v] * value;
            }
          }
        }
      }
    }
    patch += grid.slots;
    while (patch >= grid.x.patches) {
      patch -= grid.x.patches;
      if (++row == grid.y.targets) {
        row = 0;
        ++n;
      }
    }
  }

  // Add the slots, one kernel column at a time.
  A* const slot_sums = shared_memory<A>();  // [slots, K, lanes, kSize]
  const int rows = kKernel * grid.lanes * kSize;
  A* const partial_row = partials + chunk * grid.channels * (kTaps + 1);
#pragma unroll
  for (int kx = 0; kx <= kKernel; ++kx) {
    __syncthreads();
    if (slot < grid.slots) {
#pragma unroll
      for (int e = 0; e < kSize; ++e) slot_sums[threadIdx.x * kSize + e] = sums[kx][e];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
      const int i_ky = i / (grid.lanes * kSize);
      const int64_t channel = first_channel + i - i_ky * grid.lanes * kSize;
      if (channel >= grid.channels || (kx == kKernel && i_ky != 0)) continue;
      A sum = 0;
      for (int s = 0; s < grid.slots; ++s) sum += slot_sums[s * rows + i];
      partial_row[kx < kKernel ? channel * kTaps + i_ky * kKernel + kx
                               : static_cast<int64_t>(grid.channels) * kTaps + channel] = sum;
    }
  }
}

// -------------------------------------------------------------------------------------------------- direct

struct WeightDirectGrid {
  int64_t pixels;                     // batch * output pixels
  int64_t grad_channels, x_channels;  // in memory
  int64_t chunks;
  int channel_tiles;
  int channel_lanes;  // 1, or 32 where channels are innermost
  FastDivide by_columns, by_plane;
};

// Any kernel, stride, padding, dilation and layout.
//   block  : channel_lanes channels, one chunk of pixels;  thread: one channel, every (threads /
//            channel_lanes)-th pixel, kTapGroup taps of one kernel row at a time
//   shared : the sums of all threads for one group of taps
//   traffic: reads x and grad_y once from memory, and again for every group of taps from the caches
template <typename T>
__global__ void __launch_bounds__(kWeightThreads)
    depthwise_conv2d_weight_direct_kernel(const T* __restrict__ grad_y, const T* __restrict__ x,
                                          const T* __restrict__ addend,
                                          accumulator_t<T>* __restrict__ partials,  // [chunks, channels * (taps + 1)]
                                          WeightDirectGrid grid, ConvSizes sizes) {
  using A = accumulator_t<T>;
  A* const thread_sums = shared_memory<A>();  // [kTapGroup + 1, kWeightThreads]
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  const int64_t taps = static_cast<int64_t>(ay.kernel) * ax.kernel;
  const int first_channel = static_cast<int>(blockIdx.x % grid.channel_tiles) * grid.channel_lanes;
  const int64_t chunk = blockIdx.x / grid.channel_tiles;
  const int pixel_lane = static_cast<int>(threadIdx.x) / grid.channel_lanes;
  const int pixel_lanes = kWeightThreads / grid.channel_lanes;
  const int c = first_channel + static_cast<int>(threadIdx.x) % grid.channel_lanes;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;

  const int plane = ay.output * ax.output;
  const int64_t in_plane = static_cast<int64_t>(ay.input) * ax.input;
  const int64_t pixel_begin = chunk * grid.pixels / grid.chunks;
  const int pixels = static_cast<int>((chunk + 1) * grid.pixels / grid.chunks - pixel_begin);
  const int64_t first_n = pixel_begin / plane;
  const int first_pixel = static_cast<int>(pixel_begin - first_n * plane);
  A* const partial_row = partials + chunk * sizes.channels * (taps + 1);

  for (int ky = 0; ky < ay.kernel; ++ky) {
    for (int first_kx = 0; first_kx < ax.kernel; first_kx += kTapGroup) {
      const bool with_bias = ky == 0 && first_kx == 0;
      A sums[kTapGroup + 1] = {};  // the bias's last
      for (int i = pixel_lane; c < sizes.channels && i < pixels; i += pixel_lanes) {
        const int images_on = grid.by_plane.quotient(first_pixel + i);
        const int pixel = first_pixel + i - images_on * plane;
        const int row = grid.by_columns.quotient(pixel);
        const int column = pixel - row * ax.output;
        const int64_t n = first_n + images_on;
        const int y = row * ay.stride - ay.padding + ky * ay.dilation;
        const bool row_is_inside = y >= 0 && y < ay.input;
        if (!row_is_inside && !with_bias) continue;
        const A slope = math::widen(grad_y[sizes.channels_last ? (n * plane + pixel) * grid.grad_channels + c
                                                               : (n * grid.grad_channels + c) * plane + pixel]);
        sums[kTapGroup] += slope;
        if (!row_is_inside) continue;
        const int64_t offset = sizes.channels_last
                                   ? (n * in_plane + static_cast<int64_t>(y) * ax.input) * grid.x_channels + c
                                   : (n * grid.x_channels + c) * in_plane + static_cast<int64_t>(y) * ax.input;
        const int64_t pixel_stride = sizes.channels_last ? grid.x_channels : 1;
        const int left = column * ax.stride - ax.padding + first_kx * ax.dilation;
        const int tensors = addend ? 2 : 1;
#pragma unroll 1
        for (int t = 0; t < tensors; ++t) {
          const T* const from = (t == 0 ? x : addend) + offset;
#pragma unroll
          for (int k = 0; k < kTapGroup; ++k) {
            const int64_t at = left + k * static_cast<int64_t>(ax.dilation);
            if (first_kx + k < ax.kernel && at >= 0 && at < ax.input) {
              sums[k] += slope * math::widen(from[at * pixel_stride]);
            }
          }
        }
      }
      __syncthreads();  // the previous group has been read
#pragma unroll
      for (int k = 0; k <= kTapGroup; ++k) thread_sums[k * kWeightThreads + threadIdx.x] = sums[k];
      __syncthreads();
      // A warp adds one tap. Its lane reads every 32nd thread: those of its own channel where a tile has 32,
      // and then it is done; otherwise the lanes are added too.
      for (int k = warp; k <= kTapGroup; k += kWeightThreads / 32) {
        A sum = 0;
#pragma unroll
        for (int i = 0; i < kWeightThreads; i += 32) sum += thread_sums[k * kWeightThreads + i + lane];
        if (grid.channel_lanes == 1) sum = warp_sum<32>(sum);
        const int channel = first_channel + lane;
        if (lane >= grid.channel_lanes || channel >= sizes.channels) continue;
        if (k == kTapGroup) {
          if (with_bias) partial_row[sizes.channels * taps + channel] = sum;
        } else if (first_kx + k < ax.kernel) {
          partial_row[channel * taps + static_cast<int64_t>(ky) * ax.kernel + first_kx + k] = sum;
        }
      }
    }
  }
}

}  // namespace cuda
}  // namespace frnet
