// Weight and bias gradients of the depthwise 2-D convolution:
//   grad_weight[c,ky,kx] = sum_{n,oy,ox} grad_y[n,c,oy,ox] * x[n, c, oy*stride - padding + ky*dilation, ...]
//   grad_bias[c]         = sum_{n,oy,ox} grad_y[n,c,oy,ox]
//
// Each block sums a fixed part of the batch and the image (a chunk, which depends on the shape alone) into
// its own row of the workspace; a second pass adds the rows. No atomics, so two runs agree to the last bit.
//   traffic: reads x and grad_y once -> bandwidth bound; the workspace is small beside them
#include "frnet/depthwise_conv2d.h"

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kThreads = 256;
// Not yet tuned on a device: six blocks of this size fit on a multiprocessor with 227 KB.
constexpr size_t kPreferredSharedBytes = 32 * 1024;
// About four blocks for each of 132 multiprocessors.
constexpr int64_t kWantedBlocks = 528;
// Taps of one kernel row that the any-shape kernel sums at a time.
constexpr int kTapGroup = 8;

// ---------------------------------------------------------------------------------------------- NCHW tiles

struct WeightPlaneGrid {
  int64_t items;  // batch * bands
  int64_t chunks;
  int channels;
  int groups;              // of channels
  int channels_per_block;  // more than one only where bands == 1
  int lanes;               // threads per channel, a power of two
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
__global__ void __launch_bounds__(kThreads, 2)
    depthwise_conv2d_weight_planes_kernel(const T* __restrict__ grad_y,  // [batch, channels, y.targets, x.targets]
                                          const T* __restrict__ x,       // [batch, channels, y.sources, x.sources]
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
    const int64_t first_plane = n * grid.channels + first_channel;

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
      stage_planes(x + (first_plane * grid.y.sources + row_begin) * grid.x.sources, channels, row_end - row_begin,
                   grid.by_in_rows, grid.by_in_columns, row_begin - tile_top, -grid.x.origin, x_tile, grid.x_tile);
    }
    stage_planes(grad_y + (first_plane * grid.y.targets + out_begin) * grid.x.targets, channels, out_end - out_begin,
                 grid.by_out_rows, grid.by_out_columns, 0, 0, grad_tile, grid.grad_tile);
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
#pragma unroll
      for (int j = 0; j < P::kWindowRows; ++j) {
        A window[P::kWindowColumns];
        load_window(from + j * grid.x_tile.pitch, window);
#pragma unroll
        for (int r = 0; r < P::kRows; ++r) {
          const int ky = P::tap(r, j);
          if (ky < 0) continue;
#pragma unroll
          for (int v = 0; v < P::kColumns; ++v) {
#pragma unroll
            for (int k = 0; k < P::kWindowColumns; ++k) {
              const int kx = P::tap(v, k);
              if (kx >= 0) sums[ky * kKernel + kx] += grads[r][v] * window[k];
            }
          }
        }
      }
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
__global__ void __launch_bounds__(kThreads, 2) depthwise_conv2d_weight_channels_last_kernel(
    const T* __restrict__ grad_y,             // [batch, y.targets, x.targets, channels]
    const T* __restrict__ x,                  // [batch, y.sources, x.sources, channels]
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
        grad_y + ((n * grid.y.targets + row) * grid.x.targets + patch * P::kColumns) * grid.channels + c;
    Pack<T> grads[P::kColumns];
#pragma unroll
    for (int v = 0; v < P::kColumns; ++v) {
      if (patch * P::kColumns + v < grid.x.targets) {
        grads[v] = load_pack(grad_from + static_cast<int64_t>(v) * grid.channels);
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
      const T* from = x + ((n * grid.y.sources + source_row) * grid.x.sources + source_column) * grid.channels + c;
      Pack<T> window[P::kWindowColumns];
#pragma unroll
      for (int j = 0; j < P::kWindowColumns; ++j) {
        if (static_cast<unsigned>(source_column + j) < static_cast<unsigned>(grid.x.sources)) {
          window[j] = load_pack(from + static_cast<int64_t>(j) * grid.channels);
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
  int64_t pixels;  // batch * output pixels
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
__global__ void __launch_bounds__(kThreads)
    depthwise_conv2d_weight_direct_kernel(const T* __restrict__ grad_y, const T* __restrict__ x,
                                          accumulator_t<T>* __restrict__ partials,  // [chunks, channels * (taps + 1)]
                                          WeightDirectGrid grid, ConvSizes sizes) {
  using A = accumulator_t<T>;
  A* const thread_sums = shared_memory<A>();  // [kTapGroup + 1, kThreads]
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  const int64_t taps = static_cast<int64_t>(ay.kernel) * ax.kernel;
  const int first_channel = static_cast<int>(blockIdx.x % grid.channel_tiles) * grid.channel_lanes;
  const int64_t chunk = blockIdx.x / grid.channel_tiles;
  const int pixel_lane = static_cast<int>(threadIdx.x) / grid.channel_lanes;
  const int pixel_lanes = kThreads / grid.channel_lanes;
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
        const A slope = math::widen(grad_y[sizes.channels_last ? (n * plane + pixel) * sizes.channels + c
                                                               : (n * sizes.channels + c) * plane + pixel]);
        sums[kTapGroup] += slope;
        if (!row_is_inside) continue;
        const T* const from =
            x + (sizes.channels_last ? (n * in_plane + static_cast<int64_t>(y) * ax.input) * sizes.channels + c
                                     : (n * sizes.channels + c) * in_plane + static_cast<int64_t>(y) * ax.input);
        const int left = column * ax.stride - ax.padding + first_kx * ax.dilation;
#pragma unroll
        for (int k = 0; k < kTapGroup; ++k) {
          const int64_t at = left + k * static_cast<int64_t>(ax.dilation);
          if (first_kx + k < ax.kernel && at >= 0 && at < ax.input) {
            sums[k] += slope * math::widen(from[sizes.channels_last ? at * sizes.channels : at]);
          }
        }
      }
      __syncthreads();  // the previous group has been read
#pragma unroll
      for (int k = 0; k <= kTapGroup; ++k) thread_sums[k * kThreads + threadIdx.x] = sums[k];
      __syncthreads();
      // A warp adds one tap. Its lane reads every 32nd thread: those of its own channel where a tile has 32,
      // and then it is done; otherwise the lanes are added too.
      for (int k = warp; k <= kTapGroup; k += kThreads / 32) {
        A sum = 0;
#pragma unroll
        for (int i = 0; i < kThreads; i += 32) sum += thread_sums[k * kThreads + i + lane];
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

// ----------------------------------------------------------------------------------------------- launchers

namespace {

int64_t limit_chunks(int64_t blocks_per_chunk, int64_t items) {
  const int64_t wanted = math::ceil_div<int64_t>(kWantedBlocks, blocks_per_chunk);
  return wanted < items ? wanted : items;
}

template <int K, int S>
using PlanePatch = Patch<K, S, false, S == 1 ? 2 : 1, 4>;
template <int K, int S>
using ChannelsLastPatch = Patch<K, S, false, 1, S == 1 ? 4 : 2>;

// Where the band of a single row of patches does not fit into shared memory, bytes exceeds what there is.
struct WeightPlanePlan {
  WeightPlaneGrid grid;
  int threads;
  size_t bytes;
};

template <typename T, typename P>
WeightPlanePlan plan_planes(const DepthwiseConv2dShape& shape) {
  using A = accumulator_t<T>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  WeightPlanePlan plan;
  WeightPlaneGrid& grid = plan.grid;
  grid.channels = static_cast<int>(shape.channels);
  set_patch_axes<P>(shape, grid.y, grid.x);
  plan.bytes = ~size_t{0};
  if (rows_are_too_long(grid.x)) return plan;
  grid.by_in_rows = FastDivide(grid.y.sources);
  grid.by_in_columns = FastDivide(grid.x.sources);
  grid.by_out_rows = FastDivide(grid.y.targets);
  grid.by_out_columns = FastDivide(grid.x.targets);
  grid.by_patch_columns = FastDivide(grid.x.patches);

  const auto shared_bytes = [&](int channels, int band) {
    grid.channels_per_block = channels;
    grid.band_patches = band;
    grid.x_tile = make_source_tile<P, A>(grid.x, band);
    grid.grad_tile = make_tile<A>(band * P::kRows, grid.x.patches * P::kColumns);
    return static_cast<size_t>(channels) * (grid.x_tile.plane_stride + grid.grad_tile.plane_stride) * sizeof(A);
  };
  // Channels of one image lie together, so they, not images, share a block.
  PlaneSplit split = split_planes(shape.batch * shape.channels, grid.y, grid.x, kThreads, kWantedBlocks,
                                  kPreferredSharedBytes, shared_bytes);
  grid.bands = split.bands;
  const int patches = split.band_patches * grid.x.patches;
  grid.lanes = 2;
  while (grid.lanes < patches && grid.lanes < kThreads) grid.lanes *= 2;
  if (split.planes > kThreads / grid.lanes) split.planes = kThreads / grid.lanes;
  if (split.planes > grid.channels) split.planes = grid.channels;
  const size_t tile_bytes = shared_bytes(split.planes, split.band_patches);
  plan.threads = round_up(grid.lanes * grid.channels_per_block, 32);
  const int warp_lanes = grid.lanes < 32 ? grid.lanes : 32;
  const size_t sum_bytes = static_cast<size_t>(plan.threads / warp_lanes) * (kTaps + 1) * sizeof(A);
  plan.bytes = tile_bytes > sum_bytes ? tile_bytes : sum_bytes;
  grid.groups = math::ceil_div(grid.channels, grid.channels_per_block);
  grid.items = shape.batch * grid.bands;
  grid.chunks = limit_chunks(grid.groups, grid.items);
  return plan;
}

template <typename T, typename P>
WeightChannelsLastGrid plan_channels_last(const DepthwiseConv2dShape& shape) {
  WeightChannelsLastGrid grid;
  set_patch_axes<P>(shape, grid.y, grid.x);
  grid.items = shape.batch * grid.y.targets * grid.x.patches;
  grid.channels = static_cast<int>(shape.channels);
  const int packs = grid.channels / Pack<T>::kSize;
  grid.channel_tiles = math::ceil_div(packs, 16);
  grid.lanes = math::ceil_div(packs, grid.channel_tiles);
  grid.slots = kThreads / (grid.lanes * P::kKernel);
  grid.stride_h = static_cast<int>(shape.stride_h);
  grid.padding_h = static_cast<int>(shape.padding_h);
  // Four rounds per thread at least, since every chunk ends in a reduction.
  grid.chunks = limit_chunks(grid.channel_tiles, math::ceil_div<int64_t>(grid.items, 4 * grid.slots));
  return grid;
}

WeightDirectGrid plan_direct(const ConvSizes& sizes, int64_t batch) {
  WeightDirectGrid grid;
  const int64_t plane = static_cast<int64_t>(sizes.y.output) * sizes.x.output;
  grid.pixels = batch * plane;
  grid.channel_lanes = sizes.channels_last ? 32 : 1;
  grid.channel_tiles = math::ceil_div(sizes.channels, grid.channel_lanes);
  const int pixel_lanes = kThreads / grid.channel_lanes;
  grid.chunks = limit_chunks(grid.channel_tiles, math::ceil_div<int64_t>(grid.pixels, 4 * pixel_lanes));
  // The position within a chunk, and the plane it starts in, are ints.
  const int64_t least = math::ceil_div<int64_t>(grid.pixels, int64_t{1} << 29);
  if (grid.chunks < least) grid.chunks = least;
  grid.by_columns = FastDivide(sizes.x.output);
  grid.by_plane = FastDivide(plane);
  return grid;
}

bool is_empty(const DepthwiseConv2dShape& s) { return s.batch * s.channels * s.out_height * s.out_width == 0; }

int64_t workspace_columns(const DepthwiseConv2dShape& s) { return s.channels * (s.kernel_h * s.kernel_w + 1); }

// Runs the specialised kernel if there is one; returns its number of chunks, or 0 where there is none.
template <typename T>
int64_t launch_fast_path(const T* grad_y, const T* x, const DepthwiseConv2dShape& shape, accumulator_t<T>* partials,
                         void* stream) {
  int64_t chunks = 0;
  with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    if (shape.layout == Layout::nchw) {
      using P = PlanePatch<K, S>;
      const WeightPlanePlan plan = plan_planes<T, P>(shape);
      if (plan.bytes > kDefaultSharedBytes) return false;
      launch(depthwise_conv2d_weight_planes_kernel<T, P>, grid_of(plan.grid.groups * plan.grid.chunks),
             dim3(plan.threads), plan.bytes, stream, grad_y, x, partials, plan.grid);
      chunks = plan.grid.chunks;
      return true;
    }
    if (shape.channels % Pack<T>::kSize != 0 || !is_aligned(grad_y) || !is_aligned(x)) return false;
    using P = ChannelsLastPatch<K, S>;
    const WeightChannelsLastGrid grid = plan_channels_last<T, P>(shape);
    launch(depthwise_conv2d_weight_channels_last_kernel<T, P>, grid_of(grid.channel_tiles * grid.chunks),
           dim3(kThreads), kThreads * Pack<T>::kSize * sizeof(accumulator_t<T>), stream, grad_y, x, partials, grid);
    chunks = grid.chunks;
    return true;
  });
  return chunks;
}

}  // namespace

// The larger of what the specialised kernel and the any-shape kernel need, because which one runs also
// depends on whether the pointers are aligned.
template <typename T>
size_t depthwise_conv2d_backward_weight_workspace(const DepthwiseConv2dShape& shape) {
  if (is_empty(shape)) return 0;
  int64_t chunks = plan_direct(check_sizes(shape), shape.batch).chunks;
  with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    int64_t fast = 0;
    if (shape.layout == Layout::nchw) {
      const WeightPlanePlan plan = plan_planes<T, PlanePatch<K, S>>(shape);
      if (plan.bytes <= kDefaultSharedBytes) fast = plan.grid.chunks;
    } else if (shape.channels % Pack<T>::kSize == 0) {
      fast = plan_channels_last<T, ChannelsLastPatch<K, S>>(shape).chunks;
    }
    if (fast > chunks) chunks = fast;
    return true;
  });
  return static_cast<size_t>(chunks * workspace_columns(shape)) * sizeof(accumulator_t<T>);
}

template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias,
                                      const DepthwiseConv2dShape& shape, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  auto* const partials = static_cast<A*>(workspace);
  int64_t chunks = 0;
  if (!is_empty(shape)) {
    const ConvSizes sizes = check_sizes(shape);
    chunks = launch_fast_path(grad_y, x, shape, partials, stream);
    if (chunks == 0) {
      const WeightDirectGrid grid = plan_direct(sizes, shape.batch);
      launch(depthwise_conv2d_weight_direct_kernel<T>, grid_of(grid.channel_tiles * grid.chunks), dim3(kThreads),
             (kTapGroup + 1) * kThreads * sizeof(A), stream, grad_y, x, partials, grid, sizes);
      chunks = grid.chunks;
    }
  }
  const int64_t columns = workspace_columns(shape);
  sum_partials(partials, grad_weight, grad_bias, chunks, columns, columns - shape.channels, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                        \
  template size_t depthwise_conv2d_backward_weight_workspace<T>(const DepthwiseConv2dShape&);                       \
  template void depthwise_conv2d_backward_weight<T>(const T*, const T*, T*, T*, const DepthwiseConv2dShape&, void*, \
                                                    void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
