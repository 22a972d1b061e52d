// Depthwise convolution with batch statistics on the CPU.
//   thread : the planes of one block of channels over the whole batch, where those stay in a cache from the pass that
//            takes the statistics to the one that uses them; else both passes over the whole tensor
//   traffic: reads x once and writes y once, backward reads x and grad_y once and writes grad_x; in passes, y is
//   written,
//            read and written again, and backward reads twice

#include "cpu/depthwise_conv2d_bn_act.h"

#include <algorithm>
#include <utility>

#include "batch_norm_in_passes.h"
#include "cpu/column_schedule.h"
#include "cpu/depthwise_backward.h"
#include "cpu/depthwise_conv2d.h"
#include "cpu/depthwise_forward.h"
#include "cpu/gate_gradient.h"
#include "cpu/lane_moments.h"
#include "cpu/sge_epilogue.h"
#include "math/batch_norm.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

// Vectors that the backward pass keeps of one image: its padded input, v and the gradient.
int64_t backward_vectors(const Shape& s, const BackwardTile& tile) {
  return tile.y.image_size * tile.x.image_size + 2 * s.out_height * s.out_width;
}

// gamma and beta of a block's channels; null: 1 and 0.
template <typename A>
struct LaneNorm {
  Vec<A> gamma, beta;

  LaneNorm(const BatchNorm<A>& norm, const Block& block)
      : gamma(norm.gamma == nullptr ? broadcast(A(1)) : load_partial(norm.gamma + block.c, block.count)),
        beta(norm.beta == nullptr ? Vec<A>{} : load_partial(norm.beta + block.c, block.count)) {}
};

template <typename T>
void normalise_column(const ConvInput<T>& input, const T* weight, const T* bias,
                      const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                      accumulator_t<T>* variance, T* y, const Shape& s, const Tiling& tiling, Block block,
                      Scratch<accumulator_t<T>>& scratch, accumulator_t<T>* kept) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const int64_t pixels = forward_vectors(s);
  const A* packed = scratch.packed_weight(
      block.c, s, [&](A* to) { pack_weight<T, A>(weight, bias, nullptr, block.c, block.count, s, to); });
  const Tile tile = tiling.tile(0, s);
  const InputTile in(tile, input_columns(s, tile.columns), s);
  LaneMoments<A> moments;
  for (block.n = 0; block.n < s.batch; ++block.n) {
    A* const v = kept + block.n * pixels * kL;
    convolve_tile(input, block_planes(input.x, block, s.in_height, s.in_width, s), packed, tile, in,
                  scratch.zeroed_for == 0, LaneImage<A>{scratch.pixels, in.pitch}, LaneImage<A>{v, s.out_width}, s,
                  scratch.in_table);
    scratch.zeroed_for = 0;
    const Vec<A> center = activate_vectors(Activation::none, v, pixels) / static_cast<A>(pixels);
    moments.merge(static_cast<double>(pixels), center, squared_deviations(v, pixels, center));
  }
  alignas(kVectorBytes) A means[kL], variances[kL], inverse[kL];
  for (int64_t l = 0; l < kL; ++l) {
    means[l] = static_cast<A>(moments.mean[l]);
    variances[l] = static_cast<A>(moments.squares[l] / moments.count);
    inverse[l] = math::inverse_std(variances[l], norm.epsilon);
  }
  store_partial(mean + block.c, load(means), block.count);
  store_partial(variance + block.c, load(variances), block.count);
  const LaneNorm<A> affine(norm, block);
  const Vec<A> scale = affine.gamma * load(inverse), shift = affine.beta - load(means) * scale;
  for (block.n = 0; block.n < s.batch; ++block.n) {
    A* const v = kept + block.n * pixels * kL;
    math::with_activation(activation, [&](auto constant) {
      for (int64_t i = 0; i < pixels * kL; i += kL) {
        store(v + i, math::activate<A>(decltype(constant)::value, scale * load(v + i) + shift, VecExp{}));
      }
    });
    scatter(LaneImage<A>{v, s.out_width}, block_planes(y, block, s.out_height, s.out_width, s),
            {0, s.out_height, 0, s.out_width, s.out_width}, scratch.out_table);
  }
}

// Both passes of the backward over one block of channels. The first keeps, image by image, the input, v less its mean
// and g, the gradient behind the activation, times the scale; the second takes the gradients.
template <typename T, int K, int S>
void backward_column(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                     const ConvGradientOutput<T>& output, const Shape& s, const BackwardTile& tile, Block block,
                     Scratch<accumulator_t<T>>& scratch, accumulator_t<T>* kept) {
  using A = accumulator_t<T>;
  constexpr int64_t kL = kLanes<A>;
  const int64_t taps = s.kernel_h * s.kernel_w, pixels = s.out_height * s.out_width;
  const LaneNorm<A> affine(norm, block);
  const Vec<A> mean = load_partial(norm.mean + block.c, block.count);
  alignas(kVectorBytes) A inverse[kL] = {};
  for (int64_t l = 0; l < block.count; ++l) {
    inverse[l] = math::inverse_std(norm.variance[block.c + l], norm.epsilon);
  }
  const Vec<A> inv_std = load(inverse), scale = affine.gamma * inv_std;
  const A* weight = scratch.packed_weight(block.c, s, [&](A* to) {
    pack_weight<T, A>(gradient.weight, gradient.bias, nullptr, block.c, block.count, s, to);
  });
  const Vec<A> centered_bias = load(weight + taps * kL) - mean;
  const auto image_of = [&](int64_t n) {
    return LaneImage<A>{kept + n * backward_vectors(s, tile) * kL, tile.x.image_size};
  };

  double sum_g[kL] = {}, sum_gv[kL] = {};
  for (block.n = 0; block.n < s.batch; ++block.n) {
    const LaneImage<A> image = image_of(block.n);
    A *const v = image.at(tile.y.image_size, 0), *const g = v + pixels * kL;
    gather_input(gradient.input, block_planes(gradient.input.x, block, s.in_height, s.in_width, s), tile, image, s,
                 scratch.in_table);
    for (int64_t r = 0; r < s.out_height; ++r) {
      needed_row<A, K, S>(image, tile, r, weight, centered_bias, v + r * s.out_width * kL, s);
    }
    const LanePlanes<const T> grad_y = block_planes(gradient.grad_y, block, s.out_height, s.out_width, s);
    gather(grad_y,
           gradient.grad_y_addend == nullptr ? nullptr : gradient.grad_y_addend + (grad_y.data - gradient.grad_y),
           {0, s.out_height, 0, s.out_width, s.out_width}, LaneImage<A>{g, s.out_width}, scratch.out_table);
    Vec<A> sums[kSumCount] = {};
    form_gradient(gradient.epilogue.activation, g, v, pixels, {scale, affine.beta}, sums);
    for (int64_t l = 0; l < kL; ++l) {
      sum_g[l] += sums[kSumG][l];
      sum_gv[l] += sums[kSumGv][l];
    }
  }

  alignas(kVectorBytes) A constants[kL] = {}, linears[kL] = {};
  for (int64_t l = 0; l < block.count; ++l) {
    const auto terms = math::batch_norm_terms<A>(scale[l], 0, inv_std[l], static_cast<A>(sum_g[l]),
                                                 static_cast<A>(sum_gv[l]), static_cast<A>(s.batch * pixels));
    constants[l] = terms.constant;
    linears[l] = terms.linear;
    if (output.grad_scale != nullptr) output.grad_scale[block.c + l] = terms.grad_gamma;
    if (output.grad_shift != nullptr) output.grad_shift[block.c + l] = static_cast<A>(sum_g[l]);
  }

  const Vec<A> constant = load(constants), linear = load(linears);
  const int64_t left = tile.x.need_begin - tile.x.grad_begin;
  const LaneImage<A> grads{scratch.pixels, tile.x.grad_size};
  zero_border(grads, s.out_height, 0, s.out_height, left, left + s.out_width);
  LaneSums<A> sums;
  zero(sums.value, (taps + 1) * kL);
  zero(sums.total, (taps + 1) * kL);
  for (block.n = 0; block.n < s.batch; ++block.n) {
    const LaneImage<A> image = image_of(block.n);
    const A *v = image.at(tile.y.image_size, 0), *g = v + pixels * kL;
    Vec<A> sum_grad_v = {};
    for (int64_t r = 0; r < s.out_height; ++r) {
      A* const row = grads.at(r, left);
      for (int64_t i = 0; i < s.out_width * kL; i += kL, v += kL, g += kL) {
        const Vec<A> grad_v = load(g) + (constant + linear * load(v));
        sum_grad_v += grad_v;
        store(row + i, grad_v);
      }
    }
    store(sums.value + taps * kL, sum_grad_v);
    if (output.grad_weight != nullptr) add_weight_gradient<A, K, S>(grads, image, tile, sums.value, s);
    sums.flush(taps + 1);
    if (output.grad_x != nullptr) {
      scatter_input_gradient<T, K, S>(grads, image, tile, weight,
                                      block_planes(output.grad_x, block, s.in_height, s.in_width, s), s,
                                      scratch.in_table);
    }
  }
  for (int64_t l = 0; l < block.count; ++l) {
    const int64_t c = block.c + l;
    const auto total = [&](int64_t k) { return math::narrow<T>(static_cast<A>(sums.total[k * kL + l])); };
    for (int64_t k = 0; output.grad_weight != nullptr && k < taps; ++k) output.grad_weight[c * taps + k] = total(k);
    if (output.grad_bias != nullptr) output.grad_bias[c] = total(taps);
  }
}

template <typename T>
void activate_in_place(T* y, const Epilogue<accumulator_t<T>>& epilogue, const Shape& s, const Parallel& parallel) {
  constexpr int64_t kTogether = 32;  // channels
  const int64_t pixels = s.out_height * s.out_width, blocks = math::ceil_div(s.channels, kTogether);
  parallel(s.batch * blocks, math::ceil_div(kOutputsPerThread, max(1, kTogether * pixels)),
           [&](int64_t begin, int64_t end) {
             for (int64_t item = begin; item < end; ++item) {
               const int64_t n = item / blocks, c = item % blocks * kTogether;
               const ChannelPlanes<T> planes(y + n * s.memory_channels * pixels, c, min(kTogether, s.channels - c),
                                             pixels, s.memory_channels, s.layout);
               const ChannelPlanes<const T> v(y + n * s.memory_channels * pixels, c, min(kTogether, s.channels - c),
                                              pixels, s.memory_channels, s.layout);
               activate_group(v, GroupEpilogue<accumulator_t<T>>(epilogue, c), planes);
             }
           });
}

// Calls body(block of channels, scratch, what is kept) for all of them.
template <typename A, typename Body>
void for_columns(const Shape& s, const Parallel& parallel, const Body& body) {
  constexpr int64_t kL = kLanes<A>;
  parallel(math::ceil_div(s.channels, kL), math::ceil_div(block_grain(s, kL), s.batch),
           [&](int64_t begin, int64_t end) {
             Scratch<A> scratch;
             alignas(kVectorBytes) A kept[kColumnBytes / sizeof(A)];
             for (int64_t c = begin * kL; c < min(end * kL, s.channels); c += kL) {
               body(Block{0, c, min(kL, s.channels - c), 1, 0}, scratch, kept);
             }
           });
}

// (Judged by the most that can be asked for, as the workspace is sized.)
template <typename A>
bool backward_keeps_columns(const Shape& s) {
  const BackwardTiling tiling(s, true);
  return keeps_columns<A>(s, tiling, backward_vectors(s, tiling.single));
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_bn_act_workspace(const Shape& s) {
  if (forward_keeps_columns<accumulator_t<T>>(s)) return 0;
  const size_t conv = std::max(depthwise_conv2d_statistics_workspace<T>(s), depthwise_conv2d_workspace<T>(s, false));
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, conv).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                             const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                             accumulator_t<T>* variance, T* y, const Shape& s, void* workspace,
                             const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (forward_keeps_columns<A>(s)) {
    const Tiling tiling = forward_tiling(s);
    return for_columns<A>(s, parallel, [&](const Block& block, Scratch<A>& scratch, A* kept) {
      normalise_column(input, weight, bias, norm, activation, mean, variance, y, s, tiling, block, scratch, kept);
    });
  }
  const BatchNormInPasses<A> room(workspace, s, 0);
  // To read v again takes less than to compute it again, but 16 bits would round it.
  const bool stores_v = sizeof(T) == sizeof(A) && works_in_tiles(s);
  depthwise_conv2d_with_statistics<T>(input, weight, bias, stores_v ? y : nullptr, mean, variance, s,
                                      room.conv_workspace, parallel);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  if (stores_v) return activate_in_place<T>(y, {room.scale, room.shift, activation}, s, parallel);
  depthwise_conv2d<T>(input, weight, bias, {room.scale, room.shift, activation}, y, nullptr, s, room.conv_workspace,
                      parallel);
}

template <typename T>
size_t depthwise_conv2d_bn_act_backward_workspace(const Shape& s) {
  if (backward_keeps_columns<accumulator_t<T>>(s)) return 0;
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, depthwise_conv2d_backward_workspace<T>(s)).bytes;
}

template <typename T>
void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& given, const BatchNorm<accumulator_t<T>>& norm,
                                      const ConvGradientOutput<T>& output, const Shape& s, void* workspace,
                                      const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (backward_keeps_columns<A>(s)) {
    ConvGradient<T> gradient = given;
    if (gradient.grad_y == nullptr) std::swap(gradient.grad_y, gradient.grad_y_addend);
    const BackwardTile tile = BackwardTiling(s, output.grad_x != nullptr).single;
    return for_columns<A>(s, parallel, [&](const Block& block, Scratch<A>& scratch, A* kept) {
      with_square_kernel(s, [&](auto k, auto stride) {
        backward_column<T, decltype(k)::value, decltype(stride)::value>(gradient, norm, output, s, tile, block, scratch,
                                                                        kept);
      });
    });
  }
  const BatchNormInPasses<A> room(workspace, s, 0);
  ConvGradient<T> gradient = given;
  gradient.epilogue = {room.scale, room.shift, given.epilogue.activation};
  gradient.constant = gradient.linear = nullptr;
  A* const sum_g = output.grad_shift != nullptr ? output.grad_shift : room.sum_g;
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  depthwise_conv2d_backward_sums<T>(gradient, sum_g, room.sum_gv, s, room.conv_workspace, parallel);
  cpu::batch_norm_terms<A>(norm, sum_g, room.sum_gv, s.batch * s.out_height * s.out_width, room.constant, room.linear,
                           output.grad_scale, s.channels, parallel);
  gradient.constant = room.constant;
  gradient.linear = room.linear;
  ConvGradientOutput<T> of_convolution = output;
  of_convolution.grad_scale = of_convolution.grad_shift = nullptr;
  depthwise_conv2d_backward<T>(gradient, of_convolution, s, room.conv_workspace, parallel);
}

FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
