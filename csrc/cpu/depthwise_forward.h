// The forward convolution of one block of planes, tile by tile, and what follows it while the tile is in the cache.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/depthwise_rows.h"
#include "cpu/lanes.h"
#include "cpu/vec.h"
#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

using Shape = DepthwiseConv2dShape;

// Results below which a second thread costs more than it saves.
inline constexpr int64_t kOutputsPerThread = 8192;

// The same in blocks of so many planes.
inline int64_t block_grain(const Shape& s, int64_t lanes) {
  return math::ceil_div(kOutputsPerThread, max(1, lanes * max(s.out_height * s.out_width, s.in_height * s.in_width)));
}

// Calls run(K, S) with integral constants: the kernel's size and stride where both are square, known when compiling
// and undilated, (0, 0) for everything else.
template <typename F>
FRNET_HD void with_square_kernel(const Shape& s, const F& run) {
  const bool square = s.kernel_h == s.kernel_w && s.dilation_h == 1 && s.dilation_w == 1 && s.stride_h == s.stride_w;
  const int64_t k = square ? s.kernel_h : 0, stride = s.stride_h;
  using std::integral_constant;
  if (k == 3 && stride == 1) return run(integral_constant<int, 3>{}, integral_constant<int, 1>{});
  if (k == 3 && stride == 2) return run(integral_constant<int, 3>{}, integral_constant<int, 2>{});
  if (k == 5 && stride == 1) return run(integral_constant<int, 5>{}, integral_constant<int, 1>{});
  if (k == 5 && stride == 2) return run(integral_constant<int, 5>{}, integral_constant<int, 2>{});
  return run(integral_constant<int, 0>{}, integral_constant<int, 0>{});
}

// A rectangle of results, [row, row + rows) x [column, column + columns).
struct Tile {
  int64_t row, column, rows, columns;
};

// How far the inputs of a tile reach.
FRNET_HD int64_t input_rows(const Shape& s, int64_t rows) {
  return (rows - 1) * s.stride_h + s.dilation_h * (s.kernel_h - 1) + 1;
}
FRNET_HD int64_t input_columns(const Shape& s, int64_t columns) {
  return (columns - 1) * s.stride_w + s.dilation_w * (s.kernel_w - 1) + 1;
}

// How a plane of results is cut into tiles whose lane images fit on the stack together.
struct Tiling {
  int64_t rows = 0, columns = 0;  // of a tile; rows == 0: the kernel reaches too far for any tile
  int64_t count_y = 0, count_x = 0;

  int64_t count() const { return count_y * count_x; }

  Tile tile(int64_t index, const Shape& s) const {
    if (count() == 1) return {0, 0, rows, columns};
    const int64_t row = index / count_x * rows, column = index % count_x * columns;
    return {row, column, min(rows, s.out_height - row), min(columns, s.out_width - column)};
  }
};

// pixels(rows, columns): vectors that a tile of that size needs. No tile where there are no results.
template <typename F>
Tiling make_tiling(const Shape& s, const F& pixels) {
  Tiling tiling;
  if (s.out_height <= 0 || s.out_width <= 0) return tiling;
  int64_t columns = s.out_width;
  while (columns > 8 && pixels(int64_t{1}, columns) > kMaxTilePixels) columns = (columns + 1) / 2;
  int64_t count_y = 1;
  while (count_y < s.out_height && pixels(math::ceil_div(s.out_height, count_y), columns) > kMaxTilePixels) ++count_y;
  const int64_t rows = math::ceil_div(s.out_height, count_y);
  if (pixels(rows, columns) > kMaxTilePixels) return tiling;
  tiling.rows = rows;
  tiling.columns = columns;
  tiling.count_y = math::ceil_div(s.out_height, rows);
  tiling.count_x = math::ceil_div(s.out_width, columns);
  return tiling;
}

inline Tiling forward_tiling(const Shape& s) {
  if (s.kernel_h * s.kernel_w > kMaxTaps) return {};
  return make_tiling(s, [&](int64_t rows, int64_t columns) {
    return input_rows(s, rows) * input_columns(s, columns) + rows * columns;
  });
}

// The weights of the channels in a block's lanes as [tap][lane], the bias last, with the epilogue's scale and shift
// folded into them where asked for.
template <typename T, typename A = accumulator_t<T>>
void pack_weight(const T* weight, const T* bias, const Epilogue<A>* folded, int64_t first_channel, int64_t count,
                 const Shape& s, A* packed) {
  constexpr int64_t kL = kLanes<A>;
  const int64_t taps = s.kernel_h * s.kernel_w;
  int64_t c = first_channel;
  for (int64_t l = 0; l < kL; ++l) {
    const A scale = folded != nullptr && folded->scale != nullptr ? folded->scale[c] : A(1);
    const A shift = folded != nullptr && folded->shift != nullptr ? folded->shift[c] : A(0);
    for (int64_t k = 0; k < taps; ++k) packed[k * kL + l] = scale * math::widen(weight[c * taps + k]);
    packed[taps * kL + l] = shift + scale * (bias == nullptr ? A(0) : math::widen(bias[c]));
    // Lanes past the last plane repeat it.
    if (l + 1 < count && ++c == s.channels) c = 0;
  }
}

// Packed weights are kept from image to image where those of all channels fit: 1600 channels of a 3x3 kernel in float.
inline constexpr int64_t kWeightBytes = 64 * 1024;

// What a thread works in.
template <typename A>
struct Scratch {
  alignas(kVectorBytes) A pixels[kMaxTilePixels * kLanes<A>];
  alignas(kVectorBytes) A weights[kWeightBytes / sizeof(A)];
  PixelTable in_table, out_table;
  int64_t packed_for[kWeightBytes / kVectorBytes];  // the first channel whose weights lie in a slot; -1: none
  int64_t zeroed_for = -1;                          // the tile whose border the image in `pixels` has

  Scratch() {
    for (int64_t& channel : packed_for) channel = -1;
  }

  // The weights of a block, packed by pack(to) if they are not there yet.
  template <typename Pack>
  const A* packed_weight(int64_t first_channel, const Shape& s, const Pack& pack) {
    constexpr int64_t kL = kLanes<A>;
    const int64_t size = (s.kernel_h * s.kernel_w + 1) * kL;
    // An odd number of slots, so that blocks whose channels are whole vectors apart do not meet.
    const int64_t slots = (kWeightBytes / static_cast<int64_t>(sizeof(A)) / size - 1) | 1;
    const int64_t slot = first_channel % slots;
    if (packed_for[slot] != first_channel) {
      pack(weights + slot * size);
      packed_for[slot] = first_channel;
    }
    return weights + slot * size;
  }
};

// Planes larger than this stream well enough without being asked for ahead of time.
inline constexpr int64_t kPrefetchedPixels = 1024;

// The planes of one block: lanes [0, count) hold channels c, c + 1, ..., of image n (running on into image n + 1 where
// blocks go across images).
struct Block {
  int64_t n, c, count;
  int64_t next_images = 0, next_channels = 0;  // how far on the block after this one lies
};

// The processors that matter here divide 32 bits three times as fast as 64.
FRNET_HD int64_t quotient(int64_t a, int64_t b) {
  return ((a | b) >> 32) == 0 ? static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b)) : a / b;
}

// Blocks run image by image.
template <typename A>
Block block_at(int64_t index, const Blocks& blocks, const Shape& s) {
  constexpr int64_t kL = kLanes<A>;
  if (blocks.across_images) {
    const int64_t plane = index * kL;
    return {plane / s.channels, plane % s.channels, min(kL, s.batch * s.channels - plane), 0, kL};
  }
  const int64_t n = quotient(index, blocks.per_image);
  const int64_t c = (index - n * blocks.per_image) * kL;
  return {n, c, min(kL, s.channels - c), 0, kL};
}

template <typename T>
LanePlanes<T> block_planes(T* tensor, const Block& block, int64_t height, int64_t width, const Shape& s) {
  const int64_t image = s.memory_channels * height * width;
  if (s.layout == Layout::channels_last) {
    return {tensor + block.n * image + block.c, 1, s.memory_channels, block.count};
  }
  const int64_t ahead = block.next_images * image + block.next_channels * height * width;
  return {tensor + block.n * image + block.c * height * width, height * width, 1, block.count,
          height * width <= kPrefetchedPixels ? ahead : 0};
}

// The part of the input under a tile, as a lane image with its padding.
struct InputTile {
  int64_t rows, pitch;              // of the image
  int64_t first_row, first_column;  // of the plane, at the image's origin; negative in the padding
  PixelRange inside;                // what of it lies inside the plane

  InputTile(const Tile& tile, int64_t image_columns, const Shape& s)
      : rows(input_rows(s, tile.rows)),
        pitch(image_columns),
        first_row(tile.row * s.stride_h - s.padding_h),
        first_column(tile.column * s.stride_w - s.padding_w) {
    const int64_t top = min(max(first_row, 0), s.in_height), left = min(max(first_column, 0), s.in_width);
    const int64_t bottom = max(top, min(first_row + rows, s.in_height));
    const int64_t right = max(left, min(first_column + pitch, s.in_width));
    inside = {top, bottom - top, left, right - left, s.in_width};
  }

  template <typename T, typename A>
  void load(const LanePlanes<const T>& planes, const T* addend, const LaneImage<A>& image, bool zeroed,
            PixelTable& table) const {
    const int64_t top = min(max(inside.first_row - first_row, 0), rows);
    const int64_t left = min(max(inside.first_column - first_column, 0), pitch);
    if (!zeroed) zero_border(image, rows, top, top + inside.rows, left, left + inside.columns);
    if (inside.rows > 0 && inside.columns > 0) {
      gather(planes, addend, inside, LaneImage<A>{image.at(top, left), pitch}, table);
    }
  }
};

// The addend's plane that belongs to the planes of x.
template <typename T>
const T* addend_of(const ConvInput<T>& input, const LanePlanes<const T>& planes) {
  return input.addend == nullptr ? nullptr : input.addend + (planes.data - input.x);
}

// Convolves one tile of a block with the packed weights. zeroed: the padding in `image` is there already.
template <typename T>
void convolve_tile(const ConvInput<T>& input, const LanePlanes<const T>& planes, const accumulator_t<T>* weight,
                   const Tile& tile, const InputTile& in, bool zeroed, const LaneImage<accumulator_t<T>>& image,
                   const LaneImage<accumulator_t<T>>& results, const Shape& s, PixelTable& table) {
  using A = accumulator_t<T>;
  const Vec<A> bias = load(weight + s.kernel_h * s.kernel_w * kLanes<A>);
  in.load(planes, addend_of(input, planes), image, zeroed, table);
  with_square_kernel(s, [&](auto k, auto stride) {
    for (int64_t y = 0; y < tile.rows; ++y) {
      conv_row<A, decltype(k)::value, decltype(stride)::value>(image.at(y * s.stride_h, 0), in.pitch, weight, bias,
                                                               results.at(y, 0), tile.columns, s);
    }
  });
}

// Convolves a block and calls consume(tile, results) with the results of each tile.
template <typename T, typename Consume>
void convolve_block(const ConvInput<T>& input, const accumulator_t<T>* weight, const Block& block, const Shape& s,
                    const Tiling& tiling, Scratch<accumulator_t<T>>& scratch, const Consume& consume) {
  using A = accumulator_t<T>;
  const LanePlanes<const T> planes = block_planes(input.x, block, s.in_height, s.in_width, s);
  for (int64_t index = 0; index < tiling.count(); ++index) {
    const Tile tile = tiling.tile(index, s);
    const InputTile in(tile, input_columns(s, tile.columns), s);
    const LaneImage<A> image{scratch.pixels, in.pitch};
    const LaneImage<A> results{image.at(in.rows, 0), tile.columns};
    convolve_tile(input, planes, weight, tile, in, scratch.zeroed_for == index, image, results, s, scratch.in_table);
    scratch.zeroed_for = index;
    consume(tile, results);
  }
}

// Vectors that are added up in one go: no sum grows long in the accumulation type.
inline constexpr int64_t kStretch = 64;

// The sum of value(i) over vectors [0, count): in stretches, and in four sums that do not wait for each other.
template <typename A, typename F>
FRNET_HD Vec<A> sum_in_stretches(int64_t count, const F& value) {
  Vec<A> total = {};
  for (int64_t begin = 0; begin < count; begin += kStretch) {
    const int64_t end = min(begin + kStretch, count);
    Vec<A> sum[4] = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) sum[u] += value(i + u);
    }
    for (; i < end; ++i) sum[0] += value(i);
    total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }
  return total;
}

// Applies an activation to vectors in place and returns their sum.
template <typename A>
Vec<A> activate_vectors(Activation activation, A* values, int64_t vectors) {
  constexpr int64_t kL = kLanes<A>;
  Vec<A> sum = {};
  math::with_activation(activation, [&](auto constant) {
    constexpr Activation kActivation = decltype(constant)::value;
    sum = sum_in_stretches<A>(vectors, [&](int64_t i) {
      const Vec<A> value = math::activate<A>(kActivation, load(values + i * kL), VecExp{});
      if (kActivation != Activation::none) store(values + i * kL, value);
      return value;
    });
  });
  return sum;
}

// Convolution and epilogue of one block to y. pooled: null, or the means of the block's planes go to pooled[lane].
template <typename T, typename A = accumulator_t<T>>
void forward_block(const ConvInput<T>& input, const T* weight, const T* bias, const Epilogue<A>& epilogue, T* y,
                   A* pooled, const Block& block, const Shape& s, const Tiling& tiling, Scratch<A>& scratch) {
  const A* packed = scratch.packed_weight(
      block.c, s, [&](A* to) { pack_weight(weight, bias, &epilogue, block.c, block.count, s, to); });
  const LanePlanes<T> planes = block_planes(y, block, s.out_height, s.out_width, s);
  Vec<A> sum = {};
  convolve_block(input, packed, block, s, tiling, scratch, [&](const Tile& tile, const LaneImage<A>& results) {
    if (pooled != nullptr || epilogue.activation != Activation::none) {
      sum += activate_vectors(epilogue.activation, results.data, tile.rows * tile.columns);
    }
    scatter(results, planes, {tile.row, tile.rows, tile.column, tile.columns, s.out_width}, scratch.out_table);
  });
  if (pooled != nullptr) {
    store_partial(pooled, sum / static_cast<A>(s.out_height * s.out_width), block.count);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
