// Depthwise convolutions of the splits of an NCHW image with what follows them: formulas in fused_depthwise.cuh.
//   block  : the planes of the same run of channels of every split;  thread: one patch of results at a time
//   shared : one split's results as T, as many of its padded source planes as fit as accumulation type, and per group
//            of the gate m and t
//   traffic: reads x once, writes y once, all in 16-byte packs
#include "cuda/fused_depthwise.cuh"

namespace frnet {
namespace cuda {

template <typename T, typename P>
__global__ void __launch_bounds__(kFusedThreads, 2)
    fused_depthwise_planes_kernel(const T* __restrict__ x,  // [batch, channels, y.sources, x.sources]
                                  FusedFactors<T> factors,
                                  T* __restrict__ y,  // [batch, channels, y.targets, x.targets]
                                  FusedGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  constexpr int kStride = kTaps + kExtra;
  A* const tile = shared_memory<A>();
  A* const weights = tile + grid.tile_planes * grid.tile.plane_stride;  // [plane, kStride]
  A* const arrays = weights + grid.weights;
  T* const region = reinterpret_cast<T*>(arrays + grid.group_values);

  const int64_t n = blockIdx.x / grid.blocks_per_image;
  const int begin = (blockIdx.x - static_cast<int>(n) * grid.blocks_per_image) * grid.block_channels;
  const int left = grid.split_channels - begin;
  const int channels = left < grid.block_channels ? left : grid.block_channels;
  const int source_plane = grid.y.sources * grid.x.sources;
  const int target_plane = grid.y.targets * grid.x.targets;
  // Where the first split's run of y is aligned like this, usually all are.
  T* const results = region + misalignment(y + (n * grid.channels + begin) * target_plane);  // [channels, target_plane]

  clear(tile, grid.tile_planes * grid.tile.plane_stride);  // the planes are staged between these zeros
  for (int split = 0; split < grid.splits; ++split) {
    const int first_channel = split * grid.split_channels + begin;
    for (int first_plane = 0; first_plane < channels; first_plane += grid.tile_planes) {
      const int planes_left = channels - first_plane;
      const int planes = planes_left < grid.tile_planes ? planes_left : grid.tile_planes;

      // 1. Stage the source planes and their weights.
      __syncthreads();  // the planes before have been read
      for (int i = threadIdx.x; i < planes * kStride; i += blockDim.x) {
        const int plane = i / kStride;
        weights[i] = channel_factor<kTaps>(factors, first_channel + first_plane + plane, i - plane * kStride);
      }
      stage_planes(x + (n * grid.channels + first_channel + first_plane) * source_plane, planes, grid.y.sources,
                   grid.by_source_rows, grid.by_source_columns, -grid.y.origin, -grid.x.origin, tile, grid.tile);
      __syncthreads();
      if (grid.chained && split > 0) {
        for (int i = threadIdx.x; i < planes * target_plane; i += blockDim.x) {
          const int row_index = grid.by_target_columns.quotient(i);
          const int plane = grid.by_source_rows.quotient(row_index);  // as many as target rows
          const int column = i - row_index * grid.x.targets - grid.x.origin;
          const int row = row_index - plane * grid.y.targets - grid.y.origin;
          if (row < grid.tile.rows && column < grid.tile.pitch) {
            tile[plane * grid.tile.plane_stride + row * grid.tile.pitch + column] +=
                math::widen(results[first_plane * target_plane + i]);
          }
        }
        __syncthreads();
      }

      // 2. Compute patches over the results of the split before.
      for (int i = threadIdx.x; i < planes * grid.y.patches * grid.x.patches; i += blockDim.x) {
        const int patch_row_index = grid.by_patches.quotient(i);
        const int patch_column = i - patch_row_index * grid.x.patches;
        const int plane = grid.by_patch_rows.quotient(patch_row_index);
        const int patch_row = patch_row_index - plane * grid.y.patches;
        const A* const factor = weights + plane * kStride;
        A taps[kTaps];
#pragma unroll
        for (int t = 0; t < kTaps; ++t) taps[t] = factor[t];
        A sums[P::kRows * P::kColumns];
#pragma unroll
        for (int v = 0; v < P::kRows * P::kColumns; ++v) sums[v] = factor[kTaps + kBias];
        const A* const from = tile + plane * grid.tile.plane_stride + patch_row * P::kRowStep * grid.tile.pitch +
                              patch_column * P::kColumnStep;
        for_each_product<P>(from, grid.tile.pitch,
                            [&](int r, int v, int tap, A value) { sums[r * P::kColumns + v] += taps[tap] * value; });
#pragma unroll
        for (int v = 0; v < P::kRows * P::kColumns; ++v) {
          sums[v] = factor[kTaps + kScale] * sums[v] + factor[kTaps + kShift];
        }
        activate_all(grid.activation, sums);
        T* const to = results + (first_plane + plane) * target_plane;
#pragma unroll
        for (int r = 0; r < P::kRows; ++r) {
          const int row = patch_row * P::kRows + r;
          if (row >= grid.y.targets) continue;
#pragma unroll
          for (int v = 0; v < P::kColumns; ++v) {
            const int column = patch_column * P::kColumns + v;
            if (column < grid.x.targets) to[row * grid.x.targets + column] = math::narrow<T>(sums[r * P::kColumns + v]);
          }
        }
      }
    }
    __syncthreads();

    // 3. Gate and write.
    finish_split(factors, grid, Box{1, channels * target_plane, 0},
                 y + (n * grid.channels + first_channel) * target_plane, results, 0, first_channel, channels, arrays);
  }
}

// ------------------------------------------------------------------------------------------------- launcher

namespace {

template <typename T, typename P>
bool launch_planes(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream) {
  using A = accumulator_t<T>;
  constexpr int kUnit = Pack<A>::kSize;
  const DepthwiseConv2dShape& s = shape.conv;
  FusedGrid grid = {};
  set_patch_axes<P>(s, grid.y, grid.x);
  if (rows_are_too_long(grid.x)) return false;
  grid.tile = make_source_tile<P, A>(grid.x, grid.y.patches);
  grid.by_patches = FastDivide(grid.x.patches);
  grid.by_patch_rows = FastDivide(grid.y.patches);
  grid.by_source_rows = FastDivide(grid.y.sources);
  grid.by_source_columns = FastDivide(grid.x.sources);
  grid.by_target_columns = FastDivide(grid.x.targets);

  const int64_t pixels = s.out_height * s.out_width;
  const int64_t unit = shape.groups > 0 ? s.channels / shape.groups : 1;
  const int64_t patches = static_cast<int64_t>(grid.y.patches) * grid.x.patches;
  if (unit * pixels > (int64_t{1} << 17)) return false;
  const auto shared_bytes = [&](int64_t units, int64_t planes) {
    set_fused_block(conv, shape, units, grid);
    grid.tile_planes = static_cast<int>(planes);
    grid.weights = round_up(grid.tile_planes * (P::kKernel * P::kKernel + kExtra), kUnit);
    return (planes * grid.tile.plane_stride + grid.weights + grid.group_values) * sizeof(A) +
           static_cast<size_t>(units * unit * pixels + Pack<T>::kSize) * sizeof(T);
  };

  // Enough planes staged at a time, and channels in all, to give every thread two patches.
  const int64_t wanted_planes = math::ceil_div<int64_t>(2 * kFusedThreads, patches);
  const int64_t most_units = limit_fused_units(math::ceil_div(wanted_planes, unit), shape, true);
  const SharedBudget budget = shared_budget();
  const auto choose = [&](size_t most_bytes) {
    for (int64_t units = most_units; units >= 1; --units) {
      int64_t planes = wanted_planes < units * unit ? wanted_planes : units * unit;
      for (; planes >= 1; planes = planes / 2) {
        if (shared_bytes(units, planes) <= most_bytes) return true;
      }
    }
    return false;
  };
  if (!choose(budget.preferred) && !choose(budget.most)) return false;
  const size_t bytes = shared_bytes(grid.block_channels / unit, grid.tile_planes);
  launch(fused_depthwise_planes_kernel<T, P>, grid_of_blocks(s.batch * grid.blocks_per_image, "depthwise_conv2d"),
         fused_threads(grid), bytes, stream, conv.x, factors_of(conv), y, grid);
  return true;
}

}  // namespace

template <typename T>
bool fused_depthwise_planes(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream) {
  if (planes_are_too_large(shape.conv)) return false;
  return with_fast_path(shape.conv, [&](auto kernel, auto stride) {
    constexpr int S = decltype(stride)::value;
    using P = Patch<decltype(kernel)::value, S, false, S == 1 ? 2 : 1, 4>;
    return launch_planes<T, P>(conv, y, shape, stream);
  });
}

#define FRNET_INSTANTIATE(T) \
  template bool fused_depthwise_planes<T>(const HierarchicalConv<T>&, T*, const HierarchicalShape&, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
