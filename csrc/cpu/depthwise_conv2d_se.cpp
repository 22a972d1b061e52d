// Depthwise convolution and squeeze and excitation on the CPU.
//   thread : whole images where the batch is large enough, else blocks of planes and channels of images, step by step
//   traffic: the convolution's, and one more pass over y where an image does not stay in the second-level cache; the
//            squeeze costs no pass. Backward reads x and grad_y twice and writes grad_x: what the gate and the batch
//            statistics add to a gradient are known once some sums over every plane are.

#include <algorithm>

#include "batch_norm_in_passes.h"
#include "cpu/column_schedule.h"
#include "cpu/depthwise_backward.h"
#include "cpu/depthwise_conv2d_bn_act.h"
#include "cpu/depthwise_conv2d_gates.h"
#include "cpu/gate_gradient.h"
#include "cpu/se_gate.h"
#include "cpu/se_image.h"
#include "gate_in_passes.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

// Sums over a plane, with u = activation(scale v + shift), y the gradient that comes from above and d the derivative
// of the activation: of u, y u, y d, d, y d v, d v.
enum : int64_t { kSumU, kSumYu, kSumYd, kSumD, kSumYdv, kSumDv, kPlaneSums };

template <typename A>
void add_plane_sums(Activation activation, const A* v, const A* grad, int64_t vectors, const LaneEpilogue<A>& lanes,
                    Vec<A>* sums) {
  constexpr int64_t kL = kLanes<A>;
  math::with_activation(activation, [&](auto constant) {
    constexpr Activation kActivation = decltype(constant)::value;
    for (int64_t begin = 0; begin < vectors; begin += kStretch) {
      Vec<A> part[kPlaneSums] = {};
      for (int64_t i = begin * kL; i < min(begin + kStretch, vectors) * kL; i += kL) {
        const Vec<A> value = load(v + i), y = load(grad + i), z = lanes.scale * value + lanes.shift;
        const Vec<A> u = math::activate<A>(kActivation, z, VecExp{});
        const Vec<A> d = math::activation_gradient<A>(kActivation, z, broadcast(A(1)), VecExp{});
        const Vec<A> yd = math::activation_gradient<A>(kActivation, z, y, VecExp{});
        part[kSumU] += u;
        part[kSumYu] += y * u;
        part[kSumYd] += yd;
        part[kSumD] += d;
        part[kSumYdv] += yd * value;
        part[kSumDv] += d * value;
      }
      for (int64_t k = 0; k < kPlaneSums; ++k) sums[k] += part[k];
    }
  });
}

// Images that the sums over planes are kept of at a time.
int64_t images_per_turn(const Shape& s, const Blocks& blocks) { return blocks.across_images ? s.batch : 8; }

// sums: [kPlaneSums, images, channels] of images [first, last).
template <typename T, typename A = accumulator_t<T>>
void plane_sums(const ConvGradient<T>& gradient, A* sums, int64_t first, int64_t last, const Shape& s,
                const Tiling& tiling, const Blocks& blocks, const Parallel& parallel) {
  const int64_t before = blocks.across_images ? 0 : first * blocks.per_image;
  const int64_t count = blocks.across_images ? blocks.count : (last - first) * blocks.per_image;
  parallel(count, block_grain(s, kLanes<A>), [&](int64_t begin, int64_t end) {
    Scratch<A> scratch;
    for (int64_t index = begin; index < end; ++index) {
      const Block block = block_at<A>(before + index, blocks, s);
      const A* packed = scratch.packed_weight(block.c, s, [&](A* to) {
        pack_weight<T, A>(gradient.weight, gradient.bias, nullptr, block.c, block.count, s, to);
      });
      const LaneEpilogue<A> lanes(gradient, block, s.channels);
      const LanePlanes<const T> grad_y = block_planes(gradient.grad_y, block, s.out_height, s.out_width, s);
      Vec<A> total[kPlaneSums] = {};
      convolve_block(gradient.input, packed, block, s, tiling, scratch,
                     [&](const Tile& tile, const LaneImage<A>& results) {
                       // Over the input, which has done its work.
                       const LaneImage<A> grads{scratch.pixels, tile.columns};
                       gather(grad_y, static_cast<const T*>(nullptr),
                              {tile.row, tile.rows, tile.column, tile.columns, s.out_width}, grads, scratch.out_table);
                       scratch.zeroed_for = -1;
                       add_plane_sums(gradient.epilogue.activation, results.data, grads.data, tile.rows * tile.columns,
                                      lanes, total);
                     });
      for (int64_t k = 0; k < kPlaneSums; ++k) {
        store_partial(sums + (k * (last - first) + block.n - first) * s.channels + block.c, total[k], block.count);
      }
    }
  });
}

// The workspace of the backward pass. Its second step needs the excitations of the first.
template <typename T>
struct BackwardRoom {
  using A = accumulator_t<T>;
  A* excitations;
  double* channel_sums;  // [2, channels]
  A* sums;               // [kPlaneSums, images per turn, channels], where the second step has
  void* conv_workspace;
  size_t bytes;

  BackwardRoom(void* workspace, const Shape& s, const SeGateShape& gated) {
    WorkspaceLayout layout(workspace);
    excitations = layout.take<A>(Excitation<A>::values(gated));
    channel_sums = layout.take<double>(2 * s.channels);
    const int64_t images = min(s.batch, images_per_turn(s, Blocks(s, kLanes<A>)));
    conv_workspace = layout.take_bytes(std::max(static_cast<size_t>(kPlaneSums * images * s.channels) * sizeof(A),
                                                depthwise_conv2d_backward_workspace<T>(s)));
    sums = static_cast<A*>(conv_workspace);
    bytes = layout.bytes();
  }
};

template <typename T>
GateInPasses<T> in_passes(void* workspace, const Shape& s, const SeGateShape& gated) {
  return {workspace, s, se_gate_workspace<T>(gated),
          std::max(depthwise_conv2d_workspace<T>(s, false), depthwise_conv2d_backward_workspace<T>(s))};
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_se_workspace(const Shape& s, int64_t squeezed) {
  using A = accumulator_t<T>;
  return conv_workspace_bytes<T>(s) + se_gate_workspace<T>(se_gate_shape(s, squeezed)) +
         static_cast<size_t>(s.batch * s.channels) * sizeof(A);
}

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const Shape& s, int64_t squeezed, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SeGateShape gated = se_gate_shape(s, squeezed);
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
  A* pooled = data + Excitation<A>::values(gated) + s.batch * s.channels;
  depthwise_conv2d<T>(input, weight, bias, epilogue, y, pooled, s, workspace, parallel);
  run_images(
      gated, parallel, [](int64_t, int64_t, int64_t) {},
      [&](int64_t n) {
        Excitation<A> e(data, n, gated);
        e.pooled = pooled + n * s.channels;
        excite(gate, e, gated);
      },
      finish);
}

template <typename T>
size_t depthwise_conv2d_bn_act_se_workspace(const Shape& s, int64_t squeezed) {
  if (forward_keeps_columns<accumulator_t<T>>(s)) {
    return std::max(depthwise_conv2d_bn_act_workspace<T>(s), se_gate_workspace<T>(se_gate_shape(s, squeezed)));
  }
  const size_t passes =
      std::max(depthwise_conv2d_statistics_workspace<T>(s), depthwise_conv2d_se_workspace<T>(s, squeezed));
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, passes).bytes;
}

// Where the results of a block of channels stay in a cache until their statistics are known, the gate is a pass of its
// own; else the statistics are.
template <typename T>
void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                accumulator_t<T>* variance, T* y, const Shape& s, int64_t squeezed, void* workspace,
                                const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (forward_keeps_columns<A>(s)) {
    depthwise_conv2d_bn_act<T>(input, weight, bias, norm, activation, mean, variance, y, s, workspace, parallel);
    return se_gate<T>(y, gate, y, se_gate_shape(s, squeezed), workspace, parallel);
  }
  const BatchNormInPasses<A> room(workspace, s, 0);
  depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, s, room.conv_workspace, parallel);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  depthwise_conv2d_se<T>(input, weight, bias, {room.scale, room.shift, activation}, gate, y, s, squeezed,
                         room.conv_workspace, parallel);
}

template <typename T>
size_t depthwise_conv2d_se_backward_workspace(const Shape& s, int64_t squeezed) {
  const SeGateShape gated = se_gate_shape(s, squeezed);
  return works_in_tiles(s) ? BackwardRoom<T>(nullptr, s, gated).bytes : in_passes<T>(nullptr, s, gated).bytes;
}

template <typename T>
void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                       const SeGateGradient<accumulator_t<T>>& gate_gradient, accumulator_t<T>* sum_g,
                                       accumulator_t<T>* sum_gv, const Shape& s, int64_t squeezed, void* workspace,
                                       const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SeGateShape gated = se_gate_shape(s, squeezed);
  if (!works_in_tiles(s)) {
    const GateInPasses<T> passes = in_passes<T>(workspace, s, gated);
    depthwise_conv2d<T>(gradient.input, gradient.weight, gradient.bias, gradient.epilogue, passes.u, nullptr, s,
                        passes.conv_workspace, parallel);
    se_gate_backward<T>(gradient.grad_y, passes.u, gate, passes.grad_u, gate_gradient, gated, passes.gate_workspace,
                        parallel);
    return depthwise_conv2d_backward_sums<T>(passes.behind(gradient), sum_g, sum_gv, s, passes.conv_workspace,
                                             parallel);
  }
  const BackwardRoom<T> room(workspace, s, gated);
  const Tiling tiling = forward_tiling(s);
  const Blocks blocks(s, kLanes<A>);
  const int64_t turn = images_per_turn(s, blocks), grain = max(1, s.channels * max(1, squeezed));
  const A pixels = static_cast<A>(gated.pixels);
  zero(room.channel_sums, 2 * s.channels);
  for (int64_t first = 0; first < s.batch; first += turn) {
    const int64_t last = min(first + turn, s.batch), planes = (last - first) * s.channels;
    plane_sums(gradient, room.sums, first, last, s, tiling, blocks, parallel);
    parallel(last - first, math::ceil_div(kOutputsPerThread, grain), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Excitation<A> e(room.excitations, first + i, gated);
        const A* sums = room.sums + i * s.channels;
        for (int64_t c = 0; c < s.channels; ++c) e.pooled[c] = sums[kSumU * planes + c] / pixels;
        excite(gate, e, gated);
        excite_backward(gate, sums + kSumYu * planes, e, gated);
        for (int64_t c = 0; c < s.channels; ++c) e.grad_pooled[c] /= pixels;
      }
    });
    // The gradient of u is gate * y + grad_pooled / pixels, so its sums are made of those over the planes.
    parallel(s.channels, math::ceil_div(kOutputsPerThread, kPlaneSums * turn), [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < last - first; ++i) {
        const Excitation<A> e(room.excitations, first + i, gated);
        const A* sums = room.sums + i * s.channels;
        for (int64_t c = begin; c < end; ++c) {
          const double factor = e.gate[c], offset = e.grad_pooled[c];
          room.channel_sums[c] += factor * sums[kSumYd * planes + c] + offset * sums[kSumD * planes + c];
          room.channel_sums[s.channels + c] += factor * sums[kSumYdv * planes + c] + offset * sums[kSumDv * planes + c];
        }
      }
    });
  }
  layer_gradients(gate_gradient, room.excitations, s.batch, gated, parallel);
  for (int64_t c = 0; c < s.channels; ++c) {
    sum_g[c] = static_cast<A>(room.channel_sums[c]);
    sum_gv[c] = static_cast<A>(room.channel_sums[s.channels + c]);
  }
}

template <typename T>
void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output, const Shape& s,
                                  int64_t squeezed, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SeGateShape gated = se_gate_shape(s, squeezed);
  if (!works_in_tiles(s)) {
    const GateInPasses<T> passes = in_passes<T>(workspace, s, gated);
    return depthwise_conv2d_backward<T>(passes.behind(gradient), output, s, passes.conv_workspace, parallel);
  }
  const BackwardRoom<T> room(workspace, s, gated);
  const Excitation<A> all(room.excitations, 0, gated);
  backward_through_gate<T>(gradient, {all.gate, nullptr, all.grad_pooled, nullptr, nullptr, 1}, output, s,
                           room.conv_workspace, parallel);
}

FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
