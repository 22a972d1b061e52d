// The backward pass of one block of planes, tile by tile: the convolution's result v is computed again, the gradient
// that reaches it is formed in its place, and both gradients of the convolution are taken from it while all of it is
// in the cache.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "cpu/gate_gradient.h"

namespace frnet::cpu::FRNET_ISA {

// The rows (or columns) of one tile along one axis, in three coordinates: results, the gradient's lane image, and
// padded inputs u = input + padding.
struct BackwardAxis {
  int64_t own_begin, own_end;    // results that count for the sums
  int64_t need_begin, need_end;  // results whose gradient is needed, the tile's own and those its inputs feed
  int64_t in_begin, in_end;      // padded inputs whose gradient this tile computes
  int64_t image_begin;           // padded input at the input image's origin
  int64_t image_size;
  int64_t grad_begin;  // result at the gradient image's origin; what is no result is zero
  int64_t grad_size;

  BackwardAxis(int64_t begin, int64_t size, int64_t output, int64_t input, int64_t kernel, int64_t stride,
               int64_t padding, int64_t dilation, bool wants_input, int64_t margin)
      : own_begin(begin), own_end(begin + size), need_begin(begin), need_end(begin + size) {
    const int64_t reach = dilation * (kernel - 1);
    in_begin = begin == 0 ? padding : min(max(begin * stride, padding), input + padding);
    in_end = own_end == output ? input + padding : min(max(own_end * stride, padding), input + padding);
    if (!wants_input) in_end = in_begin;
    grad_begin = need_begin;
    if (in_end > in_begin) {
      need_begin = min(need_begin, max(0, math::ceil_div(in_begin - reach, stride)));
      need_end = max(need_end, min(output, (in_end - 1) / stride + 1));
      grad_begin = min(need_begin, in_begin / stride - margin);
    }
    const int64_t last = in_end > in_begin ? max(need_end, (in_end - 1) / stride + 1) : need_end;
    grad_size = last - grad_begin;
    image_begin = need_begin * stride;
    image_size = (need_end - 1 - need_begin) * stride + reach + 1;
    if (in_end > in_begin) {
      image_begin = min(image_begin, in_begin / stride * stride);
      image_size = max((need_end - 1) * stride + reach + 1, math::ceil_div(in_end, stride) * stride) - image_begin;
    }
  }
};

struct BackwardTile {
  BackwardAxis y, x;

  BackwardTile(const Tile& tile, const Shape& s, bool wants_input)
      : y(tile.row, tile.rows, s.out_height, s.in_height, s.kernel_h, s.stride_h, s.padding_h, s.dilation_h,
          wants_input, 0),
        x(tile.column, tile.columns, s.out_width, s.in_width, s.kernel_w, s.stride_w, s.padding_w, s.dilation_w,
          wants_input, gradient_margin(s)) {}
};

// A tiling whose every tile fits, and its tile where there is one alone.
struct BackwardTiling : Tiling {
  Shape shape;
  bool wants_input;
  BackwardTile single;

  BackwardTiling(const Shape& s, bool wants_input)
      : shape(s), wants_input(wants_input), single({0, 0, s.out_height, s.out_width}, s, wants_input) {
    if (s.kernel_h * s.kernel_w > kMaxTaps) return;
    static_cast<Tiling&>(*this) = make_tiling(s, [&](int64_t rows, int64_t columns) {
      int64_t image_rows = 0, grad_rows = 0, image_columns = 0, grad_columns = 0;
      // The first tile, one in the middle and the last.
      for (const int64_t place : {0, 1, 2}) {
        const auto start = [place](int64_t size, int64_t output) {
          return place == 0 ? 0 : place == 1 ? min(size, output - size) : (output - 1) / size * size;
        };
        const int64_t row = start(rows, s.out_height), column = start(columns, s.out_width);
        const BackwardTile tile({row, column, min(rows, s.out_height - row), min(columns, s.out_width - column)}, s,
                                wants_input);
        image_rows = max(image_rows, tile.y.image_size);
        grad_rows = max(grad_rows, tile.y.need_end - tile.y.need_begin + 1);  // and one row of v
        image_columns = max(image_columns, tile.x.image_size);
        grad_columns = max(grad_columns, tile.x.grad_size);
      }
      return image_rows * image_columns + grad_rows * grad_columns;
    });
  }

  BackwardTile backward_tile(int64_t index) const {
    return count() == 1 ? single : BackwardTile(tile(index, shape), shape, wants_input);
  }
};

// What is summed over a block, lane by lane: the weight gradient's taps, then these.
enum : int64_t { kSumGradV, kSumG, kSumGv, kSumCount };

// Sums over blocks that share their channels.
template <typename A>
struct LaneSums {
  alignas(kVectorBytes) A value[(kMaxTaps + kSumCount) * kLanes<A>];
  double total[(kMaxTaps + kSumCount) * kLanes<A>];

  // Into double after every block, so that no sum grows long in float.
  void flush(int64_t terms) {
    for (int64_t i = 0; i < terms * kLanes<A>; ++i) total[i] += value[i];
    zero(value, terms * kLanes<A>);
  }
};

// Everything per channel that the backward pass of a block needs, in its lanes.
template <typename A>
struct LaneEpilogue {
  Vec<A> scale, shift, constant = {}, linear = {};
  bool has_linear = false;  // else nothing is multiplied with v, which may be infinite

  LaneEpilogue(Vec<A> scale, Vec<A> shift) : scale(scale), shift(shift) {}
  template <typename T>
  LaneEpilogue(const ConvGradient<T>& gradient, const Block& block, int64_t channels) {
    const auto read = [&](const A* values, A otherwise) {
      alignas(kVectorBytes) A lane[kLanes<A>];
      int64_t c = block.c;
      for (int64_t l = 0; l < kLanes<A>; ++l) {
        lane[l] = values == nullptr ? otherwise : values[c];
        if (l + 1 < block.count && ++c == channels) c = 0;
      }
      return load(lane);
    };
    scale = read(gradient.epilogue.scale, A(1));
    shift = read(gradient.epilogue.shift, A(0));
    constant = read(gradient.constant, A(0));
    linear = read(gradient.linear, A(0));
    has_linear = gradient.linear != nullptr;
  }
};

// Gradients in place: grad holds grad_y on entry and grad_v on return. v: results of the convolution, or
// null where neither an activation nor a sum needs them. Adds to sums what the row adds to them.
template <typename A>
void form_gradient(Activation activation, A* grad, const A* v, int64_t vectors, const LaneEpilogue<A>& lanes,
                   Vec<A>* sums) {
  constexpr int64_t kL = kLanes<A>;
  for (int64_t begin = 0; begin < vectors; begin += kStretch) {
    const int64_t end = min(begin + kStretch, vectors);
    Vec<A> sum_v = {}, sum_g = {}, sum_gv = {};
    const auto finish = [&](int64_t i, Vec<A> g, Vec<A> result) {
      sum_g += g;
      sum_v += result;
      store(grad + i, result);
    };
    if (v == nullptr) {
      for (int64_t i = begin * kL; i < end * kL; i += kL) {
        const Vec<A> g = load(grad + i);
        finish(i, g, lanes.scale * g + lanes.constant);
      }
    } else {
      math::with_activation(activation, [&](auto constant) {
        for (int64_t i = begin * kL; i < end * kL; i += kL) {
          const Vec<A> value = load(v + i);
          const Vec<A> g = math::activation_gradient<A>(decltype(constant)::value, lanes.scale * value + lanes.shift,
                                                        load(grad + i), VecExp{});
          sum_gv += g * value;
          const Vec<A> rest = lanes.has_linear ? lanes.constant + lanes.linear * value : lanes.constant;
          finish(i, g, lanes.scale * g + rest);
        }
      });
    }
    sums[kSumGradV] += sum_v;
    sums[kSumG] += sum_g;
    sums[kSumGv] += sum_gv;
  }
}

// The input under a tile, with its padding.
template <typename T, typename A = accumulator_t<T>>
void gather_input(const ConvInput<T>& input, const LanePlanes<const T>& x, const BackwardTile& tile,
                  const LaneImage<A>& image, const Shape& s, PixelTable& table) {
  const int64_t first_row = tile.y.image_begin - s.padding_h, first_column = tile.x.image_begin - s.padding_w;
  const int64_t top = min(max(0, -first_row), tile.y.image_size);
  const int64_t left = min(max(0, -first_column), tile.x.image_size);
  const int64_t bottom = max(top, min(tile.y.image_size, s.in_height - first_row));
  const int64_t right = max(left, min(tile.x.image_size, s.in_width - first_column));
  zero_border(image, tile.y.image_size, top, bottom, left, right);
  if (bottom > top && right > left) {
    gather(x, addend_of(input, x), {first_row + top, bottom - top, first_column + left, right - left, s.in_width},
           LaneImage<A>{image.at(top, left), image.pitch}, table);
  }
}

// One row of the convolution's result, of all columns that a tile needs; row counts from the first that it needs.
template <typename A, int K, int S>
void needed_row(const LaneImage<A>& image, const BackwardTile& tile, int64_t row, const A* weight, Vec<A> bias, A* v,
                const Shape& s) {
  conv_row<A, K, S>(image.at((tile.y.need_begin + row) * s.stride_h - tile.y.image_begin,
                             tile.x.need_begin * s.stride_w - tile.x.image_begin),
                    image.pitch, weight, bias, v, tile.x.need_end - tile.x.need_begin, s);
}

// Adds what a tile's own results give to the weight's gradient.
template <typename A, int K, int S>
void add_weight_gradient(const LaneImage<A>& grads, const LaneImage<A>& image, const BackwardTile& tile, A* sums,
                         const Shape& s) {
  for (int64_t r = tile.y.own_begin; r < tile.y.own_end; ++r) {
    correlate_row<A, K, S>(
        grads.at(r - tile.y.need_begin, tile.x.own_begin - tile.x.grad_begin),
        image.at(r * s.stride_h - tile.y.image_begin, tile.x.own_begin * s.stride_w - tile.x.image_begin), image.pitch,
        sums, tile.x.own_end - tile.x.own_begin, s);
  }
}

// The gradient of the input that a tile computes, over the input in `image`, and from there to grad_x.
template <typename T, int K, int S, typename A = accumulator_t<T>>
void scatter_input_gradient(const LaneImage<A>& grads, const LaneImage<A>& image, const BackwardTile& tile,
                            const A* weight, const LanePlanes<T>& grad_x, const Shape& s, PixelTable& table) {
  if (tile.y.in_end <= tile.y.in_begin || tile.x.in_end <= tile.x.in_begin) return;
  const int64_t first = tile.x.in_begin / s.stride_w * s.stride_w;
  for (int64_t u = tile.y.in_begin; u < tile.y.in_end; ++u) {
    const FeedingRows<S> feeding(u, s);
    gradient_row<A, K, S>(
        feeding, [&](int64_t row) { return grads.at(row - tile.y.need_begin, 0); }, tile.x.grad_begin, weight,
        image.at(u - tile.y.image_begin, first - tile.x.image_begin), first, tile.x.in_end, s);
  }
  scatter(
      LaneImage<A>{image.at(tile.y.in_begin - tile.y.image_begin, tile.x.in_begin - tile.x.image_begin), image.pitch},
      grad_x,
      {tile.y.in_begin - s.padding_h, tile.y.in_end - tile.y.in_begin, tile.x.in_begin - s.padding_w,
       tile.x.in_end - tile.x.in_begin, s.in_width},
      table);
}

// gate: what stands between the epilogue and grad_y. grad_x: null, or where the gradient of the input goes. needs_v: an
// activation, a linear term or the sum of g * v needs the convolution's result.
template <typename T, int K, int S>
void backward_block(const ConvGradient<T>& gradient, const GateGradient<accumulator_t<T>>& gate, T* grad_x,
                    bool wants_weight, bool needs_v, const Block& block, const Shape& s, const BackwardTiling& tiling,
                    const accumulator_t<T>* weight, Scratch<accumulator_t<T>>& scratch,
                    LaneSums<accumulator_t<T>>& sums) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const int64_t taps = s.kernel_h * s.kernel_w;
  const LanePlanes<const T> x = block_planes(gradient.input.x, block, s.in_height, s.in_width, s);
  const LanePlanes<const T> grad_y = block_planes(gradient.grad_y, block, s.out_height, s.out_width, s);
  const T* grad_addend =
      gradient.grad_y_addend == nullptr ? nullptr : gradient.grad_y_addend + (grad_y.data - gradient.grad_y);
  const LaneEpilogue<A> lanes(gradient, block, s.channels);
  const LaneGate<A> lane_gate(gate, block, s);
  const Vec<A> bias = load(weight + taps * kL);
  const bool identity = !needs_v && gradient.epilogue.scale == nullptr && gradient.constant == nullptr;
  Vec<A> row_sums[kSumCount] = {};

  for (int64_t index = 0; index < tiling.count(); ++index) {
    const BackwardTile tile = tiling.backward_tile(index);
    const LaneImage<A> image{scratch.pixels, tile.x.image_size};
    const LaneImage<A> grads{image.at(tile.y.image_size, 0), tile.x.grad_size};
    A* v = grads.at(tile.y.need_end - tile.y.need_begin, 0);

    // 1. The input under the tile.
    if (needs_v || wants_weight) gather_input(gradient.input, x, tile, image, s, scratch.in_table);

    // 2. The gradient of y inside zeros, through the gate.
    const int64_t rows = tile.y.need_end - tile.y.need_begin, columns = tile.x.need_end - tile.x.need_begin;
    const int64_t left = tile.x.need_begin - tile.x.grad_begin;
    if (gradient.grad_y == nullptr) {
      zero(grads.data, rows * grads.pitch * kL);
    } else {
      zero_border(grads, rows, 0, rows, left, left + columns);
      gather(grad_y, grad_addend, {tile.y.need_begin, rows, tile.x.need_begin, columns, s.out_width},
             LaneImage<A>{grads.at(0, left), grads.pitch}, scratch.out_table);
    }
    for (int64_t r = 0; lane_gate.exists() && r < rows; ++r) {
      lane_gate.apply(grads.at(r, left), (tile.y.need_begin + r) * s.out_width + tile.x.need_begin, columns);
    }

    // 3. The gradient of v in its place.
    const int64_t own_left = tile.x.own_begin - tile.x.need_begin, own_right = tile.x.own_end - tile.x.need_begin;
    Vec<A> unused[kSumCount] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const bool own = tile.y.need_begin + r >= tile.y.own_begin && tile.y.need_begin + r < tile.y.own_end;
      A* row = grads.at(r, left);
      if (identity) {
        if (!own) continue;
        const Vec<A> sum = activate_vectors(Activation::none, row + own_left * kL, own_right - own_left);
        row_sums[kSumGradV] += sum;
        row_sums[kSumG] += sum;
        continue;
      }
      if (needs_v) {
        needed_row<A, K, S>(image, tile, r, weight, bias, v, s);
      }
      const auto part = [&](int64_t begin, int64_t end, bool counts) {
        if (begin == end) return;
        form_gradient(gradient.epilogue.activation, row + begin * kL, needs_v ? v + begin * kL : nullptr, end - begin,
                      lanes, own && counts ? row_sums : unused);
      };
      part(0, own_left, false);
      part(own_left, own_right, true);
      part(own_right, columns, false);
    }

    // 4. The gradients of the weight and, over the input, of the input.
    if (wants_weight) add_weight_gradient<A, K, S>(grads, image, tile, sums.value, s);
    if (grad_x != nullptr) {
      scatter_input_gradient<T, K, S>(grads, image, tile, weight,
                                      block_planes(grad_x, block, s.in_height, s.in_width, s), s, scratch.in_table);
    }
  }
  for (int64_t k = 0; k < kSumCount; ++k) {
    A* to = sums.value + ((wants_weight ? taps : 0) + k) * kL;
    store(to, load(to) + row_sums[k]);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
