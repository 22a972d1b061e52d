// Depthwise convolution on the CPU: launchers.
//   thread : blocks of planes (cpu/lanes.h), one after the other
//   traffic: forward reads x once and writes y once; statistics reads x; backward reads x and grad_y and writes
//            grad_x, with batch statistics after reading both once for the sums

#include "cpu/depthwise_conv2d.h"

#include <utility>

#include "cpu/depthwise_backward.h"
#include "cpu/depthwise_direct.h"
#include "cpu/depthwise_forward.h"
#include "cpu/lane_moments.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

int64_t results_of(const Shape& s) { return s.batch * s.channels * s.out_height * s.out_width; }

template <typename A>
size_t result_bytes(const Shape& s) {
  return static_cast<size_t>(results_of(s)) * sizeof(A);
}

// How blocks are shared out for sums over the batch: chunk by chunk, a chunk being some images of one block of
// channels, or some blocks where blocks go across images. From the shape alone, so that the order of summation does
// not depend on the number of threads.
template <typename A>
struct Chunks {
  static constexpr int64_t kWanted = 64;  // enough for that many threads
  static constexpr int64_t kMost = 16;    // blocks per chunk

  Blocks blocks;
  int64_t columns;  // blocks side by side that sum into channels of their own
  int64_t rows;     // blocks over the batch
  int64_t size;     // of them per chunk
  int64_t count;

  explicit Chunks(const Shape& s)
      : blocks(s, kLanes<A>),
        columns(blocks.across_images ? 1 : blocks.per_image),
        rows(blocks.across_images ? blocks.count : s.batch),
        size(min(max(math::ceil_div(rows * columns, kWanted), 1), kMost)),
        count(math::ceil_div(rows, size)) {}

  // Calls body(chunk, first block of channels) over chunks, and inside it next(block) over its blocks.
  template <typename Body>
  void operator()(const Shape& s, const Parallel& parallel, const Body& body) const {
    const int64_t grain = math::ceil_div(block_grain(s, kLanes<A>), size);
    parallel(count * columns, grain, [&](int64_t begin, int64_t end) {
      body(begin, end, [&](int64_t item, const auto& next) {
        const int64_t chunk = item / columns, column = item % columns;
        for (int64_t row = chunk * size; row < min(rows, (chunk + 1) * size); ++row) {
          Block block = block_at<A>(row * columns + column, blocks, s);
          if (!blocks.across_images) {
            block.next_images = 1;
            block.next_channels = 0;
          }
          next(block);
        }
        return chunk;
      });
    });
  }
};

// [taps, or none][grad_v, g, gv] per channel and chunk.
struct BackwardPartials {
  double* value;
  int64_t channels, terms;

  double* at(int64_t chunk, int64_t channel) const { return value + (chunk * channels + channel) * terms; }
};

template <typename T>
void backward_partials(const ConvGradient<T>& gradient, const GateGradient<accumulator_t<T>>& gate, T* grad_x,
                       bool wants_weight, bool wants_gv, const BackwardTiling& tiling, const BackwardPartials& partials,
                       const Shape& s, const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const bool needs_v = wants_gv || gradient.linear != nullptr || gradient.epilogue.activation != Activation::none;
  const Chunks<A> chunks(s);
  chunks(s, parallel, [&](int64_t begin, int64_t end, const auto& walk) {
    Scratch<A> scratch;
    LaneSums<A> sums;
    zero(sums.value, partials.terms * kL);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chunk = item / chunks.columns;
      zero(sums.total, partials.terms * kL);
      const int64_t first_channel = chunks.blocks.across_images ? 0 : item % chunks.columns * kL;
      const int64_t channels = chunks.blocks.across_images ? s.channels : min(kL, s.channels - first_channel);
      for (int64_t c = 0; c < channels; ++c) zero(partials.at(chunk, first_channel + c), partials.terms);
      const auto add = [&](const Block& block) {
        int64_t c = block.c;
        for (int64_t l = 0; l < block.count; ++l) {
          double* to = partials.at(chunk, c);
          for (int64_t k = 0; k < partials.terms; ++k) to[k] += sums.total[k * kL + l];
          if (++c == s.channels) c = 0;
        }
        zero(sums.total, partials.terms * kL);
      };
      Block last{0, first_channel, 0};
      walk(item, [&](const Block& block) {
        const A* weight = scratch.packed_weight(block.c, s, [&](A* to) {
          pack_weight<T, A>(gradient.weight, gradient.bias, nullptr, block.c, block.count, s, to);
        });
        with_square_kernel(s, [&](auto k, auto stride) {
          backward_block<T, decltype(k)::value, decltype(stride)::value>(gradient, gate, grad_x, wants_weight, needs_v,
                                                                         block, s, tiling, weight, scratch, sums);
        });
        sums.flush(partials.terms);
        if (chunks.blocks.across_images) add(block);
        last = block;
      });
      if (!chunks.blocks.across_images) add(last);
    }
  });
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_workspace(const Shape& s, bool) {
  return forward_tiling(s).rows > 0 ? 0 : result_bytes<accumulator_t<T>>(s);
}

template <typename T>
void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                      const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled, const Shape& s,
                      void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Tiling tiling = forward_tiling(s);
  if (tiling.rows == 0) {
    return direct::forward(input, weight, bias, epilogue, y, pooled, s, static_cast<A*>(workspace), parallel);
  }
  const Blocks blocks(s, kLanes<A>);
  parallel(blocks.count, block_grain(s, kLanes<A>), [&](int64_t begin, int64_t end) {
    Scratch<A> scratch;
    for (int64_t index = begin; index < end; ++index) {
      const Block block = block_at<A>(index, blocks, s);
      forward_block(input, weight, bias, epilogue, y,
                    pooled == nullptr ? nullptr : pooled + block.n * s.channels + block.c, block, s, tiling, scratch);
    }
  });
}

template <typename T>
size_t depthwise_conv2d_statistics_workspace(const Shape& s) {
  using A = accumulator_t<T>;
  if (forward_tiling(s).rows == 0) return result_bytes<A>(s);
  return static_cast<size_t>(Chunks<A>(s).count * s.channels) * sizeof(Moments);
}

template <typename T>
void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, const Shape& s, void* workspace,
                                 const Parallel& parallel) {
  depthwise_conv2d_with_statistics<T>(input, weight, bias, nullptr, mean, variance, s, workspace, parallel);
}

template <typename T>
void depthwise_conv2d_with_statistics(const ConvInput<T>& input, const T* weight, const T* bias, T* y,
                                      accumulator_t<T>* mean, accumulator_t<T>* variance, const Shape& s,
                                      void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const Tiling tiling = forward_tiling(s);
  if (tiling.rows == 0) {
    A* v = static_cast<A*>(workspace);
    direct::convolve(input, weight, bias, v, s, parallel);
    return direct::statistics(v, mean, variance, s, parallel);
  }
  Moments* partials = static_cast<Moments*>(workspace);
  const Chunks<A> chunks(s);
  chunks(s, parallel, [&](int64_t begin, int64_t end, const auto& walk) {
    Scratch<A> scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first_channel = chunks.blocks.across_images ? 0 : item % chunks.columns * kL;
      const int64_t channels = chunks.blocks.across_images ? s.channels : min(kL, s.channels - first_channel);
      Moments* moments = partials + item / chunks.columns * s.channels;
      for (int64_t c = 0; c < channels; ++c) moments[first_channel + c] = Moments{};
      LaneMoments<A> lanes;
      Block last{0, first_channel, 0};
      walk(item, [&](const Block& block) {
        const A* packed = scratch.packed_weight(
            block.c, s, [&](A* to) { pack_weight<T, A>(weight, bias, nullptr, block.c, block.count, s, to); });
        convolve_block(input, packed, block, s, tiling, scratch, [&](const Tile& tile, const LaneImage<A>& results) {
          const int64_t vectors = tile.rows * tile.columns;
          const Vec<A> center = activate_vectors(Activation::none, results.data, vectors) / static_cast<A>(vectors);
          lanes.merge(static_cast<double>(vectors), center, squared_deviations(results.data, vectors, center));
          if (y == nullptr) return;
          scatter(results, block_planes(y, block, s.out_height, s.out_width, s),
                  {tile.row, tile.rows, tile.column, tile.columns, s.out_width}, scratch.out_table);
        });
        if (chunks.blocks.across_images) lanes.flush(block, s.channels, moments);
        last = block;
      });
      lanes.flush(last, s.channels, moments);
    }
  });
  for (int64_t c = 0; c < s.channels; ++c) {
    Moments all;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const Moments& part = partials[chunk * s.channels + c];
      all.merge(part.count, part.mean, part.squares);
    }
    mean[c] = static_cast<A>(all.count > 0 ? all.mean : __builtin_nan(""));
    variance[c] = static_cast<A>(all.squares / all.count);
  }
}

template <typename T>
size_t depthwise_conv2d_backward_workspace(const Shape& s) {
  using A = accumulator_t<T>;
  const int64_t taps = s.kernel_h * s.kernel_w;
  if (BackwardTiling(s, true).rows == 0) {
    return result_bytes<A>(s) + static_cast<size_t>(s.channels * kSumCount) * sizeof(double);
  }
  return static_cast<size_t>(Chunks<A>(s).count * s.channels * (taps + kSumCount)) * sizeof(double);
}

template <typename T>
void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                    const Shape& s, void* workspace, const Parallel& parallel) {
  ConvGradient<T> without_statistics = gradient;
  without_statistics.constant = without_statistics.linear = nullptr;
  ConvGradientOutput<T> output;
  output.grad_shift = sum_g;
  output.grad_scale = sum_gv;
  depthwise_conv2d_backward(without_statistics, output, s, workspace, parallel);
}

template <typename T>
void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output, const Shape& s,
                               void* workspace, const Parallel& parallel) {
  backward_through_gate(gradient, GateGradient<accumulator_t<T>>(), output, s, workspace, parallel);
}

bool works_in_tiles(const Shape& s) { return forward_tiling(s).rows > 0 && BackwardTiling(s, true).rows > 0; }

template <typename T>
void backward_through_gate(const ConvGradient<T>& given, const GateGradient<accumulator_t<T>>& gate,
                           const ConvGradientOutput<T>& output, const Shape& s, void* workspace,
                           const Parallel& parallel) {
  using A = accumulator_t<T>;
  ConvGradient<T> gradient = given;
  if (gradient.grad_y == nullptr) std::swap(gradient.grad_y, gradient.grad_y_addend);
  const bool wants_weight = output.grad_weight != nullptr;
  const int64_t taps = wants_weight ? s.kernel_h * s.kernel_w : 0;
  // Which way is chosen as the workspace was sized: for the most that can be asked for.
  const BackwardTiling widest(s, true);
  const bool direct_way = widest.rows == 0;
  double* partials = static_cast<double*>(workspace);
  int64_t chunks = 1;
  if (direct_way) {
    double* sums = partials;
    A* v = reinterpret_cast<A*>(sums + s.channels * kSumCount);
    direct::convolve(gradient.input, gradient.weight, gradient.bias, v, s, parallel);
    direct::form_gradient(gradient, v, sums, s, parallel);
    if (output.grad_x != nullptr) direct::backward_input(v, gradient.weight, output.grad_x, s, parallel);
    if (wants_weight) direct::backward_weight(v, gradient.input, output.grad_weight, s, parallel);
    partials = sums;
  } else {
    chunks = Chunks<A>(s).count;
    backward_partials(gradient, gate, output.grad_x, wants_weight, output.grad_scale != nullptr,
                      output.grad_x != nullptr ? widest : BackwardTiling(s, false),
                      {partials, s.channels, taps + kSumCount}, s, parallel);
  }
  const BackwardPartials all{partials, s.channels, direct_way ? int64_t{kSumCount} : taps + kSumCount};
  const int64_t first = direct_way ? 0 : taps;
  parallel(s.channels, math::ceil_div(kOutputsPerThread, max(1, chunks * all.terms)), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      double sum[kMaxTaps + kSumCount] = {};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const double* part = all.at(chunk, c);
        for (int64_t k = 0; k < all.terms; ++k) sum[k] += part[k];
      }
      for (int64_t k = 0; k < first; ++k) output.grad_weight[c * taps + k] = math::narrow<T>(static_cast<A>(sum[k]));
      const auto total = [&](int64_t k) { return static_cast<A>(sum[first + k]); };
      if (output.grad_bias != nullptr) output.grad_bias[c] = math::narrow<T>(total(kSumGradV));
      if (output.grad_shift != nullptr) output.grad_shift[c] = total(kSumG);
      if (output.grad_scale != nullptr) output.grad_scale[c] = total(kSumGv);
    }
  });
}

#define FRNET_INSTANTIATE(T)                                                                                        \
  FRNET_INSTANTIATE_DEPTHWISE_CONV2D(T)                                                                             \
  template void backward_through_gate<T>(const ConvGradient<T>&, const GateGradient<accumulator_t<T>>&,             \
                                         const ConvGradientOutput<T>&, const Shape&, void*, const Parallel&);       \
  template void depthwise_conv2d_with_statistics<T>(const ConvInput<T>&, const T*, const T*, T*, accumulator_t<T>*, \
                                                    accumulator_t<T>*, const Shape&, void*, const Parallel&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace frnet::cpu::FRNET_ISA
