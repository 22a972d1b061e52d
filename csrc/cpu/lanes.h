// Planes side by side in the lanes of vectors.
//
// A block is as many planes as a vector has lanes. Its pixels are brought into a lane image on the stack, [row]
// [column][lane] of the accumulation type, where a convolution meets no edges of vectors at any width or stride,
// everything per channel is one vector, and both memory layouts look alike. NCHW planes are transposed on the way in
// and out, channels_last ones are copied.
#pragma once

#include <cstdint>

#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

// The planes of a block in memory.
template <typename T>
struct LanePlanes {
  T* data;               // pixel 0 of lane 0
  int64_t lane_stride;   // elements from a lane to the next
  int64_t pixel_stride;  // elements from a pixel to the next
  int64_t count;         // lanes in use
  int64_t ahead = 0;     // elements to the block that comes next; 0: unknown

  bool pixels_adjacent() const { return pixel_stride == 1; }
};

// A rectangle of pixels of planes that are `width` wide.
struct PixelRange {
  int64_t first_row, rows, first_column, columns, width;
};

// Where a rectangle goes: the vector of its first pixel, and vectors from a row to the next.
template <typename A>
struct LaneImage {
  A* data;
  int64_t pitch;

  A* at(int64_t row, int64_t column) const { return data + (row * pitch + column) * kLanes<A>; }
};

// Rows narrower than two vectors are moved as one run of pixels; the places of the run's pixels are kept in a table.
inline constexpr int64_t kMaxTilePixels = 8192;

struct PixelTable {
  int32_t place[kMaxTilePixels];
  int64_t width = -1, pitch = -1, filled = 0;

  const int32_t* get(int64_t wanted_width, int64_t wanted_pitch, int64_t pixels) {
    if (width != wanted_width || pitch != wanted_pitch) filled = 0;
    width = wanted_width;
    pitch = wanted_pitch;
    if (filled < pixels) {
      int64_t row = filled / width, column = filled % width;
      for (; filled < pixels; ++filled) {
        place[filled] = static_cast<int32_t>(row * pitch + column);
        if (++column == width) {
          column = 0;
          ++row;
        }
      }
    }
    return place;
  }
};

// One run of adjacent pixels of NCHW planes: move(at, valid) is called for starts of whole vectors of pixels, the last
// moved back to end with the run; or once with fewer than a vector.
template <typename A, typename F>
FRNET_HD void for_pixel_vectors(int64_t pixels, const F& move) {
  constexpr int64_t kL = kLanes<A>;
  if (pixels < kL) return move(int64_t{0}, pixels);
  for (int64_t start = 0; start < pixels; start += kL) move(min(start, pixels - kL), kL);
}

// place(i) is the vector that pixel i of the run goes to.
template <typename T, typename A, typename Place>
FRNET_HD void gather_run(const LanePlanes<const T>& planes, const T* addend, int64_t first, int64_t pixels, A* to,
                         const Place& place) {
  constexpr int64_t kL = kLanes<A>;
  if (!planes.pixels_adjacent()) {
    const T* from = planes.data + first * planes.pixel_stride;
    const T* add = addend + (addend == nullptr ? 0 : first * planes.pixel_stride);
    for (int64_t i = 0; i < pixels; ++i) {
      const int64_t at = i * planes.pixel_stride;
      Vec<A> value = planes.count == kL ? load(from + at) : load_partial(from + at, planes.count);
      if (addend != nullptr) value += planes.count == kL ? load(add + at) : load_partial(add + at, planes.count);
      store(to + place(i) * kL, value);
    }
    return;
  }
  for_pixel_vectors<A>(pixels, [&](int64_t at, int64_t valid) {
    Vec<A> rows[kL];
#pragma GCC unroll 16
    for (int64_t p = 0; p < kL; ++p) {
      // Lanes past the last plane repeat it; nobody reads them.
      const int64_t offset = (p < planes.count ? p : planes.count - 1) * planes.lane_stride + first + at;
      // So many short streams are more than the processor foresees by itself.
      if (planes.ahead != 0) __builtin_prefetch(planes.data + offset + planes.ahead, 0, 2);
      rows[p] = valid == kL ? load(planes.data + offset) : load_partial(planes.data + offset, valid);
      if (addend != nullptr) rows[p] += valid == kL ? load(addend + offset) : load_partial(addend + offset, valid);
    }
    transpose<A>(rows);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kL; ++i) {
      if (i < valid) store(to + place(at + i) * kL, rows[i]);
    }
  });
}

template <typename T, typename A, typename Place>
FRNET_HD void scatter_run(const A* from, const LanePlanes<T>& planes, int64_t first, int64_t pixels,
                          const Place& place) {
  constexpr int64_t kL = kLanes<A>;
  if (!planes.pixels_adjacent()) {
    T* to = planes.data + first * planes.pixel_stride;
    for (int64_t i = 0; i < pixels; ++i) {
      const Vec<A> value = load(from + place(i) * kL);
      if (planes.count == kL) {
        store(to + i * planes.pixel_stride, value);
      } else {
        store_partial(to + i * planes.pixel_stride, value, planes.count);
      }
    }
    return;
  }
  for_pixel_vectors<A>(pixels, [&](int64_t at, int64_t valid) {
    Vec<A> rows[kL];
#pragma GCC unroll 16
    for (int64_t i = 0; i < kL; ++i) rows[i] = i < valid ? load(from + place(at + i) * kL) : Vec<A>{};
    transpose<A>(rows);
    T* to = planes.data + first + at;
#pragma GCC unroll 16
    for (int64_t p = 0; p < kL; ++p) {
      if (p >= planes.count) break;
      if (valid == kL) {
        store(to + p * planes.lane_stride, rows[p]);
      } else {
        store_partial(to + p * planes.lane_stride, rows[p], valid);
      }
    }
  });
}

// Calls run(first pixel in the plane, pixels, first vector, place) for the runs of a rectangle.
template <typename A, typename F>
FRNET_HD void for_runs(const PixelRange& range, int64_t pitch, PixelTable& table, const F& run) {
  if (range.columns == range.width && range.width < 2 * kLanes<A> && range.rows * range.width <= kMaxTilePixels) {
    const int32_t* place = table.get(range.width, pitch, range.rows * range.width);
    return run(range.first_row * range.width, range.rows * range.width, int64_t{0},
               [place](int64_t i) { return static_cast<int64_t>(place[i]); });
  }
  for (int64_t r = 0; r < range.rows; ++r) {
    run((range.first_row + r) * range.width + range.first_column, range.columns, r * pitch,
        [](int64_t i) { return i; });
  }
}

// addend: null, or added pixel by pixel; it has the planes' strides.
template <typename T, typename A = accumulator_t<T>>
void gather(const LanePlanes<const T>& planes, const T* addend, const PixelRange& range, const LaneImage<A>& to,
            PixelTable& table) {
  for_runs<A>(range, to.pitch, table, [&](int64_t first, int64_t pixels, int64_t vector, const auto& place) {
    gather_run(planes, addend, first, pixels, to.data + vector * kLanes<A>, place);
  });
}

template <typename T, typename A = accumulator_t<T>>
void scatter(const LaneImage<A>& from, const LanePlanes<T>& planes, const PixelRange& range, PixelTable& table) {
  for_runs<A>(range, from.pitch, table, [&](int64_t first, int64_t pixels, int64_t vector, const auto& place) {
    scatter_run(from.data + vector * kLanes<A>, planes, first, pixels, place);
  });
}

template <typename A>
FRNET_HD void zero(A* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = 0;
}

// Zeroes a lane image but for the given rectangle.
template <typename A>
void zero_border(const LaneImage<A>& image, int64_t rows, int64_t top, int64_t bottom, int64_t left, int64_t right) {
  zero(image.data, top * image.pitch * kLanes<A>);
  for (int64_t r = top; r < bottom; ++r) {
    zero(image.at(r, 0), left * kLanes<A>);
    zero(image.at(r, right), (image.pitch - right) * kLanes<A>);
  }
  zero(image.at(bottom, 0), (rows - bottom) * image.pitch * kLanes<A>);
}

// The blocks that the planes of a tensor are cut into.
struct Blocks {
  int64_t channels, per_image, count;
  bool across_images;  // lanes run on into the next image: few channels, whose vectors would be all but empty

  Blocks(const DepthwiseConv2dShape& s, int64_t lanes)
      : channels(s.channels),
        per_image(math::ceil_div(s.channels, lanes)),
        count(s.batch * per_image),
        across_images(s.layout == Layout::nchw && s.channels < lanes && s.memory_channels == s.channels) {
    if (across_images) count = math::ceil_div(s.batch * s.channels, lanes);
  }
};

}  // namespace frnet::cpu::FRNET_ISA
