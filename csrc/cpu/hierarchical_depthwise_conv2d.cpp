// The multi-scale stage on the CPU.
//   thread : as many channels of every split as vectors have lanes, through the whole chain of splits in lane images;
//            with a gate behind it, the channels of whole groups of every split, chained and then gated
//   traffic: reads x once and writes y once where a padded plane and its result fit on the stack side by side and a
//            unit's results stay in the second-level cache; otherwise split by split, then the output's scale and shift
//            in place, then the gate in place

#include "cpu/hierarchical_depthwise_conv2d.h"

#include "cpu/gate_schedule.h"
#include "cpu/sge_gate.h"
#include "cpu/sge_image.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

// One split of the shape, as a slice of the channels.
Shape split_shape(const HierarchicalShape& h) {
  Shape s = h.conv;
  s.channels = h.conv.channels / h.splits;
  s.memory_channels = h.conv.channels;
  return s;
}

template <typename A>
const A* offset(const A* values, int64_t by) {
  return values == nullptr ? nullptr : values + by;
}

template <typename A>
Epilogue<A> split_epilogue(const Epilogue<A>& epilogue, int64_t first_channel) {
  return {offset(epilogue.scale, first_channel), offset(epilogue.shift, first_channel), epilogue.activation};
}

// Where the slice of a tensor with the channels from `first` on begins.
template <typename T>
T* slice(T* tensor, int64_t first, int64_t pixels, Layout layout) {
  return tensor + first * (layout == Layout::channels_last ? 1 : pixels);
}

SgeGateShape gate_shape(const HierarchicalShape& h) {
  return {h.conv.batch, h.conv.channels, h.conv.out_height * h.conv.out_width, max(h.groups, 1), h.conv.layout};
}

// Lanes [c, c + count) of every split of image n, all splits in one go. Planes are one tile each.
template <typename T>
void chain_block(const HierarchicalConv<T>& conv, T* y, int64_t n, int64_t c, int64_t count, const HierarchicalShape& h,
                 Scratch<accumulator_t<T>>& scratch) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Shape s = split_shape(h);
  const InputTile in({0, 0, s.out_height, s.out_width}, input_columns(s, s.out_width), s);
  const LaneImage<A> image{scratch.pixels, in.pitch};
  const LaneImage<A> results{image.at(in.rows, 0), s.out_width};
  const int64_t vectors = s.out_height * s.out_width;
  for (int64_t split = 0; split < h.splits; ++split) {
    const int64_t first = split * s.channels;
    const Block block{n, c, count};
    const T* x = slice(conv.x, first, s.in_height * s.in_width, s.layout);
    in.load(block_planes(x, block, s.in_height, s.in_width, s), static_cast<const T*>(nullptr), image,
            scratch.zeroed_for == 0, scratch.in_table);
    scratch.zeroed_for = 0;
    if (h.chained && split > 0) {
      // Where a split's input is the size of its results, both images are the same inside the padding.
      for (int64_t r = 0; r < s.in_height; ++r) {
        A* to = image.at(r + s.padding_h, s.padding_w);
        const A* from = results.at(r, 0);
        for (int64_t i = 0; i < s.in_width * kL; i += kL) store(to + i, load(to + i) + load(from + i));
      }
    }
    const Epilogue<A> epilogue = split_epilogue(conv.epilogue, first);
    const int64_t taps = s.kernel_h * s.kernel_w;
    const A* weight = scratch.packed_weight(first + c, s, [&](A* to) {
      pack_weight(conv.weight + first * taps, offset(conv.bias, first), &epilogue, c, count, s, to);
    });
    const Vec<A> bias = load(weight + taps * kL);
    with_square_kernel(s, [&](auto k, auto stride) {
      for (int64_t row = 0; row < s.out_height; ++row) {
        conv_row<A, decltype(k)::value, decltype(stride)::value>(image.at(row * s.stride_h, 0), in.pitch, weight, bias,
                                                                 results.at(row, 0), s.out_width, s);
      }
    });
    if (epilogue.activation != Activation::none) activate_vectors(epilogue.activation, results.data, vectors);
    LaneImage<A> finished = results;
    if (conv.out_scale != nullptr || conv.out_shift != nullptr) {
      // The next split needs the result as it is.
      finished.data = results.at(s.out_height, 0);
      alignas(kVectorBytes) A scale_lanes[kL], shift_lanes[kL];
      for (int64_t l = 0; l < kL; ++l) {
        const int64_t channel = first + c + min(l, count - 1);
        scale_lanes[l] = conv.out_scale == nullptr ? A(1) : conv.out_scale[channel];
        shift_lanes[l] = conv.out_shift == nullptr ? A(0) : conv.out_shift[channel];
      }
      const Vec<A> scale = load(scale_lanes), shift = load(shift_lanes);
      for (int64_t i = 0; i < vectors * kL; i += kL) store(finished.data + i, load(results.data + i) * scale + shift);
    }
    T* to = slice(y, first, s.out_height * s.out_width, s.layout);
    scatter(finished, block_planes(to, block, s.out_height, s.out_width, s),
            {0, s.out_height, 0, s.out_width, s.out_width}, scratch.out_table);
  }
}

template <typename T>
bool fits(const HierarchicalShape& h) {
  const Shape& s = h.conv;
  return s.kernel_h * s.kernel_w <= kMaxTaps &&
         input_rows(s, s.out_height) * input_columns(s, s.out_width) + 2 * s.out_height * s.out_width <= kMaxTilePixels;
}

// Split by split over the whole tensor; the output's scale and shift in place.
template <typename T>
void splits_in_turn(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& h, void* workspace,
                    const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Shape s = split_shape(h);
  const int64_t in = s.in_height * s.in_width, out = s.out_height * s.out_width;
  for (int64_t split = 0; split < h.splits; ++split) {
    const int64_t first = split * s.channels;
    const T* before = h.chained && split > 0 ? slice(y, first - s.channels, out, s.layout) : nullptr;
    depthwise_conv2d<T>({slice(conv.x, first, in, s.layout), before}, conv.weight + first * s.kernel_h * s.kernel_w,
                        offset(conv.bias, first), split_epilogue(conv.epilogue, first), slice(y, first, out, s.layout),
                        nullptr, s, workspace, parallel);
  }
  if (conv.out_scale == nullptr && conv.out_shift == nullptr) return;
  parallel(s.batch * h.conv.channels, math::ceil_div(kOutputsPerThread, max(1, out)), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t n = plane / h.conv.channels, c = plane % h.conv.channels;
      const A scale = conv.out_scale == nullptr ? A(1) : conv.out_scale[c];
      const A shift = conv.out_shift == nullptr ? A(0) : conv.out_shift[c];
      T* to = slice(y + n * h.conv.channels * out, c, out, s.layout);
      const int64_t step = s.layout == Layout::channels_last ? h.conv.channels : 1;
      for (int64_t p = 0; p < out; ++p) to[p * step] = math::narrow<T>(math::widen(to[p * step]) * scale + shift);
    }
  });
}

}  // namespace

template <typename T>
size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& h) {
  return conv_workspace_bytes<T>(split_shape(h)) + (h.groups > 0 ? sge_gate_workspace<T>(gate_shape(h)) : 0);
}

template <typename T>
void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& h, void* workspace,
                                   const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Shape& s = h.conv;
  if (s.batch * s.channels == 0) return;
  const SgeGateShape gated = gate_shape(h);
  void* gate_room = static_cast<char*>(workspace) + conv_workspace_bytes<T>(split_shape(h));
  const SgeWorkspace<A> room{static_cast<A*>(gate_room), gated};
  const int64_t channels = s.channels / h.splits;  // per split

  if (!fits<T>(h)) {
    splits_in_turn(conv, y, h, workspace, parallel);
    if (h.groups > 0) sge_gate<T>(y, conv.gate, y, gated, gate_room, parallel);
    return;
  }
  // A unit with a gate: the channels of the same groups of every split.
  const bool aligned = h.groups > 0 && h.groups % h.splits == 0;
  const GroupUnits units = aligned ? group_units<A>(s.channels / h.groups, h.groups / h.splits, gated.pixels * h.splits,
                                                    s.batch, kCachedBytes)
                                   : GroupUnits{0, 0, 0, false};
  if (units.worthwhile) {
    const int64_t groups = h.groups / h.splits;
    return parallel(s.batch * units.per_image, 1, [&](int64_t begin, int64_t end) {
      Scratch<A> scratch;
      alignas(kVectorBytes) A stack[kStackPixels];
      for (int64_t item = begin; item < end; ++item) {
        const int64_t n = item / units.per_image;
        const int64_t first = item % units.per_image * units.groups, last = min(first + units.groups, groups);
        for (int64_t c = first * units.channels; c < last * units.channels; c += kL) {
          chain_block(conv, y, n, c, min(kL, last * units.channels - c), h, scratch);
        }
        for (int64_t split = 0; split < h.splits; ++split) {
          for (int64_t group = first; group < last; ++group) {
            gate_one<T>(y, conv.gate, y, n, split * groups + group, gated, room, stack);
          }
        }
      }
    });
  }
  const int64_t per_image = math::ceil_div(channels, kL);
  parallel(s.batch * per_image, 1, [&](int64_t begin, int64_t end) {
    Scratch<A> scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % per_image * kL;
      chain_block(conv, y, item / per_image, c, min(kL, channels - c), h, scratch);
    }
  });
  if (h.groups > 0) sge_gate<T>(y, conv.gate, y, gated, gate_room, parallel);
}

FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(float)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(double)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(float16)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
