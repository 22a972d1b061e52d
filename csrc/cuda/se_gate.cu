// Squeeze and excitation and its gradient; the layers in between are in se_excite.cu.
//   squeeze : pooled = mean of x over each plane; backward also the sum of grad_y x. NCHW: a power of two of threads
//   per
//             plane;  channels_last: a block has a tile of channels of one image, a thread 16 bytes of them of every so
//             manieth pixel
//   scale   : y = x gate, grad_x = grad_y gate + grad_pooled / pixels; a block has a run of the tensor
//   shared  : the squeeze's partial sums
//   traffic : squeeze reads x (backward: and grad_y), scale reads x (grad_y) and writes y (grad_x) -> bandwidth bound
#include "frnet/se_gate.h"

#include <stdexcept>
#include <string>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/se_gate.cuh"
#include "cuda/team.cuh"
#include "math/activation.h"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kThreads = 256;
constexpr int kScaleRounds = 4;  // packs per thread

// -------------------------------------------------------------------------------------------------- squeeze

// pooled = mean of x; where grad_y is not null, products = sum of grad_y x.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    se_squeeze_planes_kernel(const T* __restrict__ x, const T* __restrict__ grad_y,  // [planes, pixels]
                             accumulator_t<T>* __restrict__ pooled,                  // [planes]
                             accumulator_t<T>* __restrict__ products,                // [planes] or null
                             int64_t planes, int pixels, int plane_threads) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  A* const scratch = shared_memory<A>();
  const int slot = static_cast<int>(threadIdx.x) / plane_threads;
  const int thread = static_cast<int>(threadIdx.x) - slot * plane_threads;
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * (kThreads / plane_threads) + slot;
  A sum = 0;
  A product = 0;
  if (plane < planes) {
    const T* const run = x + plane * pixels;
    const T* const slopes = grad_y ? grad_y + plane * pixels : nullptr;
    for (int first = thread * kSize - misalignment(run); first < pixels; first += plane_threads * kSize) {
      const Pack<T> values = load_unit(run, first, pixels);
      Pack<T> factors;
      if (slopes) factors = load_unit(slopes, first, pixels);
#pragma unroll
      for (int j = 0; j < kSize; ++j) {  // what lies outside the plane is zero
        const A value = math::widen(values.get(j));
        sum += value;
        product += math::widen(factors.get(j)) * value;
      }
    }
  }
  const int lanes = plane_threads < 32 ? plane_threads : 32;
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    product += __shfl_xor_sync(0xffffffffu, product, distance);
  }
  if (plane_threads > 32) {
    constexpr int kWarps = kThreads / 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x % 32 == 0) {
      scratch[warp] = sum;
      scratch[kWarps + warp] = product;
    }
    __syncthreads();
    if (thread == 0) {
      for (int w = 1; w < plane_threads / 32; ++w) {
        sum += scratch[warp + w];
        product += scratch[kWarps + warp + w];
      }
    }
  }
  if (thread != 0 || plane >= planes) return;
  pooled[plane] = sum / static_cast<A>(pixels);
  if (products) products[plane] = product;
}

template <typename T, int kVector>
__global__ void __launch_bounds__(kThreads)
    se_squeeze_channels_last_kernel(const T* __restrict__ x, const T* __restrict__ grad_y,  // [batch, pixels, channels]
                                    accumulator_t<T>* __restrict__ pooled,                  // [batch, channels]
                                    accumulator_t<T>* __restrict__ products,                // the same, or null
                                    int channels, int pixels, int tiles, int lanes) {
  using A = accumulator_t<T>;
  A* const sums = shared_memory<A>();  // [2, slots, lanes * kVector]
  const int64_t n = blockIdx.x / tiles;
  const int slots = kThreads / lanes;
  const int slot = static_cast<int>(threadIdx.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) - slot * lanes;
  const int c = (static_cast<int>(blockIdx.x - n * tiles) * lanes + lane) * kVector;
  const bool active = slot < slots && c < channels;
  A sum[kVector] = {};
  A product[kVector] = {};
  if (active) {
    const int64_t base = n * pixels * channels + c;
#pragma unroll 2
    for (int p = slot; p < pixels; p += slots) {
      const int64_t at = base + static_cast<int64_t>(p) * channels;
      if constexpr (kVector == 1) {
        const A value = math::widen(x[at]);
        sum[0] += value;
        if (grad_y) product[0] += math::widen(grad_y[at]) * value;
      } else {
        const Pack<T> values = load_pack(x + at);
        Pack<T> factors;
        if (grad_y) factors = load_pack(grad_y + at);
#pragma unroll
        for (int e = 0; e < kVector; ++e) {
          const A value = math::widen(values.get(e));
          sum[e] += value;
          if (grad_y) product[e] += math::widen(factors.get(e)) * value;
        }
      }
    }
  }
  const int width = lanes * kVector;
  if (slot < slots) {
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      sums[slot * width + lane * kVector + e] = sum[e];
      sums[(slots + slot) * width + lane * kVector + e] = product[e];
    }
  }
  __syncthreads();
  if (slot != 0 || !active) return;
#pragma unroll
  for (int e = 0; e < kVector; ++e) {
    for (int s = 1; s < slots; ++s) {
      sum[e] += sums[s * width + lane * kVector + e];
      product[e] += sums[(slots + s) * width + lane * kVector + e];
    }
    pooled[n * channels + c + e] = sum[e] / static_cast<A>(pixels);
    if (products) products[n * channels + c + e] = product[e];
  }
}

// ---------------------------------------------------------------------------------------------------- scale

struct ScaleGrid {
  int64_t count;  // elements in all
  int channels;
  int pixels;
  int image;  // elements of one
  bool channels_last;
  FastDivide by_pixels, by_image, by_channels;
};

// to = from * gates, plus where terms is not null terms / pixels. to may be from.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    se_scale_kernel(const T* from, const accumulator_t<T>* __restrict__ gates,  // [batch, channels]
                    const accumulator_t<T>* __restrict__ terms,                 // [batch, channels] or null
                    T* to, ScaleGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  constexpr int kRun = kThreads * kScaleRounds * kSize;
  const int lead = misalignment(to);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kRun - lead;  // before the tensor in the first block
  const int skipped = begin < 0 ? lead : 0;
  const int64_t start = begin + skipped;
  // One division in 64 bits per block, the others in 32 bits. inner: within the image or plane.
  const int64_t period = grid.channels_last ? grid.image : grid.pixels;
  const int64_t outer = start / period;
  const int inner = static_cast<int>(start - outer * period);
  const int64_t left = grid.count - start;
  const int run = left < kRun - skipped ? static_cast<int>(left) : kRun - skipped;
  const A pixels = static_cast<A>(grid.pixels);

#pragma unroll 1
  for (int i = threadIdx.x * kSize - skipped; i < run; i += kThreads * kSize) {
    Pack<T> pack = load_unit(from + start, i, run);
    const int at = inner + (i > 0 ? i : 0);
    int64_t plane;  // n * channels + c
    int rest;       // NCHW: pixels since the plane's first; channels_last: c
    if (grid.channels_last) {
      const int images_on = grid.by_image.quotient(at);
      const int in_image = at - images_on * grid.image;
      rest = in_image - grid.by_channels.quotient(in_image) * grid.channels;
      plane = (outer + images_on) * grid.channels + rest;
    } else {
      const int planes_on = grid.by_pixels.quotient(at);
      rest = at - planes_on * grid.pixels;
      plane = outer + planes_on;
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (i + j < 0 || i + j >= run) continue;
      A value = math::widen(pack.get(j)) * gates[plane];
      if (terms) value += terms[plane] / pixels;
      pack.set(j, math::narrow<T>(value));
      ++rest;
      if (grid.channels_last) {
        ++plane;
        if (rest == grid.channels) {  // the next pixel, of this image or the next
          rest = 0;
          const bool same_image = (inner + i + j + 1) % grid.image != 0;
          if (same_image) plane -= grid.channels;
        }
      } else if (rest == grid.pixels) {
        rest = 0;
        ++plane;
      }
    }
    store_unit(to + start, i, run, pack);
  }
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

bool is_empty(const SeGateShape& s) { return s.batch * s.channels * s.pixels == 0; }

// grad_y and products may be null.
template <typename T>
void squeeze(const T* x, const T* grad_y, accumulator_t<T>* pooled, accumulator_t<T>* products, const SeGateShape& s,
             void* stream) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  const int pixels = static_cast<int>(s.pixels);
  const int channels = static_cast<int>(s.channels);
  if (s.layout == Layout::nchw) {
    int plane_threads = 1;  // with two packs each, if there are so many
    while (plane_threads < kThreads && plane_threads * 2 * kSize < pixels) plane_threads *= 2;
    const int64_t planes = s.batch * s.channels;
    launch(se_squeeze_planes_kernel<T>,
           grid_of_blocks(math::ceil_div<int64_t>(planes, kThreads / plane_threads), "se_gate"), dim3(kThreads),
           2 * kThreads / 32 * sizeof(A), stream, x, grad_y, pooled, products, planes, pixels, plane_threads);
    return;
  }
  const auto start = [&](auto kernel, int vector) {
    const int vectors = math::ceil_div(channels, vector);
    const int lanes = vectors < 32 ? vectors : 32;
    const int tiles = math::ceil_div(vectors, lanes);
    launch(kernel, grid_of_blocks(s.batch * tiles, "se_gate"), dim3(kThreads), 2 * kThreads * vector * sizeof(A),
           stream, x, grad_y, pooled, products, channels, pixels, tiles, lanes);
  };
  if (channels % kSize == 0 && is_aligned(x) && (!grad_y || is_aligned(grad_y))) {
    start(se_squeeze_channels_last_kernel<T, kSize>, kSize);
  } else {
    start(se_squeeze_channels_last_kernel<T, 1>, 1);
  }
}

}  // namespace

void check_se_sizes(const SeGateShape& s, const char* op) {
  if (s.channels >= int64_t{1} << 29 || s.pixels >= (int64_t{1} << 29) / s.channels || s.squeezed >= int64_t{1} << 29) {
    throw std::invalid_argument(std::string(op) + ": more than 2^29 elements in an image");
  }
}

template <typename T>
void se_scale(const T* from, const accumulator_t<T>* gates, const accumulator_t<T>* terms, T* to, const SeGateShape& s,
              void* stream) {
  ScaleGrid grid;
  grid.count = s.batch * s.channels * s.pixels;
  grid.channels = static_cast<int>(s.channels);
  grid.pixels = static_cast<int>(s.pixels);
  grid.image = static_cast<int>(s.channels * s.pixels);
  grid.channels_last = s.layout == Layout::channels_last;
  grid.by_pixels = FastDivide(s.pixels);
  grid.by_image = FastDivide(s.channels * s.pixels);
  grid.by_channels = FastDivide(s.channels);
  constexpr int kSize = Pack<T>::kSize;
  const int64_t blocks = math::ceil_div<int64_t>(grid.count + kSize, kThreads * kScaleRounds * kSize);
  launch(se_scale_kernel<T>, grid_of_blocks(blocks, "se_gate"), dim3(kThreads), 0, stream, from, gates, terms, to,
         grid);
}

template <typename T>
size_t se_gate_workspace(const SeGateShape& shape) {
  return se_arrays_bytes<accumulator_t<T>>(shape);
}

// y may be x: the squeeze is done before anything is written.
template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& shape, void* workspace,
             void* stream) {
  if (is_empty(shape)) return;
  check_se_sizes(shape, "se_gate");
  using A = accumulator_t<T>;
  const SeArrays<A> arrays = se_arrays<A>(shape, workspace);
  squeeze<T>(x, nullptr, arrays.pooled, nullptr, shape, stream);
  se_excite(gate, arrays, shape, stream);
  se_scale<T>(x, arrays.gates, nullptr, y, shape, stream);
}

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& shape, void* workspace,
                      void* stream) {
  using A = accumulator_t<T>;
  const SeArrays<A> arrays = se_arrays<A>(shape, workspace);
  if (is_empty(shape)) {
    SeGateShape nothing = shape;
    nothing.batch = 0;
    se_excite_backward(gate, arrays, gradient, nothing, stream);
    return;
  }
  check_se_sizes(shape, "se_gate_backward");
  squeeze(x, grad_y, arrays.pooled, arrays.slopes, shape, stream);
  se_excite_backward(gate, arrays, gradient, shape, stream);
  if (grad_x) se_scale<T>(grad_y, arrays.gates, arrays.grad_pooled, grad_x, shape, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                    \
  template void se_scale<T>(const T*, const accumulator_t<T>*, const accumulator_t<T>*, T*, const SeGateShape&, \
                            void*);                                                                             \
  template size_t se_gate_workspace<T>(const SeGateShape&);                                                     \
  template void se_gate<T>(const T*, const SeGate<accumulator_t<T>>&, T*, const SeGateShape&, void*, void*);    \
  template void se_gate_backward<T>(const T*, const T*, const SeGate<accumulator_t<T>>&, T*,                    \
                                    const SeGateGradient<accumulator_t<T>>&, const SeGateShape&, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
