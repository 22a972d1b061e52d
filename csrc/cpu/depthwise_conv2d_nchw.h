// Depthwise convolution over NCHW planes: the window that all three passes work through, and the forward pass.
//
// Work goes tile by tile through a window on the stack: the part of the zero-padded plane that a tile of
// outputs needs, widened to the accumulation type and split by stride phase, so that
// window[phase_y][phase_x][r][c] is padded row r * stride_h + phase_y, padded column c * stride_w + phase_x.
// In it every tap of every stride is a contiguous, unmasked read, and a whole tile can be computed as one
// flat run of pitch-wide rows. The window's border is zeroed once per tile position; planes that share
// the position only overwrite its interior.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/depthwise_conv2d.h"
#include "cpu/depthwise_conv2d_direct.h"
#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA::nchw {

using Shape = DepthwiseConv2dShape;

// 32 KiB for the window and 16 for the results keep a tile within the first-level cache or just past it;
// a 60x60 float plane is one tile.
inline constexpr int64_t kWindowBytes = 32 * 1024;
inline constexpr int64_t kResultBytes = 16 * 1024;
// Kernels with more rows or columns go the direct way.
inline constexpr int64_t kMaxKernel = 32;

// Elements that runs read or write past their end.
template <typename A>
inline constexpr int64_t kSlack = 4 * kLanes<A>;

// How a plane of results is cut into tiles whose windows fit.
struct Tiling {
  int64_t tile_h, tile_w;    // results per tile
  int64_t count_h, count_w;  // tiles
  int64_t halo_h, halo_w;    // rows and columns of a phase that a tile reads beyond its own
  bool fits;                 // false: the kernel reaches too far for any window
};

template <typename A>
Tiling make_tiling(int64_t height, int64_t width, int64_t halo_h, int64_t halo_w, int64_t phases,
                   int64_t result_planes) {
  const int64_t slack = kSlack<A> + halo_w;
  const int64_t window = kWindowBytes / static_cast<int64_t>(sizeof(A)) - slack;
  const int64_t result = kResultBytes / static_cast<int64_t>(sizeof(A)) / result_planes - slack;
  const auto rows_that_fit = [&](int64_t tile_w) {
    const int64_t pitch = tile_w + halo_w;
    return min(window / (phases * pitch) - halo_h, result / pitch);
  };
  Tiling tiling{0, width, 0, 0, halo_h, halo_w, true};
  while (rows_that_fit(tiling.tile_w) < min(height, 4) && tiling.tile_w > kLanes<A>) {
    tiling.tile_w = max(kLanes<A>, (tiling.tile_w + 1) / 2);
  }
  tiling.tile_h = min(height, rows_that_fit(tiling.tile_w));
  tiling.fits = tiling.tile_h >= 1;
  if (tiling.fits) {
    tiling.count_h = math::ceil_div(height, tiling.tile_h);
    tiling.count_w = math::ceil_div(width, tiling.tile_w);
  }
  return tiling;
}

template <int kLanes, int kFirst>
struct EveryOther {
  static constexpr int lane(int i) { return 2 * i + kFirst; }
};

// The part of a zero-padded plane under one tile.
template <typename T>
struct Window {
  using A = accumulator_t<T>;

  A* data;
  int64_t phases_h, phases_w;    // strides of the convolution it serves
  int64_t rows, pitch;           // of one phase
  int64_t cols;                  // columns of the pitch that may be filled; the rest stay zero
  int64_t first_row, first_col;  // source coordinates of row 0, column 0 of phase (0, 0)
  int64_t height, width;         // of the source plane

  int64_t phase_size() const { return rows * pitch; }

  // margin: columns that a run may read past the last row, beyond the slack of its vectors.
  void zero(int64_t margin) {
    const int64_t count = phases_h * phases_w * phase_size() + margin + kSlack<A>;
    std::memset(data, 0, static_cast<size_t>(count) * sizeof(A));
  }

  // Writes the interior; the border stays as zero() left it.
  void fill(const T* plane) {
    for (int64_t py = 0; py < phases_h; ++py) {
      const auto r = math::valid_outputs(first_row + py, height, rows, phases_h);
      A* phase = data + py * phases_w * phase_size();
      for (int64_t row = r.begin; row < r.end; ++row) {
        fill_row(phase + row * pitch, plane + (first_row + py + row * phases_h) * width);
      }
    }
  }

 private:
  // One row of the source to one row of each of its phases.
  void fill_row(A* to, const T* from) const {
    if (phases_w == 2) return fill_row_pair(to, from);
    for (int64_t px = 0; px < phases_w; ++px) {
      const auto c = math::valid_outputs(first_col + px, width, cols, phases_w);
      A* out = to + px * phase_size();
      const T* in = from + first_col + px;
      int64_t i = c.begin;
      if (phases_w == 1) {
        for (; i + kLanes<A> <= c.end; i += kLanes<A>) store(out + i, load(in + i));
      }
      for (; i < c.end; ++i) out[i] = math::widen(in[i * phases_w]);
    }
  }

  // Stride 2: neighbours go to different phases, so both rows are filled from whole vectors of the source.
  void fill_row_pair(A* to, const T* from) const {
    const auto c0 = math::valid_outputs(first_col, width, cols, int64_t{2});
    const auto c1 = math::valid_outputs(first_col + 1, width, cols, int64_t{2});
    const int64_t start0 = first_col + 2 * c0.begin, start1 = first_col + 1 + 2 * c1.begin;
    const bool swapped = start1 < start0;  // the first pixel belongs to phase 1
    A* even = swapped ? to + phase_size() + c1.begin : to + c0.begin;
    A* odd = swapped ? to + c0.begin : to + phase_size() + c1.begin;
    const int64_t evens = swapped ? c1.end - c1.begin : c0.end - c0.begin;
    const int64_t odds = swapped ? c0.end - c0.begin : c1.end - c1.begin;
    const T* in = from + min(start0, start1);
    const int64_t pairs = min(evens, odds);
    int64_t i = 0;
    for (; pairs >= kLanes<A> && i < pairs; i += kLanes<A>) {
      const int64_t at = min(i, pairs - kLanes<A>);  // the last vectors end with the row
      const Vec<A> low = load(in + 2 * at), high = load(in + 2 * at + kLanes<A>);
      store(even + at, shuffle<EveryOther<kLanes<A>, 0>>(low, high));
      store(odd + at, shuffle<EveryOther<kLanes<A>, 1>>(low, high));
    }
    for (i = min(i, pairs); i < max(evens, odds); ++i) {
      if (i < evens) even[i] = math::widen(in[2 * i]);
      if (i < odds) odd[i] = math::widen(in[2 * i + 1]);
    }
  }
};

// Along one axis, the taps that one phase of results meets and where they lie in the window.
struct AxisTaps {
  int64_t count = 0;
  int64_t offset[kMaxKernel];
  int64_t tap[kMaxKernel];
};

// results[i] = bias + sum over taps of weight * window, for i in [0, count) and up to four vectors past it.
template <typename A>
FRNET_HD void run_any(const A* window, const AxisTaps& rows, const AxisTaps& cols, const A* weight, int64_t kernel_w,
                      A bias, A* results, int64_t count) {
  constexpr int kUnroll = 4;
  for (int64_t i = 0; i < count; i += kUnroll * kLanes<A>) {
    Vec<A> sum[kUnroll];
    for (int u = 0; u < kUnroll; ++u) sum[u] = broadcast(bias);
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t c = 0; c < cols.count; ++c) {
        const A w = weight[rows.tap[r] * kernel_w + cols.tap[c]];
        const A* from = window + rows.offset[r] + cols.offset[c] + i;
        for (int u = 0; u < kUnroll; ++u) sum[u] += w * load(from + u * kLanes<A>);
      }
    }
    for (int u = 0; u < kUnroll; ++u) store(results + i + u * kLanes<A>, sum[u]);
  }
}

// The same for a KxK kernel at stride S without dilation, whose taps' places are known when compiling.
// kExact: exactly count results (at least one vector of them), so that they may go straight into a row of y.
template <typename A, int K, int S, bool kExact>
FRNET_HD void run_square(const A* window, int64_t pitch, int64_t phase_size, const A* weight, A bias, A* results,
                         int64_t count) {
  const A* row[K][S];
  for (int ky = 0; ky < K; ++ky) {
    for (int px = 0; px < S; ++px) row[ky][px] = window + ((ky % S) * S + px) * phase_size + (ky / S) * pitch;
  }
  Vec<A> w[K * K];
  for (int k = 0; k < K * K; ++k) w[k] = broadcast(weight[k]);
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    if (kExact && i + kLanes<A> > count) i = count - kLanes<A>;
    Vec<A> sum = broadcast(bias);
    for (int ky = 0; ky < K; ++ky) {
      for (int kx = 0; kx < K; ++kx) sum += w[ky * K + kx] * load(row[ky][kx % S] + kx / S + i);
    }
    store(results + i, sum);
  }
}

// Planes [begin, end) of the list (tile, plane) with the plane running fastest. flip: the kernel is turned by
// 180 degrees, which makes this the input gradient of a stride-1 convolution. K = 0: any kernel and stride.
template <typename T, int K, int S>
void forward_items(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s, const Tiling& tiling,
                   int64_t begin, int64_t end) {
  using A = accumulator_t<T>;
  alignas(kVectorBytes) A window_data[kWindowBytes / sizeof(A)];
  alignas(kVectorBytes) A results[kResultBytes / sizeof(A)];
  A w[K > 0 ? K * K : kMaxKernel * kMaxKernel];

  const int64_t planes = s.batch * s.channels;
  const int64_t taps = s.kernel_h * s.kernel_w;
  Window<T> window{window_data, s.stride_h, s.stride_w, 0, 0, 0, 0, 0, s.in_height, s.in_width};
  AxisTaps row_taps, col_taps;

  int64_t tile = -1;
  int64_t oy0 = 0, ox0 = 0, tile_h = 0, tile_w = 0;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t plane = item % planes;
    const int64_t c = plane % s.channels;
    if (item / planes != tile) {
      tile = item / planes;
      oy0 = tile / tiling.count_w * tiling.tile_h;
      ox0 = tile % tiling.count_w * tiling.tile_w;
      tile_h = min(tiling.tile_h, s.out_height - oy0);
      tile_w = min(tiling.tile_w, s.out_width - ox0);
      window.rows = tile_h + tiling.halo_h;
      window.pitch = window.cols = tile_w + tiling.halo_w;
      window.first_row = oy0 * s.stride_h - s.padding_h;
      window.first_col = ox0 * s.stride_w - s.padding_w;
      window.zero(tiling.halo_w);
      if constexpr (K == 0) {
        row_taps.count = s.kernel_h;
        for (int64_t k = 0; k < s.kernel_h; ++k) {
          const int64_t at = k * s.dilation_h;
          row_taps.tap[k] = k;
          row_taps.offset[k] = at % s.stride_h * s.stride_w * window.phase_size() + at / s.stride_h * window.pitch;
        }
        col_taps.count = s.kernel_w;
        for (int64_t k = 0; k < s.kernel_w; ++k) {
          const int64_t at = k * s.dilation_w;
          col_taps.tap[k] = k;
          col_taps.offset[k] = at % s.stride_w * window.phase_size() + at / s.stride_w;
        }
      }
    }
    for (int64_t k = 0; k < taps; ++k) w[k] = math::widen(weight[c * taps + (flip ? taps - 1 - k : k)]);
    const A b = bias == nullptr ? A(0) : math::widen(bias[c]);
    window.fill(x + plane * s.in_height * s.in_width);
    T* to = y + (plane * s.out_height + oy0) * s.out_width + ox0;

    if constexpr (K > 0 && sizeof(T) == sizeof(A)) {
      if (2 * tile_w >= 3 * kLanes<A>) {  // rows that fill their vectors go straight to y
        for (int64_t row = 0; row < tile_h; ++row) {
          run_square<A, K, S, true>(window.data + row * window.pitch, window.pitch, window.phase_size(), w, b,
                                    to + row * s.out_width, tile_w);
        }
        continue;
      }
    }
    const int64_t count = tile_h * window.pitch;
    if constexpr (K > 0) {
      run_square<A, K, S, false>(window.data, window.pitch, window.phase_size(), w, b, results, count);
    } else {
      run_any(window.data, row_taps, col_taps, w, s.kernel_w, b, results, count);
    }
    for (int64_t row = 0; row < tile_h; ++row) {
      for (int64_t col = 0; col < tile_w; ++col) {
        to[row * s.out_width + col] = math::narrow<T>(results[row * window.pitch + col]);
      }
    }
  }
}

template <typename T>
void forward(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const int64_t halo_h = (s.kernel_h - 1) * s.dilation_h / s.stride_h;
  const int64_t halo_w = (s.kernel_w - 1) * s.dilation_w / s.stride_w;
  Tiling tiling = make_tiling<A>(s.out_height, s.out_width, halo_h, halo_w, s.stride_h * s.stride_w, 1);
  const int64_t planes = s.batch * s.channels;
  if (!tiling.fits || s.kernel_h > kMaxKernel || s.kernel_w > kMaxKernel) {
    return direct::forward(x, weight, bias, flip, y, s, parallel);
  }
  const auto run = [&](int64_t begin, int64_t end) {
    with_square_kernel(s, [&](auto k, auto stride) {
      forward_items<T, decltype(k)::value, decltype(stride)::value>(x, weight, bias, flip, y, s, tiling, begin, end);
    });
  };
  parallel(planes * tiling.count_h * tiling.count_w, math::ceil_div(kOutputsPerThread, tiling.tile_h * tiling.tile_w),
           run);
}

}  // namespace frnet::cpu::FRNET_ISA::nchw
