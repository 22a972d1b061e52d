// Weight and bias gradients of the depthwise 2-D convolution:
//   grad_weight[c,ky,kx] = sum_{n,oy,ox} grad_v[n,c,oy,ox] * x[n, c, oy*stride - padding + ky*dilation, ...]
//   grad_bias[c]         = sum_{n,oy,ox} grad_v[n,c,oy,ox]
//
// Each block sums a fixed part of the batch and the image (a chunk, which depends on the shape alone) into
// its own row of the workspace; a second pass adds the rows. No atomics, so two runs agree to the last bit.
//   traffic: reads x and grad_v once -> bandwidth bound; the workspace is small beside them
#include "cuda/depthwise_backward.cuh"
#include "cuda/depthwise_tile.cuh"
#include "cuda/depthwise_weight_kernels.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

namespace {

// Not yet tuned on a device: six blocks of this size fit on a multiprocessor with 227 KB.
constexpr size_t kPreferredSharedBytes = 32 * 1024;
// About four blocks for each of 132 multiprocessors.
constexpr int64_t kWantedBlocks = 528;

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
  grid.x_channels = shape.memory_channels;
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
  PlaneSplit split = split_planes(shape.batch * shape.channels, grid.y, grid.x, kWeightThreads, kWantedBlocks,
                                  kPreferredSharedBytes, shared_bytes);
  grid.bands = split.bands;
  const int patches = split.band_patches * grid.x.patches;
  grid.lanes = 2;
  while (grid.lanes < patches && grid.lanes < kWeightThreads) grid.lanes *= 2;
  if (split.planes > kWeightThreads / grid.lanes) split.planes = kWeightThreads / grid.lanes;
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
  grid.x_channels = shape.memory_channels;
  const int packs = grid.channels / Pack<T>::kSize;
  grid.channel_tiles = math::ceil_div(packs, 16);
  grid.lanes = math::ceil_div(packs, grid.channel_tiles);
  grid.slots = kWeightThreads / (grid.lanes * P::kKernel);
  grid.stride_h = static_cast<int>(shape.stride_h);
  grid.padding_h = static_cast<int>(shape.padding_h);
  // Four rounds per thread at least, since every chunk ends in a reduction.
  grid.chunks = limit_chunks(grid.channel_tiles, math::ceil_div<int64_t>(grid.items, 4 * grid.slots));
  return grid;
}

WeightDirectGrid plan_direct(const ConvSizes& sizes, const DepthwiseConv2dShape& shape) {
  WeightDirectGrid grid;
  grid.x_channels = shape.memory_channels;
  const int64_t plane = static_cast<int64_t>(sizes.y.output) * sizes.x.output;
  grid.pixels = shape.batch * plane;
  grid.channel_lanes = sizes.channels_last ? 32 : 1;
  grid.channel_tiles = math::ceil_div(sizes.channels, grid.channel_lanes);
  const int pixel_lanes = kWeightThreads / grid.channel_lanes;
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
int64_t launch_fast_path(const T* grad_v, int64_t grad_channels, const ConvInput<T>& input,
                         const DepthwiseConv2dShape& shape, accumulator_t<T>* partials, void* stream) {
  int64_t chunks = 0;
  with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    if (shape.layout == Layout::nchw) {
      using P = PlanePatch<K, S>;
      WeightPlanePlan plan = plan_planes<T, P>(shape);
      if (plan.bytes > kDefaultSharedBytes) return false;
      plan.grid.grad_channels = grad_channels;
      launch(depthwise_conv2d_weight_planes_kernel<T, P>, grid_of(plan.grid.groups * plan.grid.chunks),
             dim3(plan.threads), plan.bytes, stream, grad_v, input.x, input.addend, partials, plan.grid);
      chunks = plan.grid.chunks;
      return true;
    }
    if (!channels_come_in_packs<T>(shape, grad_channels) || !channels_come_in_packs<T>(shape, shape.memory_channels) ||
        !is_aligned(grad_v) || !is_aligned(input.x) || !is_aligned(input.addend)) {
      return false;
    }
    using P = ChannelsLastPatch<K, S>;
    WeightChannelsLastGrid grid = plan_channels_last<T, P>(shape);
    grid.grad_channels = grad_channels;
    launch(depthwise_conv2d_weight_channels_last_kernel<T, P>, grid_of(grid.channel_tiles * grid.chunks),
           dim3(kWeightThreads), kWeightThreads * Pack<T>::kSize * sizeof(accumulator_t<T>), stream, grad_v, input.x,
           input.addend, partials, grid);
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
  int64_t chunks = plan_direct(check_sizes(shape), shape).chunks;
  with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    int64_t fast = 0;
    if (shape.layout == Layout::nchw) {
      const WeightPlanePlan plan = plan_planes<T, PlanePatch<K, S>>(shape);
      if (plan.bytes <= kDefaultSharedBytes) fast = plan.grid.chunks;
    } else if (channels_come_in_packs<T>(shape, shape.memory_channels)) {
      fast = plan_channels_last<T, ChannelsLastPatch<K, S>>(shape).chunks;
    }
    if (fast > chunks) chunks = fast;
    return true;
  });
  return static_cast<size_t>(chunks * workspace_columns(shape)) * sizeof(accumulator_t<T>);
}

template <typename T>
void depthwise_conv2d_backward_weight(const T* grad_v, int64_t grad_channels, const ConvInput<T>& input, T* grad_weight,
                                      T* grad_bias, const DepthwiseConv2dShape& shape, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  auto* const partials = static_cast<A*>(workspace);
  int64_t chunks = 0;
  if (!is_empty(shape)) {
    const ConvSizes sizes = check_sizes(shape);
    chunks = launch_fast_path(grad_v, grad_channels, input, shape, partials, stream);
    if (chunks == 0) {
      WeightDirectGrid grid = plan_direct(sizes, shape);
      grid.grad_channels = grad_channels;
      launch(depthwise_conv2d_weight_direct_kernel<T>, grid_of(grid.channel_tiles * grid.chunks), dim3(kWeightThreads),
             (kTapGroup + 1) * kWeightThreads * sizeof(A), stream, grad_v, input.x, input.addend, partials, grid,
             sizes);
      chunks = grid.chunks;
    }
  }
  const int64_t columns = workspace_columns(shape);
  sum_partials(partials, grad_weight, grad_bias, chunks, columns, columns - shape.channels, stream);
}

#define FRNET_INSTANTIATE(T)                                                                        \
  template size_t depthwise_conv2d_backward_weight_workspace<T>(const DepthwiseConv2dShape&);       \
  template void depthwise_conv2d_backward_weight<T>(const T*, int64_t, const ConvInput<T>&, T*, T*, \
                                                    const DepthwiseConv2dShape&, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
