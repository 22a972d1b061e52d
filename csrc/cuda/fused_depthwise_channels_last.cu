// Depthwise convolutions of the splits of a channels-last image with what follows them: formulas in
// fused_depthwise.cuh.
//   block  : the same run of channels of every split;  thread: a few adjacent results of one row at a time
//   shared : one split's results as T (chained: two splits'), its weights, and per group of the gate m and t
//   traffic: writes y once; reads x once from memory, K/stride times from L1
#include "cuda/fused_depthwise.cuh"

namespace frnet {
namespace cuda {

// A thread computes kVector channels of P::kColumns adjacent targets of one row at a time: a pack of them, or one where
// the channels of a block do not fall into packs.
template <typename T, typename P, int kVector>
__global__ void __launch_bounds__(kFusedThreads, 2)
    fused_depthwise_channels_last_kernel(const T* __restrict__ x,  // [batch, y.sources, x.sources, channels]
                                         FusedFactors<T> factors,
                                         T* __restrict__ y,  // [batch, y.targets, x.targets, channels]
                                         FusedGrid grid) {
  using A = accumulator_t<T>;
  constexpr int kTaps = P::kKernel * P::kKernel;
  A* const weights = shared_memory<A>();  // [kTaps + kExtra, block_channels]
  A* const arrays = weights + grid.weights;
  T* results = reinterpret_cast<T*>(arrays + grid.group_values);  // [target pixels, pitch]
  T* before = results + (grid.chained ? grid.region : 0);         // of the split before

  const int64_t n = blockIdx.x / grid.blocks_per_image;
  const int begin = (blockIdx.x - static_cast<int>(n) * grid.blocks_per_image) * grid.block_channels;
  const int left = grid.split_channels - begin;
  const int channels = left < grid.block_channels ? left : grid.block_channels;
  const int lanes = static_cast<int>(grid.by_lanes.divisor);
  const int width = grid.block_channels;
  const int64_t source_plane = static_cast<int64_t>(grid.y.sources) * grid.x.sources;
  const int64_t target_plane = static_cast<int64_t>(grid.y.targets) * grid.x.targets;
  const auto load = [](const T* from, A(&values)[kVector]) {
    if constexpr (kVector == 1) {
      values[0] = math::widen(*from);
    } else {
      const Pack<T> pack = load_pack(from);
#pragma unroll
      for (int e = 0; e < kVector; ++e) values[e] = math::widen(pack.get(e));
    }
  };

  for (int split = 0; split < grid.splits; ++split) {
    const int first_channel = split * grid.split_channels + begin;
    for (int i = threadIdx.x; i < channels * (kTaps + kExtra); i += blockDim.x) {
      const int c = i / (kTaps + kExtra);
      const int factor = i - c * (kTaps + kExtra);
      weights[factor * width + c] = channel_factor<kTaps>(factors, first_channel + c, factor);
    }
    __syncthreads();

    const T* const source = x + n * source_plane * grid.channels + first_channel;
    for (int i = threadIdx.x; i < grid.y.targets * grid.x.patches * lanes; i += blockDim.x) {
      const int item = grid.by_lanes.quotient(i);
      const int c = (i - item * lanes) * kVector;  // within the block
      if (c >= channels) continue;
      const int row = grid.by_patches.quotient(item);
      const int patch = item - row * grid.x.patches;
      const int first_source_column = patch * P::kColumnStep + grid.x.origin;

      A sums[P::kColumns * kVector];
#pragma unroll
      for (int v = 0; v < P::kColumns * kVector; ++v) sums[v] = weights[(kTaps + kBias) * width + c + v % kVector];
#pragma unroll(P::kKernel == 3 ? 3 : 1)
      for (int ky = 0; ky < P::kKernel; ++ky) {
        const int source_row = row * P::kStride - grid.padding_h + ky;
        if (static_cast<unsigned>(source_row) >= static_cast<unsigned>(grid.y.sources)) continue;
        A taps[P::kKernel][kVector];
#pragma unroll
        for (int kx = 0; kx < P::kKernel; ++kx) {
#pragma unroll
          for (int e = 0; e < kVector; ++e) taps[kx][e] = weights[(ky * P::kKernel + kx) * width + c + e];
        }
#pragma unroll
        for (int j = 0; j < P::kWindowColumns; ++j) {
          const int source_column = first_source_column + j;
          if (static_cast<unsigned>(source_column) >= static_cast<unsigned>(grid.x.sources)) continue;
          const int pixel = source_row * grid.x.sources + source_column;
          A values[kVector];
          load(source + static_cast<int64_t>(pixel) * grid.channels + c, values);
          if (grid.chained && split > 0) {
            A added[kVector];
            load(before + pixel * grid.pitch + c, added);
#pragma unroll
            for (int e = 0; e < kVector; ++e) values[e] += added[e];
          }
#pragma unroll
          for (int v = 0; v < P::kColumns; ++v) {
            const int kx = P::tap(v, j);
            if (kx < 0) continue;
#pragma unroll
            for (int e = 0; e < kVector; ++e) sums[v * kVector + e] += taps[kx][e] * values[e];
          }
        }
      }
#pragma unroll
      for (int v = 0; v < P::kColumns * kVector; ++v) {
        const A* const factor = weights + kTaps * width + c + v % kVector;
        sums[v] = factor[kScale * width] * sums[v] + factor[kShift * width];
      }
      activate_all(grid.activation, sums);
#pragma unroll
      for (int v = 0; v < P::kColumns; ++v) {
        const int column = patch * P::kColumns + v;
        if (column >= grid.x.targets) continue;
        T* const to = results + (row * grid.x.targets + column) * grid.pitch + c;
        if constexpr (kVector == 1) {
          *to = math::narrow<T>(sums[v]);
        } else {
          Pack<T> pack;
#pragma unroll
          for (int e = 0; e < kVector; ++e) pack.set(e, math::narrow<T>(sums[v * kVector + e]));
          store_pack(to, pack);
        }
      }
    }
    __syncthreads();
    finish_split(factors, grid, Box{static_cast<int>(target_plane), channels, grid.channels},
                 y + n * target_plane * grid.channels + first_channel, results, grid.pitch, first_channel, channels,
                 arrays);
    if (grid.chained) {
      T* const next = before;
      before = results;
      results = next;
    }
  }
}

// ------------------------------------------------------------------------------------------------- launcher

namespace {

// As in sge_gate: two sectors of memory per pixel.
constexpr int64_t kWantedRowBytes = 64;

template <typename T, typename P>
bool launch_channels_last(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* stream) {
  using A = accumulator_t<T>;
  constexpr int kSize = Pack<T>::kSize;
  const DepthwiseConv2dShape& s = shape.conv;
  FusedGrid grid = {};
  set_patch_axes<P>(s, grid.y, grid.x);
  grid.padding_h = static_cast<int>(s.padding_h);
  grid.by_patches = FastDivide(grid.x.patches);

  const int64_t pixels = s.out_height * s.out_width;
  const int64_t unit = shape.groups > 0 ? s.channels / shape.groups : 1;
  if (unit * pixels > (int64_t{1} << 17)) return false;
  const bool tensors_pack =
      s.channels % kSize == 0 && s.channels / shape.splits % kSize == 0 && is_aligned(conv.x) && is_aligned(y);
  const auto shared_bytes = [&](int64_t units) {
    set_fused_block(conv, shape, units, grid);
    grid.weights =
        static_cast<int>(shared_bytes_of<A>(grid.block_channels * (P::kKernel * P::kKernel + kExtra)) / sizeof(A));
    grid.pitch = staged_pitch<T>(2, grid.block_channels, true);
    grid.region = static_cast<int>(pixels) * grid.pitch;
    return static_cast<size_t>(grid.weights + grid.group_values) * sizeof(A) +
           static_cast<size_t>(shape.chained ? 2 : 1) * grid.region * sizeof(T);
  };

  // Enough channels to fill the sectors, and the threads where planes are small.
  const int64_t items = static_cast<int64_t>(grid.y.targets) * grid.x.patches;
  int64_t wanted = math::ceil_div<int64_t>(kFusedThreads, items) * kSize;
  if (wanted * static_cast<int64_t>(sizeof(T)) < kWantedRowBytes) wanted = kWantedRowBytes / sizeof(T);
  const int64_t most_units = limit_fused_units(math::ceil_div(wanted, unit), shape, false);
  const SharedBudget budget = shared_budget();
  const auto choose = [&](size_t most_bytes, bool packs) {
    for (int64_t units = most_units; units >= 1; --units) {
      if (packs && (!tensors_pack || units * unit % kSize != 0)) continue;
      if (shared_bytes(units) <= most_bytes) return true;
    }
    return false;
  };
  const bool packs = choose(budget.preferred, true) || choose(budget.most, true);
  if (!packs && !choose(budget.preferred, false) && !choose(budget.most, false)) return false;
  const size_t bytes = shared_bytes(grid.block_channels / unit);
  grid.by_units = FastDivide(units_of<T>(grid.block_channels, packs));
  grid.by_lanes = FastDivide(packs ? grid.block_channels / kSize : grid.block_channels);
  const dim3 blocks = grid_of_blocks(s.batch * grid.blocks_per_image, "depthwise_conv2d");
  const auto start = [&](auto kernel) {
    launch(kernel, blocks, fused_threads(grid), bytes, stream, conv.x, factors_of(conv), y, grid);
  };
  if (packs) {
    start(fused_depthwise_channels_last_kernel<T, P, kSize>);
  } else {
    start(fused_depthwise_channels_last_kernel<T, P, 1>);
  }
  return true;
}

}  // namespace

template <typename T>
bool fused_depthwise_channels_last(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape,
                                   void* stream) {
  if (planes_are_too_large(shape.conv)) return false;
  return with_fast_path(shape.conv, [&](auto kernel, auto stride) {
    constexpr int S = decltype(stride)::value;
    using P = Patch<decltype(kernel)::value, S, false, 1, S == 2 ? 2 : 4>;
    return launch_channels_last<T, P>(conv, y, shape, stream);
  });
}

#define FRNET_INSTANTIATE(T) \
  template bool fused_depthwise_channels_last<T>(const HierarchicalConv<T>&, T*, const HierarchicalShape&, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
