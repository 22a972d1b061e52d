// Gradients of the depthwise convolution over NCHW planes, through the same window as the forward pass.
#pragma once

#include "cpu/depthwise_conv2d_nchw.h"

namespace frnet::cpu::FRNET_ISA::nchw {

// Images whose contributions to a weight gradient are summed in one go. Fixed, so that the order of summation
// does not depend on the number of threads.
inline constexpr int64_t kImagesPerPartial = 16;

// Along one axis, padded input position p = stride * q + phase is reached from outputs q - (k*dilation - phase) /
// stride, over the taps k for which that is whole. Counts the offset from the window's first row, which is
// output q0 - halo.
inline AxisTaps taps_of_phase(int64_t phase, int64_t kernel, int64_t stride, int64_t dilation, int64_t halo,
                              int64_t pitch) {
  AxisTaps taps;
  for (int64_t k = 0; k < kernel; ++k) {
    const int64_t distance = k * dilation - phase;
    if (distance < 0 || distance % stride != 0) continue;
    taps.tap[taps.count] = k;
    taps.offset[taps.count] = (halo - distance / stride) * pitch;
    ++taps.count;
  }
  return taps;
}

// Strided: each phase of the input is a stride-1 convolution of grad_y with its own taps.
template <typename T>
void backward_input_items(const T* grad_y, const T* weight, T* grad_x, const Shape& s, const Tiling& tiling,
                          int64_t begin, int64_t end) {
  using A = accumulator_t<T>;
  alignas(kVectorBytes) A window_data[kWindowBytes / sizeof(A)];
  alignas(kVectorBytes) A results[kResultBytes / sizeof(A)];
  A w[kMaxKernel * kMaxKernel];

  const int64_t planes = s.batch * s.channels;
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t first_qy = s.padding_h / s.stride_h;
  const int64_t first_qx = s.padding_w / s.stride_w;
  Window<T> window{window_data, 1, 1, 0, 0, 0, 0, 0, s.out_height, s.out_width};

  int64_t tile = -1;
  int64_t qy0 = 0, qx0 = 0, rows = 0;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t plane = item % planes;
    if (item / planes != tile) {
      tile = item / planes;
      const int64_t tile_y = tile / tiling.count_w * tiling.tile_h;
      const int64_t tile_x = tile % tiling.count_w * tiling.tile_w;
      rows = min(tiling.tile_h, (s.in_height - 1 + s.padding_h) / s.stride_h - first_qy + 1 - tile_y);
      const int64_t cols = min(tiling.tile_w, (s.in_width - 1 + s.padding_w) / s.stride_w - first_qx + 1 - tile_x);
      qy0 = first_qy + tile_y;
      qx0 = first_qx + tile_x;
      window.rows = rows + tiling.halo_h;
      window.pitch = window.cols = cols + tiling.halo_w;
      window.first_row = qy0 - tiling.halo_h;
      window.first_col = qx0 - tiling.halo_w;
      window.zero(tiling.halo_w);
    }
    const int64_t c = plane % s.channels;
    for (int64_t k = 0; k < taps; ++k) w[k] = math::widen(weight[c * taps + k]);
    window.fill(grad_y + plane * s.out_height * s.out_width);

    const int64_t cols = window.pitch - tiling.halo_w;
    const int64_t count = rows * window.pitch;
    const int64_t result_stride = count + kSlack<A>;
    for (int64_t ry = 0; ry < s.stride_h; ++ry) {
      const AxisTaps row_taps = taps_of_phase(ry, s.kernel_h, s.stride_h, s.dilation_h, tiling.halo_h, window.pitch);
      for (int64_t rx = 0; rx < s.stride_w; ++rx) {
        const AxisTaps col_taps = taps_of_phase(rx, s.kernel_w, s.stride_w, s.dilation_w, tiling.halo_w, 1);
        run_any(window.data, row_taps, col_taps, w, s.kernel_w, A(0), results + rx * result_stride, count);
      }
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t iy = (qy0 + row) * s.stride_h + ry - s.padding_h;
        if (iy < 0 || iy >= s.in_height) continue;
        T* to = grad_x + (plane * s.in_height + iy) * s.in_width;
        const A* from = results + row * window.pitch;
        for (int64_t rx = 0; rx < s.stride_w; ++rx) {
          const int64_t ix = qx0 * s.stride_w + rx - s.padding_w;
          const auto valid = math::valid_outputs(ix, s.in_width, cols, s.stride_w);
          for (int64_t col = valid.begin; col < valid.end; ++col) {
            to[ix + col * s.stride_w] = math::narrow<T>(from[rx * result_stride + col]);
          }
        }
      }
    }
  }
}

// For strides above 1; with stride 1 it is a forward pass with the kernel turned.
template <typename T>
void backward_input(const T* grad_y, const T* weight, T* grad_x, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const int64_t height = (s.in_height - 1 + s.padding_h) / s.stride_h - s.padding_h / s.stride_h + 1;
  const int64_t width = (s.in_width - 1 + s.padding_w) / s.stride_w - s.padding_w / s.stride_w + 1;
  const Tiling tiling = make_tiling<A>(height, width, (s.kernel_h - 1) * s.dilation_h / s.stride_h,
                                       (s.kernel_w - 1) * s.dilation_w / s.stride_w, 1, s.stride_w);
  const int64_t planes = s.batch * s.channels;
  if (!tiling.fits || s.kernel_h > kMaxKernel || s.kernel_w > kMaxKernel) {
    return direct::backward_input(grad_y, weight, grad_x, s, parallel);
  }
  parallel(planes * tiling.count_h * tiling.count_w,
           math::ceil_div(kOutputsPerThread, tiling.tile_h * tiling.tile_w * s.stride_h * s.stride_w),
           [&](int64_t begin, int64_t end) { backward_input_items(grad_y, weight, grad_x, s, tiling, begin, end); });
}

// sums[k] += grad * window over one tile, for every tap of a KxK kernel at stride S.
template <typename A, int K, int S>
FRNET_HD void correlate_square(const A* grad, const A* window, int64_t pitch, int64_t phase_size, int64_t count,
                               Vec<A>* sums) {
  const A* row[K][S];
  for (int ky = 0; ky < K; ++ky) {
    for (int px = 0; px < S; ++px) row[ky][px] = window + ((ky % S) * S + px) * phase_size + (ky / S) * pitch;
  }
  Vec<A> sum[K * K];
  for (int k = 0; k < K * K; ++k) sum[k] = sums[k];
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    const Vec<A> g = load(grad + i);
    for (int ky = 0; ky < K; ++ky) {
      for (int kx = 0; kx < K; ++kx) sum[ky * K + kx] += g * load(row[ky][kx % S] + kx / S + i);
    }
  }
  for (int k = 0; k < K * K; ++k) sums[k] = sum[k];
}

// One partial sum: channel c over images [first, last). The partial is [kernel_h * kernel_w + 1], bias last.
template <typename T, int K, int S>
void backward_weight_partial(const T* grad_y, const T* x, double* partial, const Shape& s, const Tiling& tiling,
                             int64_t c, int64_t first, int64_t last) {
  using A = accumulator_t<T>;
  alignas(kVectorBytes) A window_data[kWindowBytes / sizeof(A)];
  alignas(kVectorBytes) A grad_data[kResultBytes / sizeof(A)];
  constexpr int kSums = K > 0 ? K * K : 1;
  const int64_t taps = s.kernel_h * s.kernel_w;
  Window<T> window{window_data, s.stride_h, s.stride_w, 0, 0, 0, 0, 0, s.in_height, s.in_width};
  Window<T> grad{grad_data, 1, 1, 0, 0, 0, 0, 0, s.out_height, s.out_width};
  for (int64_t k = 0; k <= taps; ++k) partial[k] = 0;

  for (int64_t tile = 0; tile < tiling.count_h * tiling.count_w; ++tile) {
    grad.first_row = tile / tiling.count_w * tiling.tile_h;
    grad.first_col = tile % tiling.count_w * tiling.tile_w;
    const int64_t tile_h = min(tiling.tile_h, s.out_height - grad.first_row);
    const int64_t tile_w = min(tiling.tile_w, s.out_width - grad.first_col);
    window.rows = tile_h + tiling.halo_h;
    window.pitch = window.cols = tile_w + tiling.halo_w;
    window.first_row = grad.first_row * s.stride_h - s.padding_h;
    window.first_col = grad.first_col * s.stride_w - s.padding_w;
    window.zero(tiling.halo_w);
    grad.rows = tile_h;
    grad.pitch = window.pitch;
    grad.cols = tile_w;
    grad.zero(tiling.halo_w);
    const int64_t count = tile_h * grad.pitch;

    Vec<A> sums[kSums] = {};
    Vec<A> bias_sum = {};
    for (int64_t n = first; n < last; ++n) {
      const int64_t plane = n * s.channels + c;
      window.fill(x + plane * s.in_height * s.in_width);
      grad.fill(grad_y + plane * s.out_height * s.out_width);
      for (int64_t i = 0; i < count; i += kLanes<A>) bias_sum += load(grad.data + i);
      if constexpr (K > 0) {
        correlate_square<A, K, S>(grad.data, window.data, window.pitch, window.phase_size(), count, sums);
      } else {
        for (int64_t k = 0; k < taps; ++k) {
          const int64_t ky = k / s.kernel_w * s.dilation_h;
          const int64_t kx = k % s.kernel_w * s.dilation_w;
          const A* from = window.data + (ky % s.stride_h * s.stride_w + kx % s.stride_w) * window.phase_size() +
                          ky / s.stride_h * window.pitch + kx / s.stride_w;
          Vec<A> sum = {};
          for (int64_t i = 0; i < count; i += kLanes<A>) sum += load(grad.data + i) * load(from + i);
          partial[k] += horizontal_sum<A>(sum);
        }
      }
    }
    if constexpr (K > 0) {
      for (int64_t k = 0; k < taps; ++k) partial[k] += horizontal_sum<A>(sums[k]);
    }
    partial[taps] += horizontal_sum<A>(bias_sum);
  }
}

inline bool all_finite(const double* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (!__builtin_isfinite(values[i])) return false;
  }
  return true;
}

// Writes partials [chunks, channels, kernel_h * kernel_w + 1].
template <typename T>
void backward_weight_partials(const T* grad_y, const T* x, double* partials, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t chunks = math::ceil_div(s.batch, kImagesPerPartial);
  const Tiling tiling = make_tiling<A>(s.out_height, s.out_width, (s.kernel_h - 1) * s.dilation_h / s.stride_h,
                                       (s.kernel_w - 1) * s.dilation_w / s.stride_w, s.stride_h * s.stride_w, 1);
  const int64_t work = s.out_height * s.out_width * min(s.batch, kImagesPerPartial);
  parallel(chunks * s.channels, math::ceil_div(kOutputsPerThread, max(work, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / s.channels * kImagesPerPartial;
      const int64_t last = min(first + kImagesPerPartial, s.batch);
      const int64_t c = item % s.channels;
      double* partial = partials + item * (taps + 1);
      if (!tiling.fits) {
        direct::backward_weight_partial(grad_y, x, partial, s, c, first, last);
      } else {
        with_square_kernel(s, [&](auto k, auto stride) {
          backward_weight_partial<T, decltype(k)::value, decltype(stride)::value>(grad_y, x, partial, s, tiling, c,
                                                                                  first, last);
        });
      }
      // Between two rows of a flat run a zero gradient meets the next row's pixels; where one of those is not
      // finite the product is not zero, so the sums are taken again without such meetings.
      if (tiling.fits && !all_finite(partial, taps + 1)) {
        direct::backward_weight_partial(grad_y, x, partial, s, c, first, last);
      }
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA::nchw
