// Batch normalisation and activation, in two passes over the whole tensor.
//   block  : a chunk: one channel's pixels in some images, or some pixels of 32 channels where those are adjacent;
//            threads stride over its values, kUnroll of them at a time
//   shared : one partial result per thread, to merge them
//   traffic: reads x twice and writes y once; backward reads x and grad_y twice and writes grad_x once
#include "cuda/batch_norm_act.cuh"

#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/batch_norm.h"
#include "workspace_layout.h"

namespace frnet {
namespace cuda {

namespace {

using Shape = BatchNormActShape;

constexpr int kThreads = 256;
constexpr int kUnroll = 8;
constexpr int kTile = 32;  // adjacent channels that a block takes
constexpr int64_t kChunkValues = 4096;
constexpr int64_t kMostPixels = 8192;  // of a plane

// How a tensor falls into chunks. A row is a plane's segment, or a pixel of all channels.
struct Chunks {
  bool adjacent;
  int64_t channels, pixels, batch;
  int64_t segment, segments;  // pixels of a segment, segments of a plane
  int64_t rows_per_chunk, count;
  int64_t tiles;  // of channels

  explicit Chunks(const Shape& s)
      : adjacent(s.layout == Layout::channels_last), channels(s.channels), pixels(s.pixels), batch(s.batch) {
    segment = adjacent ? 1 : std::min(kMostPixels, s.pixels);
    segments = segment == 0 ? 0 : (s.pixels + segment - 1) / segment;
    rows_per_chunk =
        adjacent ? kChunkValues / kTile : std::max<int64_t>(1, kChunkValues / std::max<int64_t>(1, segment));
    count = adjacent ? (batch * pixels + rows_per_chunk - 1) / rows_per_chunk
                     : (batch + rows_per_chunk - 1) / rows_per_chunk * segments;
    tiles = adjacent ? (channels + kTile - 1) / kTile : channels;
  }

  dim3 grid() const { return grid_of_blocks(count * tiles, "batch_norm_act"); }
};

// This thread's part of its block's chunk.
struct Part {
  int64_t chunk, channel;
  int slot, slots, lanes;  // threads `lanes` apart share a channel: slot of slots
  bool some;               // of the channels there are

  __device__ explicit Part(const Chunks& k)
      : chunk(blockIdx.x / k.tiles),
        channel(blockIdx.x % k.tiles),
        slot(k.adjacent ? threadIdx.x / kTile : threadIdx.x),
        slots(k.adjacent ? kThreads / kTile : kThreads),
        lanes(k.adjacent ? kTile : 1),
        some(true) {
    if (!k.adjacent) return;
    channel = channel * kTile + threadIdx.x % kTile;
    some = channel < k.channels;
  }
};

// Calls body(offsets, valid) until every value of the thread's part was in one of them: those whose bit in valid is
// set.
template <typename F>
__device__ __forceinline__ void for_offsets(const Chunks& k, const Part& part, const F& body) {
  if (!part.some) return;
  if (k.adjacent) {
    const int64_t begin = part.chunk * k.rows_per_chunk, left = k.batch * k.pixels - begin;
    const int rows = static_cast<int>(left < k.rows_per_chunk ? left : k.rows_per_chunk);
    for (int first = part.slot; first < rows; first += part.slots * kUnroll) {
      int64_t offsets[kUnroll];
      uint32_t valid = 0;
#pragma unroll
      for (int j = 0; j < kUnroll; ++j) {
        const int r = first + j * part.slots;
        valid |= static_cast<uint32_t>(r < rows) << j;
        offsets[j] = (begin + r) * k.channels + part.channel;
      }
      body(offsets, valid);
    }
    return;
  }
  const int64_t image = part.chunk / k.segments * k.rows_per_chunk, pixel = part.chunk % k.segments * k.segment;
  const int64_t images_left = k.batch - image, pixels_left = k.pixels - pixel;
  const auto images = static_cast<uint32_t>(images_left < k.rows_per_chunk ? images_left : k.rows_per_chunk);
  const auto pixels = static_cast<uint32_t>(pixels_left < k.segment ? pixels_left : k.segment);
  const int64_t origin = (image * k.channels + part.channel) * k.pixels + pixel;
  for (uint32_t first = part.slot; first < images * pixels; first += kThreads * kUnroll) {
    int64_t offsets[kUnroll];
    uint32_t valid = 0;
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const uint32_t i = first + j * kThreads, n = i / pixels;
      valid |= static_cast<uint32_t>(i < images * pixels) << j;
      offsets[j] = origin + n * k.channels * k.pixels + (i - n * pixels);
    }
    body(offsets, valid);
  }
}

// The values at those offsets, zero where not valid.
template <typename T, typename A = accumulator_t<T>>
__device__ __forceinline__ void load_values(const T* from, const int64_t (&offsets)[kUnroll], uint32_t valid,
                                            A (&values)[kUnroll]) {
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) values[j] = valid >> j & 1 ? math::widen(from[offsets[j]]) : A(0);
}

// Values per channel behind a chunk's partial result.
template <typename A>
__device__ A values_of(const Chunks& k, int64_t chunk) {
  if (k.adjacent) {
    const int64_t left = k.batch * k.pixels - chunk * k.rows_per_chunk;
    return static_cast<A>(left < k.rows_per_chunk ? left : k.rows_per_chunk);
  }
  const int64_t images_left = k.batch - chunk / k.segments * k.rows_per_chunk;
  const int64_t pixels_left = k.pixels - chunk % k.segments * k.segment;
  return static_cast<A>((images_left < k.rows_per_chunk ? images_left : k.rows_per_chunk) *
                        (pixels_left < k.segment ? pixels_left : k.segment));
}

template <typename A>
struct Affine {
  const A *scale, *shift;  // [channels]
};

// The gradient behind the activation.
template <typename A>
__device__ __forceinline__ A gradient_of(Activation activation, A scale, A shift, A x, A grad_y) {
  return math::activation_gradient<A>(activation, scale * x + shift, grad_y, math::ScalarExp{});
}

}  // namespace

template <typename T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_act_moments_kernel(const T* __restrict__ x, accumulator_t<T>* __restrict__ partials,
                                  accumulator_t<T>* __restrict__ counts,  // [chunks]
                                  Chunks k) {
  using A = accumulator_t<T>;
  const Part part(k);
  Moments<A, 1> total;
  for_offsets(k, part, [&](const int64_t (&offsets)[kUnroll], uint32_t valid) {
    A values[kUnroll];
    load_values(x, offsets, valid, values);
    total.merge(moments_of<A, kUnroll, 1>(valid, [&](int j, int) { return values[j]; }));
  });
  merge_slots(total, shared_memory<Moments<A, 1>>(), part.slot, part.slots, part.lanes);
  if (part.slot != 0 || !part.some) return;
  if (part.channel == 0) counts[part.chunk] = values_of<A>(k, part.chunk);
  partials[2 * part.chunk * k.channels + part.channel] = total.mean[0];
  partials[(2 * part.chunk + 1) * k.channels + part.channel] = total.squares[0];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_act_kernel(const T* __restrict__ x, Affine<accumulator_t<T>> affine, Activation activation,
                          T* __restrict__ y, Chunks k) {
  using A = accumulator_t<T>;
  const Part part(k);
  const A scale = part.some ? affine.scale[part.channel] : A(0), shift = part.some ? affine.shift[part.channel] : A(0);
  for_offsets(k, part, [&](const int64_t (&offsets)[kUnroll], uint32_t valid) {
    A values[kUnroll];
    load_values(x, offsets, valid, values);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (!(valid >> j & 1)) continue;
      y[offsets[j]] = math::narrow<T>(math::activate<A>(activation, scale * values[j] + shift, math::ScalarExp{}));
    }
  });
}

// partials: [chunks, 2, channels], sums of the gradient behind the activation and of its products with x less the mean.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_act_backward_sums_kernel(const T* __restrict__ grad_y, const T* __restrict__ x,
                                        Affine<accumulator_t<T>> affine, const accumulator_t<T>* __restrict__ mean,
                                        Activation activation, accumulator_t<T>* __restrict__ partials, Chunks k) {
  using A = accumulator_t<T>;
  const Part part(k);
  const A scale = part.some ? affine.scale[part.channel] : A(0), shift = part.some ? affine.shift[part.channel] : A(0);
  const A center = part.some ? mean[part.channel] : A(0);
  Sums<A, 2, 1> total;
  for_offsets(k, part, [&](const int64_t (&offsets)[kUnroll], uint32_t valid) {
    A values[kUnroll], grads[kUnroll];
    load_values(x, offsets, valid, values);
    load_values(grad_y, offsets, valid, grads);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (!(valid >> j & 1)) continue;
      const A g = gradient_of(activation, scale, shift, values[j], grads[j]);
      total.values[0][0] += g;
      total.values[1][0] += g * (values[j] - center);
    }
  });
  merge_slots(total, shared_memory<Sums<A, 2, 1>>(), part.slot, part.slots, part.lanes);
  if (part.slot != 0 || !part.some) return;
  partials[2 * part.chunk * k.channels + part.channel] = total.values[0][0];
  partials[(2 * part.chunk + 1) * k.channels + part.channel] = total.values[1][0];
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_act_backward_kernel(const T* grad_y,  // may be grad_x
                                   const T* __restrict__ x, Affine<accumulator_t<T>> affine,
                                   const accumulator_t<T>* __restrict__ mean,
                                   const accumulator_t<T>* __restrict__ constant,
                                   const accumulator_t<T>* __restrict__ linear, Activation activation, T* grad_x,
                                   Chunks k) {
  using A = accumulator_t<T>;
  const Part part(k);
  if (!part.some) return;
  const A scale = affine.scale[part.channel], shift = affine.shift[part.channel], center = mean[part.channel];
  const A own_constant = constant[part.channel], own_linear = linear[part.channel];
  for_offsets(k, part, [&](const int64_t (&offsets)[kUnroll], uint32_t valid) {
    A values[kUnroll], grads[kUnroll];
    load_values(x, offsets, valid, values);
    load_values(grad_y, offsets, valid, grads);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (!(valid >> j & 1)) continue;
      const A g = gradient_of(activation, scale, shift, values[j], grads[j]);
      grad_x[offsets[j]] =
          math::narrow<T>(math::batch_norm_gradient(scale, g, own_constant, own_linear, values[j] - center));
    }
  });
}

namespace {

template <typename A>
struct Room {
  A* partials;                                            // [chunks, 2, channels]
  A* counts;                                              // [chunks]
  A *scale, *shift, *sum_g, *sum_gv, *constant, *linear;  // [channels]
  size_t bytes;

  Room(void* workspace, const Chunks& k) {
    WorkspaceLayout layout(workspace);
    partials = layout.take<A>(2 * k.count * k.channels);
    counts = layout.take<A>(k.count);
    for (A** values : {&scale, &shift, &sum_g, &sum_gv, &constant, &linear}) *values = layout.take<A>(k.channels);
    bytes = layout.bytes();
  }
};

}  // namespace

template <typename T>
size_t batch_norm_act_workspace(const Shape& s) {
  return Room<accumulator_t<T>>(nullptr, Chunks(s)).bytes;
}

template <typename T>
void normalise_activate(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, T* y,
                        const Shape& s, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  if (s.batch * s.channels * s.pixels == 0) return;
  const Chunks k(s);
  const Room<A> room(workspace, k);
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  launch(batch_norm_act_kernel<T>, k.grid(), dim3(kThreads), 0, stream, x, Affine<A>{room.scale, room.shift},
         activation, y, k);
}

template <typename T>
void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                    accumulator_t<T>* variance, T* y, const Shape& s, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const Chunks k(s);
  const Room<A> room(workspace, k);
  const bool some = s.batch * s.channels * s.pixels > 0;
  if (some) {
    launch(batch_norm_act_moments_kernel<T>, k.grid(), dim3(kThreads), kThreads * sizeof(Moments<A, 1>), stream, x,
           room.partials, room.counts, k);
  }
  merge_moments<A>(room.partials, room.counts, mean, variance, k.count, s.channels, stream);
  normalise_activate<T>(x, norm, activation, y, s, workspace, stream);
}

template <typename T>
void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                             Activation activation, const BatchNormActGradient<T>& gradient, const Shape& s,
                             void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const Chunks k(s);
  const Room<A> room(workspace, k);
  const bool some = s.batch * s.channels * s.pixels > 0;
  const Affine<A> affine{room.scale, room.shift};
  fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, stream);
  if (some) {
    launch(batch_norm_act_backward_sums_kernel<T>, k.grid(), dim3(kThreads), kThreads * sizeof(Sums<A, 2, 1>), stream,
           grad_y, x, affine, norm.mean, activation, room.partials, k);
  }
  A* const sum_g = gradient.grad_beta != nullptr ? gradient.grad_beta : room.sum_g;
  sum_partials<A>(room.partials, sum_g, room.sum_gv, k.count, 2 * s.channels, s.channels, stream);
  BatchNorm<A> centered = norm;
  centered.mean = nullptr;
  batch_norm_terms<A>(centered, sum_g, room.sum_gv, s.batch * s.pixels, room.constant, room.linear, gradient.grad_gamma,
                      s.channels, stream);
  if (!some || gradient.grad_x == nullptr) return;
  launch(batch_norm_act_backward_kernel<T>, k.grid(), dim3(kThreads), 0, stream, grad_y, x, affine, norm.mean,
         room.constant, room.linear, activation, gradient.grad_x, k);
}

#define FRNET_INSTANTIATE(T)                                                                                      \
  template void batch_norm_act<T>(const T*, const BatchNorm<accumulator_t<T>>&, Activation, accumulator_t<T>*,    \
                                  accumulator_t<T>*, T*, const Shape&, void*, void*);                             \
  template void batch_norm_act_backward<T>(const T*, const T*, const BatchNorm<accumulator_t<T>>&, Activation,    \
                                           const BatchNormActGradient<T>&, const Shape&, void*, void*);           \
  template void normalise_activate<T>(const T*, const BatchNorm<accumulator_t<T>>&, Activation, T*, const Shape&, \
                                      void*, void*);                                                              \
  template size_t batch_norm_act_workspace<T>(const Shape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
