// Depthwise convolution over channels_last images: forward, input gradient, weight gradient.
//
// The vector runs along the channels, so every tap is one aligned-width read and edges are whole columns.
// Weights are transposed to [taps, channels] for a block of channels at a time.
#pragma once

#include <cstdint>

#include "cpu/depthwise_conv2d.h"
#include "cpu/depthwise_conv2d_direct.h"
#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA::channels_last {

using Shape = DepthwiseConv2dShape;

// The transposed weights of a block of channels; 960 channels of a 3x3 kernel in float are one block.
inline constexpr int64_t kWeightBytes = 40 * 1024;
// Channels whose weight gradient is summed together, and images per partial sum: fixed, so that the order of
// summation does not depend on the number of threads.
inline constexpr int64_t kGradChannels = 64;
inline constexpr int64_t kImagesPerPartial = 4;
// Kernels with more taps go the direct way.
inline constexpr int64_t kMaxTaps = 512;
// Outputs along x that share the columns they read.
inline constexpr int kStrip = 4;

// Calls body(c, count) for vectors of channels over [0, channels): whole ones, the last moved back to end with
// the channels where there are enough of them, else one partial.
template <typename A, typename F>
FRNET_HD void for_channels(int64_t channels, const F& body) {
  if (channels < kLanes<A>) return body(int64_t{0}, channels);
  for (int64_t c = 0; c < channels; c += kLanes<A>) {
    body(min(c, channels - kLanes<A>), int64_t{kLanes<A>});
  }
}

template <typename T>
FRNET_HD auto load_channels(const T* from, int64_t count) {
  return count == kLanes<accumulator_t<T>> ? load(from) : load_partial(from, count);
}

template <typename T>
FRNET_HD void store_channels(T* to, Vec<accumulator_t<T>> value, int64_t count) {
  if (count == kLanes<accumulator_t<T>>) {
    store(to, value);
  } else {
    store_partial(to, value, count);
  }
}

// to[tap][channel], channels padded to whole vectors. flip turns the kernel by 180 degrees.
template <typename T, typename A = accumulator_t<T>>
void transpose_weight(const T* weight, bool flip, A* to, int64_t taps, int64_t channels, int64_t pitch) {
  for (int64_t k = 0; k < taps; ++k) {
    for (int64_t c = 0; c < channels; ++c)
      to[k * pitch + c] = math::widen(weight[c * taps + (flip ? taps - 1 - k : k)]);
    for (int64_t c = channels; c < pitch; ++c) to[k * pitch + c] = 0;
  }
}

// One strip of outputs of one vector of channels. `from` is the input under the strip's first output and the first
// kernel row. Of the columns it covers, kLeft at the start and kRight at the end lie outside the image; where those are
// negative, `columns` says which lie inside.
template <typename T, int K, int S, int kLeft, int kRight>
FRNET_HD void forward_strip(const T* from, int64_t row_stride, int64_t channels, const accumulator_t<T>* w,
                            int64_t pitch, math::IndexRange<int64_t> ky, math::IndexRange<int64_t> columns,
                            Vec<accumulator_t<T>> bias, T* y) {
  using A = accumulator_t<T>;
  constexpr int kColumns = (kStrip - 1) * S + K;
  Vec<A> sum[kStrip];
  for (int t = 0; t < kStrip; ++t) sum[t] = bias;
  for (int64_t i = ky.begin; i < ky.end; ++i) {
    const T* row = from + i * row_stride;
    Vec<A> wk[K];
    for (int k = 0; k < K; ++k) wk[k] = load(w + (i * K + k) * pitch);
#pragma GCC unroll 16
    for (int col = 0; col < kColumns; ++col) {
      if (kLeft >= 0 ? col < kLeft || col >= kColumns - kRight : col < columns.begin || col >= columns.end) continue;
      const Vec<A> value = load(row + col * channels);
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        if (col >= k && (col - k) % S == 0 && (col - k) / S < kStrip) sum[(col - k) / S] += wk[k] * value;
      }
    }
  }
  for (int t = 0; t < kStrip; ++t) store(y + t * channels, sum[t]);
}

// One output row of one vector of channels. w points at this vector's transposed weights, x at its channels in
// the image's first pixel. K = 0: any kernel.
template <typename T, int K, int S>
FRNET_HD void forward_row(const T* x, const accumulator_t<T>* w, int64_t pitch, Vec<accumulator_t<T>> bias, T* y,
                          const Shape& s, int64_t oy, int64_t count) {
  using A = accumulator_t<T>;
  const int64_t iy = oy * s.stride_h - s.padding_h;
  const auto ky = K > 0 ? math::IndexRange<int64_t>{max(0, -iy), min(K, s.in_height - iy)}
                        : math::valid_taps(iy, s.in_height, s.kernel_h, s.dilation_h);
  const int64_t row_stride = s.in_width * s.channels;
  const T* from = x + iy * row_stride;
  T* to = y + oy * s.out_width * s.channels;
  if constexpr (K > 0) {
    if (count == kLanes<A> && s.out_width >= kStrip) {
      constexpr int kColumns = (kStrip - 1) * S + K, kPad = K / 2;
      for (int64_t start = 0; start < s.out_width; start += kStrip) {
        const int64_t ox = min(start, s.out_width - kStrip);  // the last strip ends with the row
        const int64_t ix = ox * S - s.padding_w;
        const int64_t left = max(0, -ix), right = max(0, ix + kColumns - s.in_width);
        const math::IndexRange<int64_t> columns{left, kColumns - right};
        const auto run = [&](auto l, auto r) {
          forward_strip<T, K, S, decltype(l)::value, decltype(r)::value>(
              from + ix * s.channels, row_stride, s.channels, w, pitch, ky, columns, bias, to + ox * s.channels);
        };
        using None = std::integral_constant<int, 0>;
        using Pad = std::integral_constant<int, kPad>;
        using Any = std::integral_constant<int, -1>;
        if (left == 0 && right == 0) {
          run(None{}, None{});
        } else if (left == kPad && right == 0) {
          run(Pad{}, None{});
        } else if (left == 0 && right == kPad) {
          run(None{}, Pad{});
        } else if (left == kPad && right == kPad) {
          run(Pad{}, Pad{});
        } else {
          run(Any{}, Any{});
        }
      }
      return;
    }
  }
  for (int64_t ox = 0; ox < s.out_width; ++ox) {
    const int64_t ix = ox * s.stride_w - s.padding_w;
    const auto kx = math::valid_taps(ix, s.in_width, s.kernel_w, s.dilation_w);
    Vec<A> sum = bias;
    for (int64_t i = ky.begin; i < ky.end; ++i) {
      const T* row = from + i * s.dilation_h * row_stride + ix * s.channels;
      for (int64_t j = kx.begin; j < kx.end; ++j) {
        sum += load(w + (i * s.kernel_w + j) * pitch) * load_channels(row + j * s.dilation_w * s.channels, count);
      }
    }
    store_channels(to + ox * s.channels, sum, count);
  }
}

// One input row of one vector of channels, gathered from the outputs that read it.
template <typename T>
FRNET_HD void backward_input_row(const T* grad_y, const accumulator_t<T>* w, int64_t pitch, T* grad_x, const Shape& s,
                                 int64_t iy, int64_t count) {
  using A = accumulator_t<T>;
  for (int64_t ix = 0; ix < s.in_width; ++ix) {
    Vec<A> sum = {};
    for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
      const int64_t oy = math::output_of(iy, ky, s.out_height, s.stride_h, s.padding_h, s.dilation_h);
      if (oy < 0) continue;
      for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
        const int64_t ox = math::output_of(ix, kx, s.out_width, s.stride_w, s.padding_w, s.dilation_w);
        if (ox < 0) continue;
        sum += load(w + (ky * s.kernel_w + kx) * pitch) *
               load_channels(grad_y + (oy * s.out_width + ox) * s.channels, count);
      }
    }
    store_channels(grad_x + (iy * s.in_width + ix) * s.channels, sum, count);
  }
}

// Calls row(image, transposed weights, their pitch, channel, channels in the vector, row index) for every row
// of every image and every vector of channels, transposing the weights of a block of channels once per thread.
template <typename T, typename F>
void for_rows(const T* weight, bool flip, const Shape& s, int64_t rows, int64_t outputs_per_row,
              const Parallel& parallel, const F& row) {
  using A = accumulator_t<T>;
  constexpr int64_t kWeights = kWeightBytes / static_cast<int64_t>(sizeof(A));
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t fit = kWeights / taps / kLanes<A> * kLanes<A>;  // channels per block
  parallel(s.batch * rows, math::ceil_div(kOutputsPerThread, outputs_per_row * s.channels),
           [&](int64_t begin, int64_t end) {
             alignas(kVectorBytes) A transposed[kWeights];
             for (int64_t first = 0; first < s.channels; first += fit) {
               const int64_t channels = min(fit, s.channels - first);
               const int64_t pitch = math::ceil_div(channels, int64_t{kLanes<A>}) * kLanes<A>;
               transpose_weight(weight + first * taps, flip, transposed, taps, channels, pitch);
               for (int64_t item = begin; item < end; ++item) {
                 const int64_t n = item / rows, r = item % rows;
                 for_channels<A>(channels,
                                 [&](int64_t c, int64_t count) { row(n, transposed + c, pitch, first + c, count, r); });
               }
             }
           });
}

template <typename T, int K, int S>
void forward_square(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s,
                    const Parallel& parallel) {
  using A = accumulator_t<T>;
  for_rows(weight, flip, s, s.out_height, s.out_width, parallel,
           [&](int64_t n, const A* w, int64_t pitch, int64_t c, int64_t count, int64_t oy) {
             const Vec<A> b = bias == nullptr ? Vec<A>{} : load_channels(bias + c, count);
             forward_row<T, K, S>(x + n * s.in_height * s.in_width * s.channels + c, w, pitch, b,
                                  y + n * s.out_height * s.out_width * s.channels + c, s, oy, count);
           });
}

template <typename T>
void forward(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s, const Parallel& parallel) {
  if (s.kernel_h * s.kernel_w > kMaxTaps) return direct::forward(x, weight, bias, flip, y, s, parallel);
  with_square_kernel(s, [&](auto k, auto stride) {
    forward_square<T, decltype(k)::value, decltype(stride)::value>(x, weight, bias, flip, y, s, parallel);
  });
}

// For strides above 1; with stride 1 it is a forward pass with the kernel turned.
template <typename T>
void backward_input(const T* grad_y, const T* weight, T* grad_x, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (s.kernel_h * s.kernel_w > kMaxTaps) return direct::backward_input(grad_y, weight, grad_x, s, parallel);
  for_rows(weight, false, s, s.in_height, s.in_width, parallel,
           [&](int64_t n, const A* w, int64_t pitch, int64_t c, int64_t count, int64_t iy) {
             backward_input_row<T>(grad_y + n * s.out_height * s.out_width * s.channels + c, w, pitch,
                                   grad_x + n * s.in_height * s.in_width * s.channels + c, s, iy, count);
           });
}

// One row of outputs adds to the weight gradient of one vector of channels: sums is [taps + 1, pitch], bias last.
template <typename T, int K>
FRNET_HD void backward_weight_row(const T* grad_y, const T* x, accumulator_t<T>* sums, int64_t pitch, const Shape& s,
                                  int64_t oy, int64_t count) {
  using A = accumulator_t<T>;
  const int64_t iy = oy * s.stride_h - s.padding_h;
  const auto ky = math::valid_taps(iy, s.in_height, s.kernel_h, s.dilation_h);
  const T* grad = grad_y + oy * s.out_width * s.channels;
  A* bias_sums = sums + s.kernel_h * s.kernel_w * pitch;
  Vec<A> bias_sum = load(bias_sums);
  for (int64_t ox = 0; ox < s.out_width; ++ox) bias_sum += load_channels(grad + ox * s.channels, count);
  store(bias_sums, bias_sum);
  for (int64_t i = ky.begin; i < ky.end; ++i) {
    const T* row = x + (iy + i * s.dilation_h) * s.in_width * s.channels;
    A* row_sums = sums + i * s.kernel_w * pitch;
    if constexpr (K > 0) {
      Vec<A> sum[K];
      for (int k = 0; k < K; ++k) sum[k] = load(row_sums + k * pitch);
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const Vec<A> g = load_channels(grad + ox * s.channels, count);
        const int64_t ix = ox * s.stride_w - s.padding_w;
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) {
          if (ix + k >= 0 && ix + k < s.in_width) sum[k] += g * load_channels(row + (ix + k) * s.channels, count);
        }
      }
      for (int k = 0; k < K; ++k) store(row_sums + k * pitch, sum[k]);
    } else {
      for (int64_t k = 0; k < s.kernel_w; ++k) {
        const auto ox = math::valid_outputs(k * s.dilation_w - s.padding_w, s.in_width, s.out_width, s.stride_w);
        Vec<A> sum = load(row_sums + k * pitch);
        for (int64_t o = ox.begin; o < ox.end; ++o) {
          const int64_t ix = o * s.stride_w - s.padding_w + k * s.dilation_w;
          sum += load_channels(grad + o * s.channels, count) * load_channels(row + ix * s.channels, count);
        }
        store(row_sums + k * pitch, sum);
      }
    }
  }
}

// The same over a whole image.
template <typename T>
FRNET_HD void backward_weight_image(const T* grad_y, const T* x, accumulator_t<T>* sums, int64_t pitch, const Shape& s,
                                    int64_t count) {
  const int64_t k = s.kernel_w == s.kernel_h && s.dilation_w == 1 && s.dilation_h == 1 ? s.kernel_w : 0;
  for (int64_t oy = 0; oy < s.out_height; ++oy) {
    if (k == 3) {
      backward_weight_row<T, 3>(grad_y, x, sums, pitch, s, oy, count);
    } else if (k == 5) {
      backward_weight_row<T, 5>(grad_y, x, sums, pitch, s, oy, count);
    } else {
      backward_weight_row<T, 0>(grad_y, x, sums, pitch, s, oy, count);
    }
  }
}

// partial[channel][tap] from sums[tap][channel].
template <typename A>
void store_sums(const A* sums, int64_t pitch, int64_t channels, int64_t taps, double* partial) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t t = 0; t <= taps; ++t) partial[c * (taps + 1) + t] = sums[t * pitch + c];
  }
}

// Writes partials [chunks, channels, kernel_h * kernel_w + 1].
template <typename T>
void backward_weight_partials(const T* grad_y, const T* x, double* partials, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kSums = 4 * kWeightBytes / static_cast<int64_t>(sizeof(A));
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t chunks = math::ceil_div(s.batch, kImagesPerPartial);
  if (taps > kMaxTaps) {
    return parallel(chunks * s.channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item / s.channels * kImagesPerPartial;
        direct::backward_weight_partial(grad_y, x, partials + item * (taps + 1), s, item % s.channels, first,
                                        min(first + kImagesPerPartial, s.batch));
      }
    });
  }
  // Channels per item: fewer where the kernel is large.
  const int64_t group = max(kLanes<A>, min(kGradChannels, kSums / (taps + 1) / kLanes<A> * kLanes<A>));
  const int64_t groups = math::ceil_div(s.channels, group);
  const int64_t work = s.out_height * s.out_width * group * min(s.batch, kImagesPerPartial);
  parallel(chunks * groups, math::ceil_div(kOutputsPerThread, max(work, 1)), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A sums[kSums];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first_channel = item % groups * group;
      const int64_t channels = min(group, s.channels - first_channel);
      const int64_t pitch = math::ceil_div(channels, int64_t{kLanes<A>}) * kLanes<A>;
      for (int64_t i = 0; i < (taps + 1) * pitch; ++i) sums[i] = 0;
      const int64_t first = item / groups * kImagesPerPartial;
      const int64_t last = min(first + kImagesPerPartial, s.batch);
      for (int64_t n = first; n < last; ++n) {
        // Whole vectors, then one partial: a vector moved back would count its channels twice.
        for (int64_t c = 0; c < channels; c += kLanes<A>) {
          const int64_t at = first_channel + c;
          backward_weight_image(grad_y + n * s.out_height * s.out_width * s.channels + at,
                                x + n * s.in_height * s.in_width * s.channels + at, sums + c, pitch, s,
                                min(int64_t{kLanes<A>}, channels - c));
        }
      }
      store_sums(sums, pitch, channels, taps, partials + (item / groups * s.channels + first_channel) * (taps + 1));
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA::channels_last
