// One row of a depthwise convolution on lane images (cpu/lanes.h): forward, input gradient, weight gradient.
//
// The images carry the zero padding with them, so that no row meets an edge. K and S are the size and stride of a
// square kernel without dilation; K = 0 stands for any kernel.
#pragma once

#include <cstdint>

#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

// Kernels with more taps go the direct way.
inline constexpr int64_t kMaxTaps = 49;
// Results along x that share what they read.
inline constexpr int kStrip = 4;

// Calls strip(x) for strips of kCount results over [0, width), the last moved back to end with the row, or single(x)
// where the row is shorter than a strip.
template <int kCount, typename Strip, typename Single>
FRNET_HD void for_strips(int64_t width, const Strip& strip, const Single& single) {
  if (width < kCount) {
    for (int64_t x = 0; x < width; ++x) single(x);
    return;
  }
  for (int64_t x = 0; x < width; x += kCount) strip(min(x, width - kCount));
}

// results[0, width) of one row. `from` is the padded image under the row's first result and first tap, weight
// [taps][lane].
template <typename A, int K, int S>
FRNET_HD void conv_row(const A* from, int64_t pitch, const A* weight, Vec<A> bias, A* results, int64_t width,
                       const DepthwiseConv2dShape& s) {
  constexpr int64_t kL = kLanes<A>;
  if constexpr (K > 0) {
    const auto run = [&](int64_t x, auto count) {
      constexpr int kCount = decltype(count)::value;
      constexpr int kColumns = (kCount - 1) * S + K;
      const A* base = from + x * S * kL;
      Vec<A> sum[kCount];
#pragma GCC unroll 4
      for (int t = 0; t < kCount; ++t) sum[t] = bias;
#pragma GCC unroll 5
      for (int ky = 0; ky < K; ++ky) {
        Vec<A> w[K];
#pragma GCC unroll 5
        for (int kx = 0; kx < K; ++kx) w[kx] = load(weight + (ky * K + kx) * kL);
#pragma GCC unroll 16
        for (int column = 0; column < kColumns; ++column) {
          const Vec<A> value = load(base + (ky * pitch + column) * kL);
#pragma GCC unroll 5
          for (int kx = 0; kx < K; ++kx) {
            const int t = column - kx;
            if (t >= 0 && t % S == 0 && t / S < kCount) sum[t / S] += w[kx] * value;
          }
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kCount; ++t) store(results + (x + t) * kL, sum[t]);
    };
    for_strips<kStrip>(
        width, [&](int64_t x) { run(x, std::integral_constant<int, kStrip>{}); },
        [&](int64_t x) { run(x, std::integral_constant<int, 1>{}); });
  } else {
    for (int64_t x = 0; x < width; ++x) {
      Vec<A> sum = bias;
      for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
        const A* row = from + (ky * s.dilation_h * pitch + x * s.stride_w) * kL;
        for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
          sum += load(weight + (ky * s.kernel_w + kx) * kL) * load(row + kx * s.dilation_w * kL);
        }
      }
      store(results + x * kL, sum);
    }
  }
}

// The rows of results that a row of the padded input feeds, and the kernel row through which it does.
template <int S>
struct FeedingRows {
  int64_t count = 0;
  int64_t row[kMaxTaps];
  int64_t tap[kMaxTaps];

  // padded_row = result row * stride + tap * dilation
  FeedingRows(int64_t padded_row, const DepthwiseConv2dShape& s) {
    for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
      const int64_t distance = padded_row - ky * s.dilation_h;
      if (distance < 0) break;
      const int64_t stride = S > 0 ? S : s.stride_h;
      if (distance % stride != 0 || distance / stride >= s.out_height) continue;
      row[count] = distance / stride;
      tap[count++] = ky;
    }
  }
};

// Columns of zeros that the gradient's lane image needs before its first column.
FRNET_HD int64_t gradient_margin(const DepthwiseConv2dShape& s) {
  return s.dilation_w == 1 ? (s.kernel_w - 1) / s.stride_w : 0;
}

// One row of the input's gradient, for padded columns [first, last), first a multiple of the stride; up to stride - 1
// columns more may be written. Rows of the gradient's image are given by row_at(result row); its column 0 stands for
// result column `origin`.
template <typename A, int K, int S, typename RowAt>
FRNET_HD void gradient_row(const FeedingRows<S>& rows, const RowAt& row_at, int64_t origin, const A* weight, A* results,
                           int64_t first, int64_t last, const DepthwiseConv2dShape& s) {
  constexpr int64_t kL = kLanes<A>;
  if constexpr (K > 0) {
    // Padded column S q + r is fed by tap r + S j of result column q - j.
    constexpr int kReach = (K - 1) / S;
    const int64_t q_first = first / S, count = math::ceil_div(last - first, int64_t{S});
    const auto run = [&](int64_t q, auto strip) {
      constexpr int kCount = decltype(strip)::value;
      constexpr int kColumns = kCount + kReach;
      Vec<A> sum[kCount][S] = {};
      for (int64_t i = 0; i < rows.count; ++i) {
        const A* grad = row_at(rows.row[i]) + (q_first + q - kReach - origin) * kL;
        const A* w = weight + rows.tap[i] * K * kL;
#pragma GCC unroll 16
        for (int column = 0; column < kColumns; ++column) {
          const Vec<A> value = load(grad + column * kL);
#pragma GCC unroll 4
          for (int t = 0; t < kCount; ++t) {
            const int j = t + kReach - column;
            if (j < 0) continue;
#pragma GCC unroll 2
            for (int r = 0; r < S; ++r) {
              if (r + S * j < K) sum[t][r] += load(w + (r + S * j) * kL) * value;
            }
          }
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kCount; ++t) {
#pragma GCC unroll 2
        for (int r = 0; r < S; ++r) store(results + (S * (q + t) + r) * kL, sum[t][r]);
      }
    };
    constexpr int kCount = kStrip / S;
    for_strips<kCount>(
        count, [&](int64_t q) { run(q, std::integral_constant<int, kCount>{}); },
        [&](int64_t q) { run(q, std::integral_constant<int, 1>{}); });
  } else {
    for (int64_t x = first; x < last; ++x) {
      Vec<A> sum = {};
      for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
        const int64_t distance = x - kx * s.dilation_w;
        if (distance < 0) break;
        const int64_t column = distance / s.stride_w;
        if (column * s.stride_w != distance || column >= s.out_width) continue;
        for (int64_t i = 0; i < rows.count; ++i) {
          sum +=
              load(weight + (rows.tap[i] * s.kernel_w + kx) * kL) * load(row_at(rows.row[i]) + (column - origin) * kL);
        }
      }
      store(results + (x - first) * kL, sum);
    }
  }
}

// Adds one row of results to sums [taps][lane]: sums[k] += gradient * what tap k read.
template <typename A, int K, int S>
FRNET_HD void correlate_row(const A* grad, const A* from, int64_t pitch, A* sums, int64_t width,
                            const DepthwiseConv2dShape& s) {
  constexpr int64_t kL = kLanes<A>;
  if constexpr (K > 0) {
    // As many rows of taps at a time as registers hold.
    constexpr int kRows = K == 3 ? 3 : 1;
    for (int ky = 0; ky < K; ky += kRows) {
      Vec<A> sum[kRows * K];
#pragma GCC unroll 16
      for (int k = 0; k < kRows * K; ++k) sum[k] = load(sums + (ky * K + k) * kL);
      const auto run = [&](int64_t x, auto count) {
        constexpr int kCount = decltype(count)::value;
        constexpr int kColumns = (kCount - 1) * S + K;
        Vec<A> g[kCount];
#pragma GCC unroll 4
        for (int t = 0; t < kCount; ++t) g[t] = load(grad + (x + t) * kL);
#pragma GCC unroll 4
        for (int row = 0; row < kRows; ++row) {
          const A* base = from + ((ky + row) * pitch + x * S) * kL;
#pragma GCC unroll 16
          for (int column = 0; column < kColumns; ++column) {
            const Vec<A> value = load(base + column * kL);
#pragma GCC unroll 5
            for (int kx = 0; kx < K; ++kx) {
              const int t = column - kx;
              if (t >= 0 && t % S == 0 && t / S < kCount) sum[row * K + kx] += g[t / S] * value;
            }
          }
        }
      };
      int64_t x = 0;
      for (; x + kStrip <= width; x += kStrip) run(x, std::integral_constant<int, kStrip>{});
      for (; x < width; ++x) run(x, std::integral_constant<int, 1>{});
#pragma GCC unroll 16
      for (int k = 0; k < kRows * K; ++k) store(sums + (ky * K + k) * kL, sum[k]);
    }
  } else {
    for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
      for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
        A* to = sums + (ky * s.kernel_w + kx) * kL;
        const A* row = from + (ky * s.dilation_h * pitch + kx * s.dilation_w) * kL;
        Vec<A> sum = load(to);
        for (int64_t x = 0; x < width; ++x) sum += load(grad + x * kL) * load(row + x * s.stride_w * kL);
        store(to, sum);
      }
    }
  }
}

}  // namespace frnet::cpu::FRNET_ISA
