// Depthwise convolution over NCHW planes too narrow for vectors along x.
//
// As many planes as a vector has lanes are transposed to [pixel][plane] on the stack, where the channels_last
// loops serve them with full vectors at any stride, and the results are transposed back.
//   traffic: reads x once, writes y once; the transposed copies stay in the first- or second-level cache
#pragma once

#include <cstdint>

#include "cpu/depthwise_conv2d_channels_last.h"
#include "cpu/vec.h"

namespace frnet::cpu::FRNET_ISA::narrow {

using Shape = DepthwiseConv2dShape;

// Both transposed images of one group; a 30x30 plane with its padding and half as wide a result still fit.
inline constexpr int64_t kGroupBytes = 96 * 1024;
inline constexpr int64_t kMaxPixels = kGroupBytes / kVectorBytes;
// Kernels with more taps are left to the window.
inline constexpr int64_t kMaxTaps = 49;
// Images whose contributions to a weight gradient are summed in one go: fixed, so that the order of summation
// does not depend on the number of threads.
inline constexpr int64_t kImagesPerPartial = 16;

// Whether rows along x would leave so much of each vector unused that transposing is cheaper.
template <typename A>
bool suits(const Shape& s) {
  const int64_t padded_h = s.in_height + 2 * max(s.padding_h, 0), padded_w = s.in_width + 2 * max(s.padding_w, 0);
  const int64_t pixels = padded_h * padded_w + s.out_height * s.out_width;
  return 2 * s.out_width < 3 * kLanes<A> && s.kernel_h * s.kernel_w <= kMaxTaps && pixels * kVectorBytes <= kGroupBytes;
}

// Where each pixel of a plane lies in a transposed image whose rows are row_pixels apart.
struct PixelOffsets {
  int32_t offset[kMaxPixels];

  PixelOffsets(int64_t height, int64_t width, int64_t row_pixels, int64_t lanes) {
    for (int64_t i = 0; i < height * width; ++i) {
      offset[i] = static_cast<int32_t>((i / width * row_pixels + i % width) * lanes);
    }
  }
};

// to[offset of pixel][lane] = from[lane][pixel] for count planes; lanes past count are zero. A whole block of a whole
// group stays in registers.
template <typename T, typename A = accumulator_t<T>>
void gather_planes(const T* from, int64_t count, int64_t pixels, const PixelOffsets& offsets, A* to) {
  constexpr int64_t kL = kLanes<A>;
  for (int64_t start = 0; start < pixels; start += kL) {
    const int64_t valid = min(kL, pixels - start);
    const int32_t* offset = offsets.offset + start;
    Vec<A> rows[kL];
    if (valid == kL && count == kL) {
#pragma GCC unroll 16
      for (int64_t p = 0; p < kL; ++p) rows[p] = load(from + p * pixels + start);
      transpose<A>(rows);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kL; ++i) store(to + offset[i], rows[i]);
    } else {
      for (int64_t p = 0; p < kL; ++p) {
        rows[p] = p < count ? load_partial(from + p * pixels + start, valid) : Vec<A>{};
      }
      transpose<A>(rows);
      for (int64_t i = 0; i < valid; ++i) store(to + offset[i], rows[i]);
    }
  }
}

// The way back, from an image without padding.
template <typename T, typename A = accumulator_t<T>>
void scatter_planes(const A* from, int64_t count, int64_t pixels, T* to) {
  constexpr int64_t kL = kLanes<A>;
  for (int64_t start = 0; start < pixels; start += kL) {
    const int64_t valid = min(kL, pixels - start);
    Vec<A> rows[kL];
    if (valid == kL && count == kL) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kL; ++i) rows[i] = load(from + (start + i) * kL);
      transpose<A>(rows);
#pragma GCC unroll 16
      for (int64_t p = 0; p < kL; ++p) store(to + p * pixels + start, rows[p]);
    } else {
      for (int64_t i = 0; i < kL; ++i) rows[i] = i < valid ? load(from + (start + i) * kL) : Vec<A>{};
      transpose<A>(rows);
      for (int64_t p = 0; p < count; ++p) store_partial(to + p * pixels + start, rows[p], valid);
    }
  }
}

template <typename A>
void zero(A* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = 0;
}

// A single image with one vector of channels.
template <typename A>
Shape one_vector(Shape s) {
  s.batch = 1;
  s.channels = kLanes<A>;
  s.layout = Layout::channels_last;
  return s;
}

// One group as a single image with a vector of channels, its zero padding made part of the image so that no loop
// meets an edge.
template <typename A>
struct Group {
  Shape shape;
  int64_t top, left;  // rows and columns of padding
  int64_t padded_pixels;

  explicit Group(const Shape& s) : shape(one_vector<A>(s)), top(max(s.padding_h, 0)), left(max(s.padding_w, 0)) {
    shape.in_height += 2 * top;
    shape.in_width += 2 * left;
    shape.padding_h -= top;
    shape.padding_w -= left;
    padded_pixels = shape.in_height * shape.in_width;
  }

  // Where the first pixel of the unpadded image lies.
  int64_t origin() const { return (top * shape.in_width + left) * kLanes<A>; }
};

// Calls run(first channel, channels, image, transposed weights, zeroed buffer) for every group of every image, image
// fastest. What run leaves alone in the buffer stays zero.
template <typename T, typename F>
void for_groups(const T* weight, bool flip, const Shape& s, const Parallel& parallel, const F& run) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t groups = math::ceil_div(s.channels, kL);
  const int64_t outputs = kL * max(s.out_height * s.out_width, s.in_height * s.in_width);
  parallel(groups * s.batch, math::ceil_div(kOutputsPerThread, outputs), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A transposed[kMaxTaps * kL];
    alignas(kVectorBytes) A buffer[kGroupBytes / sizeof(A)];
    zero(buffer, Group<A>(s).padded_pixels * kL);
    int64_t group = -1;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item / s.batch * kL;
      const int64_t count = min(kL, s.channels - c);
      if (item / s.batch != group) {
        group = item / s.batch;
        channels_last::transpose_weight(weight + c * taps, flip, transposed, taps, count, kL);
      }
      run(c, count, item % s.batch, transposed, buffer);
    }
  });
}

template <typename T, int K, int S>
void forward_square(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s,
                    const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Group<A> group(s);
  const PixelOffsets offsets(s.in_height, s.in_width, group.shape.in_width, kL);
  const int64_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
  for_groups(weight, flip, s, parallel, [&](int64_t c, int64_t count, int64_t n, const A* w, A* buffer) {
    A* results = buffer + group.padded_pixels * kL;
    gather_planes(x + (n * s.channels + c) * in, count, in, offsets, buffer + group.origin());
    const Vec<A> b = bias == nullptr ? Vec<A>{} : load_partial(bias + c, count);
    for (int64_t oy = 0; oy < s.out_height; ++oy) {
      channels_last::forward_row<A, K, S>(buffer, w, kL, b, results, group.shape, oy, kL);
    }
    scatter_planes(results, count, out, y + (n * s.channels + c) * out);
  });
}

template <typename T>
void forward(const T* x, const T* weight, const T* bias, bool flip, T* y, const Shape& s, const Parallel& parallel) {
  with_square_kernel(s, [&](auto k, auto stride) {
    forward_square<T, decltype(k)::value, decltype(stride)::value>(x, weight, bias, flip, y, s, parallel);
  });
}

// For strides above 1; with stride 1 it is a forward pass with the kernel turned.
template <typename T>
void backward_input(const T* grad_y, const T* weight, T* grad_x, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Shape one = one_vector<A>(s);
  const int64_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
  const PixelOffsets offsets(1, max(in, out), 0, kL);  // one after the other
  for_groups(weight, false, s, parallel, [&](int64_t c, int64_t count, int64_t n, const A* w, A* buffer) {
    A* results = buffer + out * kL;
    gather_planes(grad_y + (n * s.channels + c) * out, count, out, offsets, buffer);
    for (int64_t iy = 0; iy < s.in_height; ++iy) {
      channels_last::backward_input_row<A>(buffer, w, kL, results, one, iy, kL);
    }
    scatter_planes(results, count, in, grad_x + (n * s.channels + c) * in);
  });
}

// Writes partials [chunks, channels, kernel_h * kernel_w + 1].
template <typename T>
void backward_weight_partials(const T* grad_y, const T* x, double* partials, const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Shape one = one_vector<A>(s);
  const int64_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
  const PixelOffsets offsets(1, max(in, out), 0, kL);  // one after the other
  const int64_t taps = s.kernel_h * s.kernel_w;
  const int64_t groups = math::ceil_div(s.channels, kL);
  const int64_t chunks = math::ceil_div(s.batch, kImagesPerPartial);
  const int64_t work = kL * out * min(s.batch, kImagesPerPartial);
  parallel(chunks * groups, math::ceil_div(kOutputsPerThread, max(work, 1)), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) A buffer[kGroupBytes / sizeof(A)];
    alignas(kVectorBytes) A sums[(kMaxTaps + 1) * kL];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % groups * kL;
      const int64_t count = min(kL, s.channels - c);
      const int64_t first = item / groups * kImagesPerPartial;
      const int64_t last = min(first + kImagesPerPartial, s.batch);
      zero(sums, (taps + 1) * kL);
      for (int64_t n = first; n < last; ++n) {
        A* grad = buffer + in * kL;
        gather_planes(x + (n * s.channels + c) * in, count, in, offsets, buffer);
        gather_planes(grad_y + (n * s.channels + c) * out, count, out, offsets, grad);
        channels_last::backward_weight_image(grad, buffer, sums, kL, one, kL);
      }
      channels_last::store_sums(sums, kL, count, taps, partials + (item / groups * s.channels + c) * (taps + 1));
    }
  });
}

}  // namespace frnet::cpu::FRNET_ISA::narrow
