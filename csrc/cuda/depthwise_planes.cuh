// The kernel that slides over planes of an NCHW tensor in tiles of shared memory, forward or for the input gradient.
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

// A run is a number of planes that follow each other in memory: all of them, or where a tensor is a slice of wider ones
// those of one image.
struct PlaneGrid {
  int64_t run_planes;
  int64_t source_run, target_run;  // planes in memory from one run to the next
  int channels;
  int run_blocks;        // blocks per run
  int planes_per_block;  // more than one only where bands == 1
  int bands;             // blocks per group of planes
  int band_patches;      // rows of patches per band
  int merge_lanes;       // threads that merge one plane's partial results, a power of two
  PatchAxis y, x;
  Tile tile;
  int staged_weights;   // values, a multiple of 16 bytes
  int staged_partials;  // one per patch, or none
  FastDivide by_source_rows, by_source_columns;
  FastDivide by_patch_columns, by_band_patches;
};

// Planes of an NCHW tensor.
//   block  : planes_per_block whole planes or one band of full rows of one plane, so that what it reads and
//            what it writes are each one contiguous run;  thread: one patch at a time
//   shared : the padded source as accumulation type; per plane the weights, the bias and the output's parameters; each
//            patch's part of a reduction; the finished target as T (before that, grad_y where the output reads it)
//   traffic: reads source (and addend, grad_y) once (bands also their halo rows), writes target once, all in 16-byte
//            packs
template <typename T, typename P, typename O>
__global__ void __launch_bounds__(kSlideThreads, sizeof(accumulator_t<T>) == 4 ? 4 : 2)
    depthwise_conv2d_planes_kernel(const T* __restrict__ source,  // [planes, y.sources, x.sources]
                                   const T* __restrict__ addend,  // of source's shape, or null
                                   const T* __restrict__ weight,  // [channels, K, K]
                                   const T* __restrict__ bias,    // [channels] or null
                                   T* __restrict__ target,        // [planes, y.targets, x.targets]
                                   O output, PlaneGrid grid) {
  using A = accumulator_t<T>;
  using Partial = typename O::template Partial<1>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  constexpr int kRow = kTaps + 1 + O::kParameters;  // what is staged per plane: taps, bias, parameters
  A* tile = shared_memory<A>();
  A* weights = tile + grid.planes_per_block * grid.tile.plane_stride;  // [plane, kRow]
  auto* partials = reinterpret_cast<Partial*>(weights + grid.staged_weights);
  T* finished = reinterpret_cast<T*>(reinterpret_cast<A*>(partials) + grid.staged_partials);

  const int64_t run = blockIdx.x / grid.run_blocks;
  const int run_block = static_cast<int>(blockIdx.x % grid.run_blocks);
  const int64_t first_plane = static_cast<int64_t>(run_block / grid.bands) * grid.planes_per_block;  // in the run
  const int band = run_block % grid.bands;
  const int64_t planes_left = grid.run_planes - first_plane;
  const int planes = planes_left < grid.planes_per_block ? static_cast<int>(planes_left) : grid.planes_per_block;
  const int first_patch = band * grid.band_patches;
  const int patches_left = grid.y.patches - first_patch;
  const int patch_rows = patches_left < grid.band_patches ? patches_left : grid.band_patches;

  // 1. Stage the source rows of this band, inside zeros, the weights, and grad_y where the target will be.
  clear(tile, grid.planes_per_block * grid.tile.plane_stride);
  const int first_channel = static_cast<int>(first_plane % grid.channels);
  for (int i = threadIdx.x; i < planes * kRow; i += blockDim.x) {
    const int plane = i / kRow;
    const int entry = i - plane * kRow;
    const int64_t c = (first_channel + plane) % grid.channels;
    A value = 0;
    if (entry < kTaps) {
      value = math::widen(weight[c * kTaps + entry]);
    } else if (entry > kTaps) {
      value = output.parameter(entry - kTaps - 1, c);
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
  const int64_t source_plane = run * grid.source_run + first_plane;
  if (row_begin < row_end) {
    const int64_t offset = (source_plane * grid.y.sources + row_begin) * grid.x.sources;
    stage_planes(source + offset, planes, row_end - row_begin, grid.by_source_rows, grid.by_source_columns,
                 row_begin - tile_top, -grid.x.origin, tile, grid.tile);
    if (O::kAddsSources && addend) {
      __syncthreads();  // the two may be read in different packs, so by different threads
      stage_planes<true>(addend + offset, planes, row_end - row_begin, grid.by_source_rows, grid.by_source_columns,
                         row_begin - tile_top, -grid.x.origin, tile, grid.tile);
    }
  }
  const int top = first_patch * P::kRows - grid.y.lead;
  const int target_begin = top > 0 ? top : 0;
  const int bottom = top + patch_rows * P::kRows;
  const int target_rows = (bottom < grid.y.targets ? bottom : grid.y.targets) - target_begin;
  T* run_of_target = nullptr;
  if (target) {
    run_of_target = target + ((run * grid.target_run + first_plane) * grid.y.targets + target_begin) * grid.x.targets;
  }
  T* const staged = finished + misalignment(run_of_target);  // placed as write_run wants it
  const int64_t grad_offset = (source_plane * grid.y.targets + target_begin) * grid.x.targets;
  if constexpr (O::kReadsGradient) {
    if (output.grad_y) read_run(output.grad_y + grad_offset, staged, planes * target_rows * grid.x.targets);
  }
  __syncthreads();

  // 2. Compute patches into shared memory.
  for (int i = threadIdx.x; i < planes * patch_rows * grid.x.patches; i += blockDim.x) {
    const int patch_row_index = grid.by_patch_columns.quotient(i);
    const int patch_column = i - patch_row_index * grid.x.patches;
    const int plane = grid.by_band_patches.quotient(patch_row_index);
    const int patch_row = patch_row_index - plane * grid.band_patches;

    const A* const own = weights + plane * kRow;
    A sums[P::kRows][P::kColumns];
    {
      A taps[kTaps];
#pragma unroll
      for (int t = 0; t < kTaps; ++t) taps[t] = own[t];
#pragma unroll
      for (int r = 0; r < P::kRows; ++r) {
#pragma unroll
        for (int v = 0; v < P::kColumns; ++v) sums[r][v] = own[kTaps];
      }
      const A* from = tile + plane * grid.tile.plane_stride + patch_row * P::kRowStep * grid.tile.pitch +
                      patch_column * P::kColumnStep;
      for_each_product<P>(from, grid.tile.pitch,
                          [&](int r, int v, int tap, A value) { sums[r][v] += taps[tap] * value; });
    }

    const int first_row = top + patch_row * P::kRows - target_begin;
    const int first_column = patch_column * P::kColumns - grid.x.lead;
    Partial partial;
    if constexpr (O::kTakesMoments) {
      uint32_t valid = 0;
#pragma unroll
      for (int r = 0; r < P::kRows; ++r) {
#pragma unroll
        for (int v = 0; v < P::kColumns; ++v) {
          if (first_row + r < target_rows && first_column + v < grid.x.targets) valid |= 1u << (r * P::kColumns + v);
        }
      }
      partial = moments_of<A, P::kRows * P::kColumns, 1>(
          valid, [&](int j, int) { return sums[j / P::kColumns][j % P::kColumns]; });
    } else {
      A parameters[O::kParameters + 1];
#pragma unroll
      for (int j = 0; j < O::kParameters; ++j) parameters[j] = own[kTaps + 1 + j];
#pragma unroll
      for (int r = 0; r < P::kRows; ++r) {
        const int row = first_row + r;
        if (row < 0 || row >= target_rows) continue;
        const int row_offset = (plane * target_rows + row) * grid.x.targets;
        A grads[P::kColumns] = {};
        if constexpr (O::kReadsGradient) {
#pragma unroll
          for (int v = 0; v < P::kColumns; ++v) {
            const int at = row_offset + first_column + v;
            if (first_column + v >= grid.x.targets) continue;
            if (output.grad_y) grads[v] = math::widen(staged[at]);
            if (output.grad_y_addend) grads[v] += math::widen(output.grad_y_addend[grad_offset + at]);
          }
        }
        output.activate(sums[r], grads, [&](int j, int) { return parameters[j]; });
#pragma unroll
        for (int v = 0; v < P::kColumns; ++v) {
          const int column = first_column + v;
          if (column < 0 || column >= grid.x.targets) continue;
          staged[row_offset + column] =
              math::narrow<T>(output.template finish<1>(sums[r][v], parameters, grads[v], partial, 0));
        }
      }
    }
    if constexpr (O::kReduces) {
      if (output.reduces()) partials[i] = partial;
    }
  }
  __syncthreads();

  // 3. Write the run.
  if constexpr (O::kWrites) {
    if (target) write_run(run_of_target, finished, planes * target_rows * grid.x.targets);
  }

  // 4. Merge the patches of each plane.
  if constexpr (O::kReduces) {
    if (!output.reduces()) return;
    const int patches = patch_rows * grid.x.patches;
    const int lane = static_cast<int>(threadIdx.x) % grid.merge_lanes;
    const int groups = static_cast<int>(blockDim.x) / grid.merge_lanes;
    for (int first = 0; first < planes; first += groups) {
      const int plane = first + static_cast<int>(threadIdx.x) / grid.merge_lanes;
      Partial total;
      for (int i = lane; plane < planes && i < patches; i += grid.merge_lanes) {
        total.merge(partials[plane * patches + i]);
      }
      merge_lanes(total, grid.merge_lanes);
      if (lane != 0 || plane >= planes) continue;
      const int64_t image_and_channel = run * grid.run_planes + first_plane + plane;
      if constexpr (O::kPerImage) {
        output.store(total, 0, band, image_and_channel);
      } else {
        const int64_t n = image_and_channel / grid.channels;
        output.store(total, 0, n * grid.bands + band, image_and_channel - n * grid.channels);
      }
    }
  }
}

template <int K, int S, bool kBackward>
using SlidePlanePatch = Patch<K, S, kBackward, S == 1 || kBackward ? 2 : 1, S == 2 && kBackward ? 8 : 4>;

// Where a band of a single row of patches does not fit into shared memory, bytes exceeds what there is.
struct PlanePlan {
  PlaneGrid grid;
  int64_t runs;
  int64_t rows;  // of the reduction
  int threads;
  size_t bytes;
};

// is_slice: source and target are not both dense.
template <typename T, typename P, typename O>
PlanePlan plan_planes(const DepthwiseConv2dShape& shape, bool is_slice, bool reduces) {
  using A = accumulator_t<T>;
  constexpr int kRow = P::kKernel * P::kKernel + 1 + O::kParameters;
  PlanePlan plan;
  PlaneGrid& grid = plan.grid;
  plan.runs = is_slice ? shape.batch : 1;
  grid.run_planes = is_slice ? shape.channels : shape.batch * shape.channels;
  grid.channels = static_cast<int>(shape.channels);
  set_patch_axes<P>(shape, grid.y, grid.x);
  plan.bytes = ~size_t{0};
  if (rows_are_too_long(grid.x)) return plan;
  grid.by_source_rows = FastDivide(grid.y.sources);
  grid.by_source_columns = FastDivide(grid.x.sources);
  grid.by_patch_columns = FastDivide(grid.x.patches);

  const auto shared_bytes = [&](int planes, int band) {
    constexpr size_t kPartialValues = sizeof(typename O::template Partial<1>) / sizeof(A);
    grid.planes_per_block = planes;
    grid.band_patches = band;
    grid.tile = make_source_tile<P, A>(grid.x, band);
    grid.staged_weights = round_up(planes * kRow, Pack<A>::kSize);
    const size_t patches = static_cast<size_t>(planes) * band * grid.x.patches;
    const size_t partials = reduces ? (patches * kPartialValues + 3) / 4 * 4 : 0;  // whole 16-byte units
    grid.staged_partials = static_cast<int>(partials);
    const size_t target_rows = static_cast<size_t>(band) * P::kRows;
    const size_t targets = O::kWrites ? static_cast<size_t>(planes) * target_rows * grid.x.targets + Pack<T>::kSize : 0;
    return (static_cast<size_t>(planes) * grid.tile.plane_stride + grid.staged_weights + partials) * sizeof(A) +
           targets * sizeof(T);
  };
  PlaneSplit split = split_planes(shape.batch * shape.channels, grid.y, grid.x, kSlideThreads, kWantedSlideBlocks,
                                  kPreferredSlideBytes, shared_bytes);
  if (split.planes > grid.run_planes) split.planes = static_cast<int>(grid.run_planes);
  grid.bands = split.bands;
  plan.bytes = shared_bytes(split.planes, split.band_patches);
  grid.by_band_patches = FastDivide(grid.band_patches);
  const int64_t run_blocks = math::ceil_div<int64_t>(grid.run_planes, split.planes) * split.bands;
  grid_of(run_blocks);  // refuses what does not fit an int
  grid.run_blocks = static_cast<int>(run_blocks);
  const int plane_patches = split.band_patches * grid.x.patches;
  grid.merge_lanes = 1;
  while (grid.merge_lanes < plane_patches && grid.merge_lanes < 32) grid.merge_lanes *= 2;
  const int patches = split.planes * plane_patches;
  plan.threads = patches < kSlideThreads ? round_up(patches, 32) : kSlideThreads;
  plan.rows = (O::kPerImage ? 1 : shape.batch) * split.bands;
  return plan;
}

// Returns the rows of the reduction, or 0 where the kernel cannot run.
template <typename T, typename P, typename O>
int64_t launch_planes(const SlideTensors<T>& tensors, O output, const DepthwiseConv2dShape& shape, void* stream) {
  const bool is_slice = tensors.source_channels != shape.channels || tensors.target_channels != shape.channels;
  PlanePlan plan = plan_planes<T, P, O>(shape, is_slice, output.reduces());
  if (plan.bytes > kDefaultSharedBytes) return 0;
  plan.grid.source_run = tensors.source_channels;
  plan.grid.target_run = tensors.target_channels;
  output.set_rows(plan.rows);
  launch(depthwise_conv2d_planes_kernel<T, P, O>, grid_of(plan.runs * plan.grid.run_blocks), dim3(plan.threads),
         plan.bytes, stream, tensors.source, tensors.addend, tensors.weight, tensors.bias, tensors.target, output,
         plan.grid);
  return plan.rows;
}

}  // namespace cuda
}  // namespace frnet
