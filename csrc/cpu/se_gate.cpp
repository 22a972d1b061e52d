// Squeeze and excitation on the CPU, alone and behind a depthwise convolution.
//   thread : whole images where the batch is large enough, else channels of images, step by step
//   traffic: reads x once and writes y once as long as an image stays in the second-level cache, else reads x twice;
//            behind a convolution the squeeze costs no pass of its own

#include "cpu/se_gate.h"

#include "cpu/gate_schedule.h"
#include "cpu/se_excite.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

// Channels that one item of work pools or scales where images are shared by threads.
constexpr int64_t kChannelsPerItem = 16;

template <typename T>
ChannelPlanes<T> channel_planes(T* tensor, int64_t n, int64_t first, int64_t last, const SeGateShape& s) {
  return ChannelPlanes<T>(tensor + n * s.channels * s.pixels, first, last - first, s.pixels, s.channels, s.layout);
}

template <typename T, typename A = accumulator_t<T>>
void pool(const T* x, A* pooled, int64_t n, int64_t first, int64_t last, const SeGateShape& s) {
  plane_sums<T>(channel_planes(x, n, first, last, s), nullptr, pooled + first);
  for (int64_t c = first; c < last; ++c) pooled[c] /= static_cast<A>(s.pixels);
}

// y = x * factor[c] + offset[c] / pixels; offset may be null.
template <typename T, typename A = accumulator_t<T>>
void scale(const T* x, const A* factor, const A* offset, T* y, int64_t n, int64_t first, int64_t last,
           const SeGateShape& s) {
  const ChannelPlanes<const T> from = channel_planes(x, n, first, last, s);
  const ChannelPlanes<T> to = channel_planes(y, n, first, last, s);
  const A inverse = A(1) / static_cast<A>(s.pixels);
  if (!from.channels_adjacent()) {
    for (int64_t c = 0; c < from.channels; ++c) {
      const A add = offset == nullptr ? A(0) : offset[first + c] * inverse;
      for_vectors<A>(s.pixels, [&](int64_t i, int64_t lanes, int) {
        store_some(to.plane(c) + i, load_some(from.plane(c) + i, lanes) * factor[first + c] + add, lanes);
      });
    }
    return;
  }
  for (int64_t p = 0; p < s.pixels; ++p) {
    for (int64_t c = 0; c < from.channels; c += kLanes<A>) {
      const int64_t lanes = min(kLanes<A>, from.channels - c);
      Vec<A> value = load_some(from.pixel(p) + c, lanes) * load_some(factor + first + c, lanes);
      if (offset != nullptr) value += load_some(offset + first + c, lanes) * inverse;
      store_some(to.pixel(p) + c, value, lanes);
    }
  }
}

// Images one by one: begin(n) fills what excite reads, end(n) uses what it wrote. Small batches: the same in turns over
// channels.
template <typename Begin, typename Middle, typename End>
void run(const SeGateShape& s, const Parallel& parallel, const Begin& begin, const Middle& middle, const End& end) {
  const int64_t image = max(1, s.channels * s.pixels);
  if (s.batch >= kUnitsForFusion || s.batch * image <= kOutputsPerThread) {
    return parallel(s.batch, math::ceil_div(kOutputsPerThread, image), [&](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        begin(n, int64_t{0}, s.channels);
        middle(n);
        end(n, int64_t{0}, s.channels);
      }
    });
  }
  const int64_t items = math::ceil_div(s.channels, kChannelsPerItem);
  const auto in_turn = [&](const auto& step) {
    parallel(s.batch * items, math::ceil_div(kOutputsPerThread, kChannelsPerItem * s.pixels),
             [&](int64_t first, int64_t last) {
               for (int64_t item = first; item < last; ++item) {
                 const int64_t c = item % items * kChannelsPerItem;
                 step(item / items, c, min(c + kChannelsPerItem, s.channels));
               }
             });
  };
  in_turn(begin);
  parallel(s.batch, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) middle(n);
  });
  in_turn(end);
}

SeGateShape gate_shape(const Shape& s, int64_t squeezed) {
  return {s.batch, s.channels, s.out_height * s.out_width, squeezed, s.layout};
}

}  // namespace

template <typename T>
size_t se_gate_workspace(const SeGateShape& s) {
  using A = accumulator_t<T>;
  return static_cast<size_t>(s.batch * (Excitation<A>::values(s) + s.channels)) * sizeof(A);
}

template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& s, void* workspace,
             const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (s.pixels == 0) return;
  A* data = static_cast<A*>(workspace);
  run(
      s, parallel,
      [&](int64_t n, int64_t first, int64_t last) { pool(x, Excitation<A>(data, n, s).pooled, n, first, last, s); },
      [&](int64_t n) { excite(gate, Excitation<A>(data, n, s), s); },
      [&](int64_t n, int64_t first, int64_t last) {
        scale(x, Excitation<A>(data, n, s).gate, static_cast<const A*>(nullptr), y, n, first, last, s);
      });
}

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& s, void* workspace,
                      const Parallel& parallel) {
  using A = accumulator_t<T>;
  A* data = static_cast<A*>(workspace);
  A* products = data + s.batch * Excitation<A>::values(s);  // [batch, channels]
  const int64_t images = s.pixels == 0 ? 0 : s.batch;
  if (images > 0) {
    run(
        s, parallel,
        [&](int64_t n, int64_t first, int64_t last) {
          pool(x, Excitation<A>(data, n, s).pooled, n, first, last, s);
          const ChannelPlanes<const T> planes = channel_planes(x, n, first, last, s);
          plane_sums<T>(channel_planes(grad_y, n, first, last, s), &planes, products + n * s.channels + first);
        },
        [&](int64_t n) {
          const Excitation<A> e(data, n, s);
          excite(gate, e, s);
          excite_backward(gate, products + n * s.channels, e, s);
        },
        [&](int64_t n, int64_t first, int64_t last) {
          const Excitation<A> e(data, n, s);
          if (grad_x != nullptr) scale(grad_y, e.gate, e.grad_pooled, grad_x, n, first, last, s);
        });
  }
  // Sums over the images, one row of a weight per item.
  const auto outer_sums = [&](int64_t rows, int64_t columns, A* weight, A* bias, const auto& row_factor,
                              const auto& column_values) {
    if (weight == nullptr && bias == nullptr) return;
    parallel(rows, math::ceil_div(kOutputsPerThread, max(1, columns * images)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        if (weight != nullptr) zero(weight + row * columns, columns);
        A sum = 0;
        for (int64_t n = 0; n < images; ++n) {
          const Excitation<A> e(data, n, s);
          const A factor = row_factor(e)[row];
          sum += factor;
          if (weight != nullptr) add_scaled(weight + row * columns, factor, column_values(e), columns);
        }
        if (bias != nullptr) bias[row] = sum;
      }
    });
  };
  outer_sums(
      s.squeezed, s.channels, gradient.grad_w1, gradient.grad_b1, [](const Excitation<A>& e) { return e.grad_hidden; },
      [](const Excitation<A>& e) { return e.pooled; });
  outer_sums(
      s.channels, s.squeezed, gradient.grad_w2, gradient.grad_b2, [](const Excitation<A>& e) { return e.grad_gate; },
      [](const Excitation<A>& e) { return e.hidden; });
}

template <typename T>
size_t depthwise_conv2d_se_workspace(const Shape& s, int64_t squeezed) {
  using A = accumulator_t<T>;
  return conv_workspace_bytes<T>(s) + se_gate_workspace<T>(gate_shape(s, squeezed)) +
         static_cast<size_t>(s.batch * s.channels) * sizeof(A);
}

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const Shape& s, int64_t squeezed, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SeGateShape gated = gate_shape(s, squeezed);
  A* data = reinterpret_cast<A*>(static_cast<char*>(workspace) + conv_workspace_bytes<T>(s));
  const Tiling tiling = forward_tiling(s);
  const auto finish = [&](int64_t n, int64_t first, int64_t last) {
    scale<T>(y, Excitation<A>(data, n, gated).gate, static_cast<const A*>(nullptr), y, n, first, last, gated);
  };
  if (tiling.rows > 0 && s.batch >= kUnitsForFusion) {
    return parallel(s.batch, 1, [&](int64_t begin, int64_t end) {
      Scratch<A> scratch;
      for (int64_t n = begin; n < end; ++n) {
        const Excitation<A> e(data, n, gated);
        convolve_channels(input, weight, bias, epilogue, y, e.pooled, n, 0, s.channels, s, tiling, scratch);
        excite(gate, e, gated);
        finish(n, 0, s.channels);
      }
    });
  }
  A* pooled = data + s.batch * (Excitation<A>::values(gated) + s.channels);
  depthwise_conv2d<T>(input, weight, bias, epilogue, y, pooled, s, workspace, parallel);
  run(
      gated, parallel, [](int64_t, int64_t, int64_t) {},
      [&](int64_t n) {
        Excitation<A> e(data, n, gated);
        e.pooled = pooled + n * s.channels;
        excite(gate, e, gated);
      },
      finish);
}

FRNET_INSTANTIATE_SE_GATE(float)
FRNET_INSTANTIATE_SE_GATE(double)
FRNET_INSTANTIATE_SE_GATE(float16)
FRNET_INSTANTIATE_SE_GATE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
