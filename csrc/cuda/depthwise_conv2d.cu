// Depthwise 2-D convolution and its input gradient; the weight gradient has its own file.
//
// Both slide a window over a source (x, grad_y) and write a target (y, grad_x), so they share their kernels:
// planes (NCHW tiles), channels_last, and direct for everything the first two do not cover.
//   traffic: each reads its source once and writes its target once, plus the weights -> bandwidth bound
//            (direct reads the source kernel_h*kernel_w times, from the caches)
#include "frnet/depthwise_conv2d.h"

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kThreads = 256;
// Not yet tuned on a device: six blocks of this size fit on a multiprocessor with 227 KB.
constexpr size_t kPreferredSharedBytes = 32 * 1024;
// Below this many blocks, planes are cut into bands: about two blocks for each of 132 multiprocessors.
constexpr int64_t kWantedBlocks = 264;

// ---------------------------------------------------------------------------------------------- NCHW tiles

struct PlaneGrid {
  int64_t planes;  // batch * channels
  int channels;
  int planes_per_block;  // more than one only where bands == 1
  int bands;             // blocks per group of planes
  int band_patches;      // rows of patches per band
  PatchAxis y, x;
  Tile tile;
  int staged_weights;  // values, a multiple of 16 bytes
  FastDivide by_source_rows, by_source_columns;
  FastDivide by_patch_columns, by_band_patches;
};

// Planes of an NCHW tensor.
//   block  : planes_per_block whole planes or one band of full rows of one plane, so that what it reads and
//            what it writes are each one contiguous run;  thread: one patch at a time
//   shared : the padded source as accumulation type, the weights and bias, the finished target as T
//   traffic: reads source once (bands also their halo rows), writes target once, all in 16-byte packs
template <typename T, typename P>
__global__ void __launch_bounds__(kThreads, sizeof(accumulator_t<T>) == 4 ? 4 : 2)
    depthwise_conv2d_planes_kernel(const T* __restrict__ source,  // [planes, y.sources, x.sources]
                                   const T* __restrict__ weight,  // [channels, K, K]
                                   const T* __restrict__ bias,    // [channels] or null
                                   T* __restrict__ target,        // [planes, y.targets, x.targets]
                                   PlaneGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  A* tile = shared_memory<A>();
  A* weights = tile + grid.planes_per_block * grid.tile.plane_stride;  // [plane, kTaps + 1], bias last
  T* finished = reinterpret_cast<T*>(weights + grid.staged_weights);

  const int64_t first_plane = static_cast<int64_t>(blockIdx.x / grid.bands) * grid.planes_per_block;
  const int band = blockIdx.x % grid.bands;
  const int64_t planes_left = grid.planes - first_plane;
  const int planes = planes_left < grid.planes_per_block ? static_cast<int>(planes_left) : grid.planes_per_block;
  const int first_patch = band * grid.band_patches;
  const int patches_left = grid.y.patches - first_patch;
  const int patch_rows = patches_left < grid.band_patches ? patches_left : grid.band_patches;

  // 1. Stage the source rows of this band, inside zeros, and the weights.
  clear(tile, grid.planes_per_block * grid.tile.plane_stride);
  const int first_channel = static_cast<int>(first_plane % grid.channels);
  for (int i = threadIdx.x; i < planes * (kTaps + 1); i += blockDim.x) {
    const int plane = i / (kTaps + 1);
    const int tap = i - plane * (kTaps + 1);
    const int64_t c = (first_channel + plane) % grid.channels;
    A value = 0;
    if (tap < kTaps) {
      value = math::widen(weight[c * kTaps + tap]);
    } else if (bias) {
      value = math::widen(bias[c]);
    }
    weights[i] = value;
  }
  __syncthreads();
  const int tile_top = first_patch * P::kRowStep + grid.y.origin;  // the source row that tile row 0 holds
  int row_begin = 0;
  int row_end = grid.y.sources;
  if (grid.planes_per_block == 1) {
    if (row_begin < tile_top) row_begin = tile_top;
    if (row_end > tile_top + grid.tile.rows) row_end = tile_top + grid.tile.rows;
  }
  if (row_begin < row_end) {
    stage_planes(source + (first_plane * grid.y.sources + row_begin) * grid.x.sources, planes, row_end - row_begin,
                 grid.by_source_rows, grid.by_source_columns, row_begin - tile_top, -grid.x.origin, tile, grid.tile);
  }
  __syncthreads();

  // 2. Compute patches into shared memory, placed as write_run wants them.
  const int top = first_patch * P::kRows - grid.y.lead;
  const int target_begin = top > 0 ? top : 0;
  const int bottom = top + patch_rows * P::kRows;
  const int target_rows = (bottom < grid.y.targets ? bottom : grid.y.targets) - target_begin;
  T* const run = target + (first_plane * grid.y.targets + target_begin) * grid.x.targets;
  T* const staged = finished + misalignment(run);
  for (int i = threadIdx.x; i < planes * patch_rows * grid.x.patches; i += blockDim.x) {
    const int patch_row_index = grid.by_patch_columns.quotient(i);
    const int patch_column = i - patch_row_index * grid.x.patches;
    const int plane = grid.by_band_patches.quotient(patch_row_index);
    const int patch_row = patch_row_index - plane * grid.band_patches;

    A taps[kTaps];
#pragma unroll
    for (int t = 0; t < kTaps; ++t) taps[t] = weights[plane * (kTaps + 1) + t];
    A sums[P::kRows][P::kColumns];
#pragma unroll
    for (int r = 0; r < P::kRows; ++r) {
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) sums[r][v] = weights[plane * (kTaps + 1) + kTaps];
    }
    const A* from = tile + plane * grid.tile.plane_stride + patch_row * P::kRowStep * grid.tile.pitch +
                    patch_column * P::kColumnStep;
#pragma unroll
    for (int j = 0; j < P::kWindowRows; ++j) {
      A window[P::kWindowColumns];
      load_window(from + j * grid.tile.pitch, window);
#pragma unroll
      for (int r = 0; r < P::kRows; ++r) {
        const int ky = P::tap(r, j);
        if (ky < 0) continue;
#pragma unroll
        for (int v = 0; v < P::kColumns; ++v) {
#pragma unroll
          for (int i_column = 0; i_column < P::kWindowColumns; ++i_column) {
            const int kx = P::tap(v, i_column);
            if (kx >= 0) sums[r][v] += taps[ky * P::kKernel + kx] * window[i_column];
          }
        }
      }
    }
    const int first_row = top + patch_row * P::kRows - target_begin;
    const int first_column = patch_column * P::kColumns - grid.x.lead;
#pragma unroll
    for (int r = 0; r < P::kRows; ++r) {
      const int row = first_row + r;
      if (row < 0 || row >= target_rows) continue;
      T* const to = staged + (plane * target_rows + row) * grid.x.targets;
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
        const int column = first_column + v;
        if (column >= 0 && column < grid.x.targets) to[column] = math::narrow<T>(sums[r][v]);
      }
    }
  }
  __syncthreads();

  // 3. Write the run.
  write_run(run, finished, planes * target_rows * grid.x.targets);
}

// ------------------------------------------------------------------------------------------- channels last

struct ChannelsLastGrid {
  int64_t items;  // batch * y.targets * x.patches; an item is one row of one patch
  int channels;
  int channel_tiles;
  int lanes;  // packs of channels per tile
  int slots;  // threads per block / lanes
  int items_per_block;
  int padding_h;
  PatchAxis y, x;  // y.patches, y.lead and y.origin are not used
  FastDivide by_patches, by_rows;
};

// Channels innermost.
//   block  : a tile of channels, items_per_block consecutive items;  thread: 16 bytes of channels, kColumns
//            adjacent targets of one row at a time
//   shared : the tile's weights and biases, [tap, channel]
//   traffic: writes target once in 16-byte packs; reads source once from memory, K/stride times from L1
template <typename T, typename P>
__global__ void __launch_bounds__(kThreads, 2)
    depthwise_conv2d_channels_last_kernel(const T* __restrict__ source,  // [batch, y.sources, x.sources, channels]
                                          const T* __restrict__ weight,  // [channels, K, K]
                                          const T* __restrict__ bias,    // [channels] or null
                                          T* __restrict__ target,        // [batch, y.targets, x.targets, channels]
                                          ChannelsLastGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  constexpr int kKernel = P::kKernel;
  constexpr int kTaps = kKernel * kKernel;
  A* weights = shared_memory<A>();  // [kTaps + 1, lanes * kSize], bias last

  const int first_channel = static_cast<int>(blockIdx.x % grid.channel_tiles) * grid.lanes * kSize;
  const int width = grid.lanes * kSize;
  const int channels_left = grid.channels - first_channel;
  const int channels = channels_left < width ? channels_left : width;
  const T* const tile_weight = weight + static_cast<int64_t>(first_channel) * kTaps;
  for (int i = threadIdx.x; i < channels * kTaps; i += blockDim.x) {
    const int c = i / kTaps;
    weights[(i - c * kTaps) * width + c] = math::widen(tile_weight[i]);
  }
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    weights[kTaps * width + c] = bias ? math::widen(bias[first_channel + c]) : A(0);
  }
  __syncthreads();

  const int slot = static_cast<int>(threadIdx.x) / grid.lanes;
  const int tile_channel = (static_cast<int>(threadIdx.x) - slot * grid.lanes) * kSize;
  if (slot >= grid.slots || tile_channel >= channels) return;
  const A* const lane_weights = weights + tile_channel;
  const int64_t c = first_channel + tile_channel;

  const int64_t first_item = static_cast<int64_t>(blockIdx.x / grid.channel_tiles) * grid.items_per_block;
  const int64_t items_left = grid.items - first_item;
  const int items = items_left < grid.items_per_block ? static_cast<int>(items_left) : grid.items_per_block;
  const int64_t first_row_index = first_item / grid.x.patches;
  const int first_patch = static_cast<int>(first_item - first_row_index * grid.x.patches);
  const int64_t first_n = first_row_index / grid.y.targets;
  const int first_row = static_cast<int>(first_row_index - first_n * grid.y.targets);

  for (int i = slot; i < items; i += grid.slots) {
    const int rows_on = grid.by_patches.quotient(first_patch + i);
    const int patch = first_patch + i - rows_on * grid.x.patches;
    const int images_on = grid.by_rows.quotient(first_row + rows_on);
    const int row = first_row + rows_on - images_on * grid.y.targets;
    const int64_t n = first_n + images_on;

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
#pragma unroll(kKernel == 3 ? 3 : 1)
    for (int ky = first_tap; ky < kKernel; ky += kTapStep) {
      const int source_row =
          P::kIsBackward ? (row + grid.padding_h - ky) / P::kStride : row * P::kStride - grid.padding_h + ky;
      if (static_cast<unsigned>(source_row) >= static_cast<unsigned>(grid.y.sources)) continue;
      const T* const from =
          source + ((n * grid.y.sources + source_row) * grid.x.sources + first_source_column) * grid.channels + c;
      Pack<T> window[P::kWindowColumns];
#pragma unroll
      for (int j = 0; j < P::kWindowColumns; ++j) {
        if (static_cast<unsigned>(first_source_column + j) < static_cast<unsigned>(grid.x.sources)) {
          window[j] = load_pack(from + static_cast<int64_t>(j) * grid.channels);
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
    const int first_column = patch * P::kColumns - grid.x.lead;
#pragma unroll
    for (int v = 0; v < P::kColumns; ++v) {
      const int column = first_column + v;
      if (column < 0 || column >= grid.x.targets) continue;
      Pack<T> pack;
#pragma unroll
      for (int e = 0; e < kSize; ++e) pack.set(e, math::narrow<T>(sums[v][e]));
      store_pack(target + ((n * grid.y.targets + row) * grid.x.targets + column) * grid.channels + c, pack);
    }
  }
}

// -------------------------------------------------------------------------------------------------- direct

// Any kernel, stride, padding, dilation and layout.
//   block  : 256 consecutive targets;  thread: one
//   shared : none
//   traffic: writes target once; reads source once from memory and once per tap from the caches
template <typename T, bool kBackward>
__global__ void __launch_bounds__(kThreads, 4)
    depthwise_conv2d_direct_kernel(const T* __restrict__ source, const T* __restrict__ weight,
                                   const T* __restrict__ bias, T* __restrict__ target, int64_t count, ConvSizes sizes) {
  using A = accumulator_t<T>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads;
  const int64_t index = first + threadIdx.x;
  if (index >= count) return;
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  const int target_rows = kBackward ? ay.input : ay.output;
  const int target_columns = kBackward ? ax.input : ax.output;
  const int source_rows = kBackward ? ay.output : ay.input;
  const int source_columns = kBackward ? ax.output : ax.input;

  // One division in 64 bits per block, the others in 32 bits.
  int64_t outer;  // n * channels + c, or n
  const uint32_t inner_size =
      static_cast<uint32_t>(target_rows) * target_columns * (sizes.channels_last ? sizes.channels : 1);
  outer = first / inner_size;
  uint32_t inner = static_cast<uint32_t>(first - outer * inner_size) + threadIdx.x;
  outer += inner / inner_size;
  inner %= inner_size;
  int64_t base;  // of the source plane
  int c;
  int64_t pixel_stride = 1;
  if (sizes.channels_last) {
    c = static_cast<int>(inner % sizes.channels);
    inner /= sizes.channels;
    pixel_stride = sizes.channels;
    base = outer * source_rows * source_columns * pixel_stride + c;
  } else {
    c = static_cast<int>(outer % sizes.channels);
    base = outer * source_rows * source_columns;
  }
  const int row = static_cast<int>(inner / target_columns);
  const int column = static_cast<int>(inner % target_columns);

  const T* const taps = weight + static_cast<int64_t>(c) * ay.kernel * ax.kernel;
  A sum = bias ? math::widen(bias[c]) : A(0);
  if constexpr (kBackward) {
    for (int ky = 0; ky < ay.kernel; ++ky) {
      const int y = math::output_of(row, ky, ay.output, ay.stride, ay.padding, ay.dilation);
      if (y < 0) continue;
      const T* const from = source + base + static_cast<int64_t>(y) * source_columns * pixel_stride;
      for (int kx = 0; kx < ax.kernel; ++kx) {
        const int x = math::output_of(column, kx, ax.output, ax.stride, ax.padding, ax.dilation);
        if (x >= 0) {
          sum += math::widen(taps[static_cast<int64_t>(ky) * ax.kernel + kx]) * math::widen(from[x * pixel_stride]);
        }
      }
    }
  } else {
    const int top = row * ay.stride - ay.padding;
    const int left = column * ax.stride - ax.padding;
    const auto rows = math::valid_taps(top, ay.input, ay.kernel, ay.dilation);
    const auto columns = math::valid_taps(left, ax.input, ax.kernel, ax.dilation);
    for (int ky = rows.begin; ky < rows.end; ++ky) {
      const T* const from =
          source + base + static_cast<int64_t>(top + ky * ay.dilation) * source_columns * pixel_stride;
      for (int kx = columns.begin; kx < columns.end; ++kx) {
        sum += math::widen(taps[static_cast<int64_t>(ky) * ax.kernel + kx]) *
               math::widen(from[(left + kx * ax.dilation) * pixel_stride]);
      }
    }
  }
  target[index] = math::narrow<T>(sum);
}

// ----------------------------------------------------------------------------------------------- launchers

namespace {

// False where a band of a single row of patches does not fit into shared memory.
template <typename T, typename P>
bool launch_planes(const T* source, const T* weight, const T* bias, T* target, const DepthwiseConv2dShape& shape,
                   void* stream) {
  using A = accumulator_t<T>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  PlaneGrid grid;
  grid.planes = shape.batch * shape.channels;
  grid.channels = static_cast<int>(shape.channels);
  set_patch_axes<P>(shape, grid.y, grid.x);
  if (rows_are_too_long(grid.x)) return false;
  grid.by_source_rows = FastDivide(grid.y.sources);
  grid.by_source_columns = FastDivide(grid.x.sources);
  grid.by_patch_columns = FastDivide(grid.x.patches);

  const auto shared_bytes = [&](int planes, int band) {
    grid.planes_per_block = planes;
    grid.band_patches = band;
    grid.tile = make_source_tile<P, A>(grid.x, band);
    grid.staged_weights = round_up(planes * (kTaps + 1), Pack<A>::kSize);
    const size_t target_rows = static_cast<size_t>(band) * P::kRows;
    return (static_cast<size_t>(planes) * grid.tile.plane_stride + grid.staged_weights) * sizeof(A) +
           (static_cast<size_t>(planes) * target_rows * grid.x.targets + Pack<T>::kSize) * sizeof(T);
  };
  const PlaneSplit split =
      split_planes(grid.planes, grid.y, grid.x, kThreads, kWantedBlocks, kPreferredSharedBytes, shared_bytes);
  grid.bands = split.bands;
  const size_t bytes = shared_bytes(split.planes, split.band_patches);
  if (bytes > kDefaultSharedBytes) return false;
  grid.by_band_patches = FastDivide(grid.band_patches);

  const int patches = split.planes * split.band_patches * grid.x.patches;
  const int threads = patches < kThreads ? round_up(patches, 32) : kThreads;
  const int64_t groups = math::ceil_div<int64_t>(grid.planes, split.planes);
  launch(depthwise_conv2d_planes_kernel<T, P>, grid_of(groups * split.bands), dim3(threads), bytes, stream, source,
         weight, bias, target, grid);
  return true;
}

template <typename T, typename P>
void launch_channels_last(const T* source, const T* weight, const T* bias, T* target, const DepthwiseConv2dShape& shape,
                          void* stream) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  ChannelsLastGrid grid;
  set_patch_axes<P>(shape, grid.y, grid.x);
  grid.items = shape.batch * grid.y.targets * grid.x.patches;
  grid.channels = static_cast<int>(shape.channels);
  grid.padding_h = static_cast<int>(shape.padding_h);
  const int packs = grid.channels / kSize;
  grid.channel_tiles = math::ceil_div(packs, 32);
  grid.lanes = math::ceil_div(packs, grid.channel_tiles);
  grid.slots = kThreads / grid.lanes;
  // Up to eight rounds per block make the loading of the weights small beside the work.
  int64_t rounds = grid.items * grid.channel_tiles / (grid.slots * 2 * kWantedBlocks);
  rounds = rounds < 1 ? 1 : rounds > 8 ? 8 : rounds;
  grid.items_per_block = static_cast<int>(grid.slots * rounds);
  grid.by_patches = FastDivide(grid.x.patches);
  grid.by_rows = FastDivide(grid.y.targets);
  const int64_t chunks = math::ceil_div<int64_t>(grid.items, grid.items_per_block);
  const size_t bytes = (P::kKernel * P::kKernel + 1) * static_cast<size_t>(grid.lanes) * kSize * sizeof(A);
  launch(depthwise_conv2d_channels_last_kernel<T, P>, grid_of(chunks * grid.channel_tiles), dim3(kThreads), bytes,
         stream, source, weight, bias, target, grid);
}

template <typename T, bool kBackward>
void slide(const T* source, const T* weight, const T* bias, T* target, const DepthwiseConv2dShape& shape,
           void* stream) {
  const int64_t count = shape.batch * shape.channels *
                        (kBackward ? shape.in_height * shape.in_width : shape.out_height * shape.out_width);
  if (count == 0) return;
  const ConvSizes sizes = check_sizes(shape);
  const bool done = with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    if (shape.layout == Layout::nchw) {
      using P = Patch<K, S, kBackward, S == 1 || kBackward ? 2 : 1, S == 2 && kBackward ? 8 : 4>;
      return launch_planes<T, P>(source, weight, bias, target, shape, stream);
    }
    if (shape.channels % Pack<T>::kSize != 0 || !is_aligned(source) || !is_aligned(target)) return false;
    using P = Patch<K, S, kBackward, kBackward ? S : 1, S == 2 && !kBackward ? 2 : 4>;
    launch_channels_last<T, P>(source, weight, bias, target, shape, stream);
    return true;
  });
  if (done) return;
  launch(depthwise_conv2d_direct_kernel<T, kBackward>, grid_of(math::ceil_div<int64_t>(count, kThreads)),
         dim3(kThreads), 0, stream, source, weight, bias, target, count, sizes);
}

}  // namespace

template <typename T>
void depthwise_conv2d(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape,
                      void* stream) {
  slide<T, false>(x, weight, bias, y, shape, stream);
}

template <typename T>
void depthwise_conv2d_backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape,
                                     void* stream) {
  slide<T, true>(grad_y, weight, nullptr, grad_x, shape, stream);
}

#define FRNET_INSTANTIATE(T)                                                                               \
  template void depthwise_conv2d<T>(const T*, const T*, const T*, T*, const DepthwiseConv2dShape&, void*); \
  template void depthwise_conv2d_backward_input<T>(const T*, const T*, T*, const DepthwiseConv2dShape&, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
