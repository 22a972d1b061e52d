// The inner loop of every dense convolution: some pixels, kPanel blocks of the result, all channels of x.
#pragma once

#include "cpu/vec.h"
#include "runtime/kernels.h"

namespace frnet::cpu::FRNET_ISA {

using runtime::kPanel;
using runtime::Segment;

inline constexpr int kLane = kLanes<float>;

// As many pixels as leave registers for the weights of a panel and one value of x.
#if defined(__AVX512F__)
inline constexpr int kMaxPixels = 14;
#else
inline constexpr int kMaxPixels = 6;
#endif

inline constexpr int kAhead = 24;  // channels whose weights are fetched before they are needed

// acc[p][n] = bias + sum over the channels. kFetch: whether these weights are read for the first time. kStep: floats
// from a pixel of x to the next.
template <bool kFetch, int kPixels, int kBlocks, int kStep>
FRNET_HD void accumulate(Vec<float> (&acc)[kPixels][kBlocks], const Segment* segments, int count, int64_t offset,
                         const float* w, const float* bias) {
#pragma GCC unroll 14
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 2
    for (int n = 0; n < kBlocks; ++n) acc[p][n] = load(bias + n * kLane);
  }
  for (int s = 0; s < count; ++s) {
    const float* block = segments[s].x + offset;
    for (int b = 0; b < segments[s].blocks; ++b, block += segments[s].block_stride) {
      const int valid = segments[s].valid[b];
      for (int k = 0; k < valid; ++k, w += kPanel * kLane) {
        Vec<float> wv[kBlocks];
#pragma GCC unroll 2
        for (int n = 0; n < kBlocks; ++n) {
          wv[n] = load(w + n * kLane);
          if (kFetch) __builtin_prefetch(w + (kAhead * kPanel + n) * kLane);
        }
#pragma GCC unroll 14
        for (int p = 0; p < kPixels; ++p) {
          const Vec<float> xv = broadcast(block[p * kStep + k]);
#pragma GCC unroll 2
          for (int n = 0; n < kBlocks; ++n) acc[p][n] += xv * wv[n];
        }
      }
    }
  }
}

// An activation as the bounds that it keeps values in; a NaN passes through.
struct Bounds {
  Vec<float> low, high;

  explicit Bounds(Activation activation)
      : low(broadcast(activation == Activation::none ? -__builtin_inff() : 0.0f)),
        high(broadcast(activation == Activation::relu6 ? 6.0f : __builtin_inff())) {}

  FRNET_HD Vec<float> operator()(Vec<float> v) const {
#if defined(__AVX512F__)
    // (GCC 12 warns of the unmasked ones' own, undefined, source.)
    const __m512 above = _mm512_maskz_max_ps(0xffff, reinterpret_cast<__m512>(low), reinterpret_cast<__m512>(v));
    return reinterpret_cast<Vec<float>>(_mm512_maskz_min_ps(0xffff, reinterpret_cast<__m512>(high), above));
#elif defined(__AVX2__)
    const __m256 above = _mm256_max_ps(reinterpret_cast<__m256>(low), reinterpret_cast<__m256>(v));
    return reinterpret_cast<Vec<float>>(_mm256_min_ps(reinterpret_cast<__m256>(high), above));
#else
    v = v < low ? low : v;
    return v > high ? high : v;
#endif
  }
};

// Calls run(integral_constant<int, blocks>) with how many blocks of a panel there are, where so many are left.
template <typename F>
FRNET_HD void with_blocks(int64_t left, const F& run) {
  static_assert(kPanel == 2, "a panel is whole or one block");
  if (left >= kPanel) {
    run(std::integral_constant<int, kPanel>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

// Calls run(first, integral_constant<int, pixels>) for tiles of nearly equal size, kPixels at most, that cover [first,
// last).
template <int kPixels = kMaxPixels, typename F>
void for_tiles(int64_t first, int64_t last, const F& run) {
  int64_t left = last - first, tiles = (left + kPixels - 1) / kPixels;
  for (; tiles > 0; --tiles) {
    const int64_t pixels = (left + tiles - 1) / tiles;
    const auto dispatch = [&](auto size, const auto& next) {
      if constexpr (decltype(size)::value > 0) {
        if (pixels == decltype(size)::value) {
          run(first, size);
        } else {
          next(std::integral_constant<int, decltype(size)::value - 1>{}, next);
        }
      }
    };
    dispatch(std::integral_constant<int, kPixels>{}, dispatch);
    first += pixels;
    left -= pixels;
  }
}

}  // namespace frnet::cpu::FRNET_ISA
