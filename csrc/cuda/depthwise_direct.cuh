// The kernels that slide over a tensor of any shape, forward or for the input gradient, and the choice between them and
// those of depthwise_planes.cuh and depthwise_channels_last.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/depthwise_channels_last.cuh"
#include "cuda/depthwise_output.cuh"
#include "cuda/depthwise_planes.cuh"
#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// sum, and the products of one target. source is the first pixel of the image and channel, taps its kernel.
template <bool kBackward, typename T>
__device__ __forceinline__ accumulator_t<T> add_products(const T* source, const T* taps, int row, int column,
                                                         int64_t pixel_stride, const ConvSizes& sizes,
                                                         accumulator_t<T> sum) {
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  if constexpr (kBackward) {
    for (int ky = 0; ky < ay.kernel; ++ky) {
      const int y = math::output_of(row, ky, ay.output, ay.stride, ay.padding, ay.dilation);
      if (y < 0) continue;
      const T* const from = source + static_cast<int64_t>(y) * ax.output * pixel_stride;
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
      const T* const from = source + static_cast<int64_t>(top + ky * ay.dilation) * ax.input * pixel_stride;
      for (int kx = columns.begin; kx < columns.end; ++kx) {
        sum += math::widen(taps[static_cast<int64_t>(ky) * ax.kernel + kx]) *
               math::widen(from[(left + kx * ax.dilation) * pixel_stride]);
      }
    }
  }
  return sum;
}

struct DirectGrid {
  int64_t source_channels, target_channels;  // in memory
  int64_t segment_pixels;                    // an image's, where images are reduced apart, else the whole batch's
  int chunks;                                // blocks per segment and tile of channels
  int channel_tiles;
  int channel_lanes;  // 1, or 32 where channels are innermost
  FastDivide by_columns, by_plane;
};

// Where in memory the pixel (n, c, pixel) lies in a tensor of so many pixels per plane and channels in memory.
__device__ __forceinline__ int64_t element_at(int64_t n, int64_t c, int64_t pixel, int64_t plane, int64_t channels,
                                              bool channels_last) {
  return channels_last ? (n * plane + pixel) * channels + c : (n * channels + c) * plane + pixel;
}

// Any kernel, stride, padding, dilation and layout, without a reduction.
//   block  : 256 consecutive targets;  thread: one
//   shared : none
//   traffic: writes target once; reads source once from memory and once per tap from the caches
template <typename T, bool kBackward, typename O>
__global__ void __launch_bounds__(kSlideThreads, 4)
    depthwise_conv2d_direct_kernel(const T* __restrict__ source, const T* __restrict__ addend,
                                   const T* __restrict__ weight, const T* __restrict__ bias, T* __restrict__ target,
                                   int64_t count, O output, DirectGrid grid, ConvSizes sizes) {
  using A = accumulator_t<T>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSlideThreads;
  if (first + threadIdx.x >= count) return;
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  const int target_columns = kBackward ? ax.input : ax.output;
  const int target_plane = kBackward ? ay.input * ax.input : ay.output * ax.output;
  const int source_plane = kBackward ? ay.output * ax.output : ay.input * ax.input;

  const uint32_t inner_size = static_cast<uint32_t>(target_plane) * (sizes.channels_last ? sizes.channels : 1);
  int64_t outer = first / inner_size;  // n * channels + c, or n
  uint32_t inner = static_cast<uint32_t>(first - outer * inner_size) + threadIdx.x;
  outer += inner / inner_size;
  inner %= inner_size;
  int64_t n = outer;
  int c;
  if (sizes.channels_last) {
    c = static_cast<int>(inner % sizes.channels);
    inner /= sizes.channels;
  } else {
    n = outer / sizes.channels;
    c = static_cast<int>(outer - n * sizes.channels);
  }
  const int row = static_cast<int>(inner / target_columns);
  const int column = static_cast<int>(inner % target_columns);

  const T* const taps = weight + static_cast<int64_t>(c) * ay.kernel * ax.kernel;
  const int64_t base = element_at(n, c, 0, source_plane, grid.source_channels, sizes.channels_last);
  const int64_t pixel_stride = sizes.channels_last ? grid.source_channels : 1;
  A sum = bias ? math::widen(bias[c]) : A(0);
  sum = add_products<kBackward>(source + base, taps, row, column, pixel_stride, sizes, sum);
  if (O::kAddsSources && addend) {
    sum = add_products<kBackward>(addend + base, taps, row, column, pixel_stride, sizes, sum);
  }
  A parameters[O::kParameters + 1];
#pragma unroll
  for (int j = 0; j < O::kParameters; ++j) parameters[j] = output.parameter(j, c);
  A value[] = {sum};
  A no_grad[] = {A(0)};
  output.activate(value, no_grad, [&](int j, int) { return parameters[j]; });
  typename O::template Partial<1> unused;
  target[element_at(n, c, inner, target_plane, grid.target_channels, sizes.channels_last)] =
      math::narrow<T>(output.template finish<1>(value[0], parameters, A(0), unused, 0));
}

// The same forward with a reduction.
//   block  : channel_lanes channels, one chunk of a segment's pixels;  thread: one channel, every (threads /
//            channel_lanes)-th pixel
//   shared : the threads' parts of the reduction
//   traffic: as above, and reads grad_y once
template <typename T, typename O>
__global__ void __launch_bounds__(kSlideThreads, 4)
    depthwise_conv2d_direct_reduced_kernel(const T* __restrict__ source, const T* __restrict__ addend,
                                           const T* __restrict__ weight, const T* __restrict__ bias,
                                           T* __restrict__ target, O output, DirectGrid grid, ConvSizes sizes) {
  using A = accumulator_t<T>;
  using Partial = typename O::template Partial<1>;
  const ConvAxis& ay = sizes.y;
  const ConvAxis& ax = sizes.x;
  const int first_channel = static_cast<int>(blockIdx.x % grid.channel_tiles) * grid.channel_lanes;
  const int64_t segment_chunk = blockIdx.x / grid.channel_tiles;
  const int64_t segment = segment_chunk / grid.chunks;
  const int chunk = static_cast<int>(segment_chunk - segment * grid.chunks);
  const int slot = static_cast<int>(threadIdx.x) / grid.channel_lanes;
  const int slots = static_cast<int>(blockDim.x) / grid.channel_lanes;
  const int c = first_channel + static_cast<int>(threadIdx.x) % grid.channel_lanes;

  const int plane = ay.output * ax.output;
  const int source_plane = ay.input * ax.input;
  const int64_t chunk_begin = static_cast<int64_t>(chunk) * grid.segment_pixels / grid.chunks;
  const int pixels = static_cast<int>((chunk + int64_t{1}) * grid.segment_pixels / grid.chunks - chunk_begin);
  const int64_t pixel_begin = segment * grid.segment_pixels + chunk_begin;
  const int64_t first_n = pixel_begin / plane;
  const int first_pixel = static_cast<int>(pixel_begin - first_n * plane);
  const int64_t pixel_stride = sizes.channels_last ? grid.source_channels : 1;

  Partial total;
  if (c < sizes.channels) {
    const T* const taps = weight + static_cast<int64_t>(c) * ay.kernel * ax.kernel;
    A parameters[O::kParameters + 1];
#pragma unroll
    for (int j = 0; j < O::kParameters; ++j) parameters[j] = output.parameter(j, c);
    for (int i = slot; i < pixels; i += slots) {
      const int images_on = grid.by_plane.quotient(first_pixel + i);
      const int pixel = first_pixel + i - images_on * plane;
      const int64_t n = first_n + images_on;
      const int row = grid.by_columns.quotient(pixel);
      const int column = pixel - row * ax.output;
      const int64_t base = element_at(n, c, 0, source_plane, grid.source_channels, sizes.channels_last);
      A sum = bias ? math::widen(bias[c]) : A(0);
      sum = add_products<false>(source + base, taps, row, column, pixel_stride, sizes, sum);
      if (addend) sum = add_products<false>(addend + base, taps, row, column, pixel_stride, sizes, sum);
      if constexpr (O::kTakesMoments) {
        total.merge(moments_of<A, 1, 1>(1, [&](int, int) { return sum; }));
      } else {
        A values[] = {sum};
        A grads[] = {A(0)};
        if constexpr (O::kReadsGradient) {
          const int64_t at = element_at(n, c, pixel, plane, grid.source_channels, sizes.channels_last);
          if (output.grad_y) grads[0] = math::widen(output.grad_y[at]);
          if (output.grad_y_addend) grads[0] += math::widen(output.grad_y_addend[at]);
        }
        output.activate(values, grads, [&](int j, int) { return parameters[j]; });
        const A value = output.template finish<1>(values[0], parameters, grads[0], total, 0);
        if (target) {
          target[element_at(n, c, pixel, plane, grid.target_channels, sizes.channels_last)] = math::narrow<T>(value);
        }
      }
    }
  }
  if (!output.reduces()) return;
  merge_slots(total, shared_memory<Partial>(), slot, slots, grid.channel_lanes);
  if (slot == 0 && c < sizes.channels) output.store(total, 0, chunk, segment * sizes.channels + c);
}

struct DirectPlan {
  DirectGrid grid;
  int64_t segments;
  int threads;
};

template <typename O>
DirectPlan plan_direct(const ConvSizes& sizes, int64_t batch) {
  DirectPlan plan;
  DirectGrid& grid = plan.grid;
  const int64_t plane = static_cast<int64_t>(sizes.y.output) * sizes.x.output;
  plan.segments = O::kPerImage ? batch : 1;
  grid.segment_pixels = batch * plane / plan.segments;
  grid.channel_lanes = sizes.channels_last ? 32 : 1;
  grid.channel_tiles = math::ceil_div(sizes.channels, grid.channel_lanes);
  plan.threads = 32;
  while (plan.threads < kSlideThreads && plan.threads < grid.segment_pixels * grid.channel_lanes) plan.threads *= 2;
  // Four pixels per thread at least, since every chunk ends in a reduction.
  const int64_t slots = plan.threads / grid.channel_lanes;
  int64_t chunks = math::ceil_div<int64_t>(2 * kWantedSlideBlocks, plan.segments * grid.channel_tiles);
  const int64_t most = math::ceil_div<int64_t>(grid.segment_pixels, 4 * slots);
  if (chunks > most) chunks = most;
  // The position within a chunk, and the plane it starts in, are ints.
  const int64_t least = math::ceil_div<int64_t>(grid.segment_pixels, int64_t{1} << 29);
  if (chunks < least) chunks = least;
  grid_of(chunks);  // refuses what does not fit an int
  grid.chunks = static_cast<int>(chunks);
  grid.by_columns = FastDivide(sizes.x.output);
  grid.by_plane = FastDivide(plane);
  return plan;
}

// Returns the rows of the reduction.
template <typename T, bool kBackward, typename O>
int64_t launch_direct(const SlideTensors<T>& tensors, O output, const DepthwiseConv2dShape& shape, void* stream) {
  const ConvSizes sizes = check_sizes(shape);
  if constexpr (!O::kReadsGradient && !O::kTakesMoments) {
    if (!output.reduces()) {
      DirectGrid grid = {};  // the rest is the other kernel's
      grid.source_channels = tensors.source_channels;
      grid.target_channels = tensors.target_channels;
      const int64_t count = shape.batch * shape.channels *
                            (kBackward ? shape.in_height * shape.in_width : shape.out_height * shape.out_width);
      launch(depthwise_conv2d_direct_kernel<T, kBackward, O>, grid_of(math::ceil_div<int64_t>(count, kSlideThreads)),
             dim3(kSlideThreads), 0, stream, tensors.source, tensors.addend, tensors.weight, tensors.bias,
             tensors.target, count, output, grid, sizes);
      return 1;
    }
  }
  if constexpr (O::kReduces) {
    DirectPlan plan = plan_direct<O>(sizes, shape.batch);
    plan.grid.source_channels = tensors.source_channels;
    plan.grid.target_channels = tensors.target_channels;
    output.set_rows(plan.grid.chunks);
    launch(depthwise_conv2d_direct_reduced_kernel<T, O>,
           grid_of(plan.segments * plan.grid.chunks * plan.grid.channel_tiles), dim3(plan.threads),
           plan.threads * sizeof(typename O::template Partial<1>), stream, tensors.source, tensors.addend,
           tensors.weight, tensors.bias, tensors.target, output, plan.grid, sizes);
    return plan.grid.chunks;
  }
  return 0;
}

// Launches whichever kernel suits the shape; returns the rows of the reduction. With no targets it does nothing.
template <typename T, bool kBackward, typename O>
int64_t slide(const SlideTensors<T>& tensors, const O& output, const DepthwiseConv2dShape& shape, void* stream) {
  const int64_t count = shape.batch * shape.channels *
                        (kBackward ? shape.in_height * shape.in_width : shape.out_height * shape.out_width);
  if (count == 0) return 0;
  check_sizes(shape);
  int64_t rows = 0;
  const bool done = with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    rows = shape.layout == Layout::nchw
               ? launch_planes<T, SlidePlanePatch<K, S, kBackward>>(tensors, output, shape, stream)
               : launch_channels_last<T, SlideChannelsLastPatch<K, S, kBackward>>(tensors, output, shape, stream);
    return rows != 0;
  });
  return done ? rows : launch_direct<T, kBackward>(tensors, output, shape, stream);
}

// The most rows that the reduction of slide() can have; which kernel runs also depends on whether pointers are aligned.
template <typename T, typename O>
int64_t max_rows(const DepthwiseConv2dShape& shape) {
  if (shape.batch * shape.channels * shape.out_height * shape.out_width == 0) return 0;
  int64_t rows = plan_direct<O>(check_sizes(shape), shape.batch).grid.chunks;
  with_fast_path(shape, [&](auto kernel, auto stride) {
    constexpr int K = decltype(kernel)::value;
    constexpr int S = decltype(stride)::value;
    int64_t fast = 0;
    if (shape.layout == Layout::nchw) {
      const auto plan =
          plan_planes<T, SlidePlanePatch<K, S, false>, O>(shape, shape.memory_channels != shape.channels, true);
      if (plan.bytes <= kDefaultSharedBytes) fast = plan.rows;
    } else if (channels_come_in_packs<T>(shape, shape.memory_channels)) {
      fast = plan_channels_last<T, SlideChannelsLastPatch<K, S, false>, O>(shape, true).grid.chunks;
    }
    if (fast > rows) rows = fast;
    return true;
  });
  return rows;
}

}  // namespace cuda
}  // namespace frnet
