// Depthwise convolution and the spatial group-wise enhance gate on the CPU.
//   thread : the groups of an image whose channels fill vectors and whose results stay in the second-level cache,
//            convolved and then gated; where an image's groups are too large or too few for that, the convolution and
//            the gate in turn over the whole tensor
//   traffic: reads x once and writes y once. Backward reads x and grad_y twice and writes grad_x: first for what the
//            gate makes of a gradient, group by group, then for the gradients

#include <algorithm>

#include "batch_norm_in_passes.h"
#include "cpu/column_schedule.h"
#include "cpu/depthwise_backward.h"
#include "cpu/depthwise_conv2d_bn_act.h"
#include "cpu/depthwise_conv2d_gates.h"
#include "cpu/gate_gradient.h"
#include "cpu/gate_schedule.h"
#include "cpu/partial_sums.h"
#include "cpu/sge_epilogue.h"
#include "cpu/sge_gate.h"
#include "cpu/sge_image.h"
#include "gate_in_passes.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

SgeGateShape gate_shape(const Shape& s, int64_t groups) {
  return {s.batch, s.channels, s.out_height * s.out_width, groups, s.layout};
}

// The backward pass keeps the convolution's results before and behind the activation in the cache.
constexpr int64_t kCachedBackwardBytes = kCachedBytes / 2;

template <typename A>
GroupUnits backward_units(const Shape& s, const SgeGateShape& gated) {
  return group_units<A>(s.channels / gated.groups, gated.groups, gated.pixels, s.batch, kCachedBackwardBytes);
}

template <typename A>
bool stays_in_cache(const Shape& s, const SgeGateShape& gated) {
  const GroupUnits units = backward_units<A>(s, gated);
  const int64_t bytes = units.groups * units.channels * gated.pixels * static_cast<int64_t>(sizeof(A));
  return works_in_tiles(s) && gated.pixels <= kStackPixels && bytes <= kCachedBackwardBytes;
}

// What both steps of the backward pass share.
template <typename T>
struct BackwardRoom {
  using A = accumulator_t<T>;
  A *gate, *grad_t;            // [batch, groups, pixels]
  A *mean, *through_mean;      // [batch, channels]
  A *sum_g, *sum_gv;           // [batch, channels]
  A *grad_weight, *grad_bias;  // [batch, groups]
  void* conv_workspace;
  size_t bytes;

  BackwardRoom(void* workspace, const Shape& s, const SgeGateShape& gated) {
    WorkspaceLayout layout(workspace);
    const int64_t maps = s.batch * gated.groups * gated.pixels, planes = s.batch * s.channels;
    gate = layout.take<A>(maps);
    grad_t = layout.take<A>(maps);
    for (A** values : {&mean, &through_mean, &sum_g, &sum_gv}) *values = layout.take<A>(planes);
    for (A** values : {&grad_weight, &grad_bias}) *values = layout.take<A>(s.batch * gated.groups);
    conv_workspace = layout.take_bytes(depthwise_conv2d_backward_workspace<T>(s));
    bytes = layout.bytes();
  }
};

template <typename T>
GateInPasses<T> in_passes(void* workspace, const Shape& s, const SgeGateShape& gated) {
  return {workspace, s, sge_gate_workspace<T>(gated),
          std::max(depthwise_conv2d_workspace<T>(s, false), depthwise_conv2d_backward_workspace<T>(s))};
}

// The groups of one unit: everything that the gate's gradient is made of, and the sums.
template <typename T>
class UnitGradients {
 public:
  using A = accumulator_t<T>;

  void operator()(const ConvGradient<T>& gradient, const SgeGate<A>& gate, int64_t n, int64_t first, int64_t last,
                  const Shape& s, const SgeGateShape& gated, const Tiling& tiling, const BackwardRoom<T>& room) {
    const int64_t each = s.channels / gated.groups, channels = (last - first) * each, pixels = gated.pixels;
    convolve(gradient, n, first * each, channels, s, tiling);
    for (int64_t group = first; group < last; ++group) {
      const int64_t c = group * each, item = n * gated.groups + group, plane = n * s.channels + c;
      const ChannelPlanes<const A> v(v_, c - first * each, each, pixels, channels, s.layout);
      const GroupEpilogue<A> epilogue(gradient.epilogue, c);
      activate_group(v, epilogue, ChannelPlanes<T>(u_, 0, each, pixels, each, s.layout));
      const ChannelPlanes<const T> u(u_, 0, each, pixels, each, s.layout);
      const ChannelPlanes<const T> grad_y = group_planes(gradient.grad_y, n, group, gated);
      A *mean = room.mean + plane, *through_mean = room.through_mean + plane;
      A *map = room.gate + item * pixels, *grad_t = room.grad_t + item * pixels;
      const SgeParameterGradient<A> parameters =
          gate_group_gradients<T>(grad_y, u, gate.weight[group], gate.bias[group], mean, through_mean, t_, map, grad_t);
      room.grad_weight[item] = parameters.weight;
      room.grad_bias[item] = parameters.bias;
      sum_gradients(
          grad_y, v, epilogue, map, grad_t, mean, through_mean,
          [](auto, Vec<A> value, int64_t, int64_t) { return value; }, [](int64_t, int64_t, int64_t, Vec<A>) {},
          room.sum_g + plane, room.sum_gv + plane);
    }
  }

 private:
  // v of `channels` channels from `first` on, as dense planes in the tensor's layout.
  void convolve(const ConvGradient<T>& gradient, int64_t n, int64_t first, int64_t channels, const Shape& s,
                const Tiling& tiling) {
    constexpr int64_t kL = kLanes<A>;
    const int64_t pixels = s.out_height * s.out_width;
    for (int64_t c = 0; c < channels; c += kL) {
      const Block block{n, first + c, min(kL, channels - c), 0, kL};
      const LanePlanes<A> planes = s.layout == Layout::channels_last
                                       ? LanePlanes<A>{v_ + c, 1, channels, block.count}
                                       : LanePlanes<A>{v_ + c * pixels, pixels, 1, block.count};
      const A* packed = scratch_.packed_weight(block.c, s, [&](A* to) {
        pack_weight<T, A>(gradient.weight, gradient.bias, nullptr, block.c, block.count, s, to);
      });
      convolve_block(
          gradient.input, packed, block, s, tiling, scratch_, [&](const Tile& tile, const LaneImage<A>& results) {
            scatter(results, planes, {tile.row, tile.rows, tile.column, tile.columns, s.out_width}, scratch_.out_table);
          });
    }
  }

  Scratch<A> scratch_;
  alignas(kVectorBytes) A v_[kCachedBackwardBytes / sizeof(A)];
  alignas(kVectorBytes) T u_[kCachedBackwardBytes / sizeof(A)];
  alignas(kVectorBytes) A t_[kStackPixels];
};

}  // namespace

template <typename T>
size_t depthwise_conv2d_sge_workspace(const Shape& s, int64_t groups) {
  return conv_workspace_bytes<T>(s) + sge_gate_workspace<T>(gate_shape(s, groups));
}

template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const Shape& s, int64_t groups, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeGateShape gated = gate_shape(s, groups);
  const SgeWorkspace<A> room{reinterpret_cast<A*>(static_cast<char*>(workspace) + conv_workspace_bytes<T>(s)), gated};
  const Tiling tiling = forward_tiling(s);
  const GroupUnits units = group_units<A>(s.channels / groups, groups, gated.pixels, s.batch, kCachedBytes);
  if (tiling.rows == 0 || !units.worthwhile) {
    depthwise_conv2d<T>(input, weight, bias, epilogue, y, nullptr, s, workspace, parallel);
    return gate_images<T>(y, gate, y, gated, room, parallel);
  }
  parallel(s.batch * units.per_image, 1, [&](int64_t begin, int64_t end) {
    Scratch<A> scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t n = item / units.per_image;
      const int64_t first = item % units.per_image * units.groups, last = min(first + units.groups, groups);
      convolve_channels(input, weight, bias, epilogue, y, static_cast<A*>(nullptr), n, first * units.channels,
                        last * units.channels, s, tiling, scratch);
      for (int64_t group = first; group < last; ++group) gate_one<T>(y, gate, y, n, group, gated, room, scratch.pixels);
      scratch.zeroed_for = -1;
    }
  });
}

template <typename T>
size_t depthwise_conv2d_bn_act_sge_workspace(const Shape& s, int64_t groups) {
  if (forward_keeps_columns<accumulator_t<T>>(s)) {
    return std::max(depthwise_conv2d_bn_act_workspace<T>(s), sge_gate_workspace<T>(gate_shape(s, groups)));
  }
  const size_t passes =
      std::max(depthwise_conv2d_statistics_workspace<T>(s), depthwise_conv2d_sge_workspace<T>(s, groups));
  return BatchNormInPasses<accumulator_t<T>>(nullptr, s, passes).bytes;
}

// Where the results of a block of channels stay in a cache until their statistics are known, the gate is a pass of its
// own; else the statistics are.
template <typename T>
void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                 const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const Shape& s, int64_t groups, void* workspace,
                                 const Parallel& parallel) {
  using A = accumulator_t<T>;
  if (forward_keeps_columns<A>(s)) {
    depthwise_conv2d_bn_act<T>(input, weight, bias, norm, activation, mean, variance, y, s, workspace, parallel);
    return sge_gate<T>(y, gate, y, gate_shape(s, groups), workspace, parallel);
  }
  const BatchNormInPasses<A> room(workspace, s, 0);
  depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, s, room.conv_workspace, parallel);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  depthwise_conv2d_sge<T>(input, weight, bias, {room.scale, room.shift, activation}, gate, y, s, groups,
                          room.conv_workspace, parallel);
}

template <typename T>
size_t depthwise_conv2d_sge_backward_workspace(const Shape& s, int64_t groups) {
  const SgeGateShape gated = gate_shape(s, groups);
  return stays_in_cache<accumulator_t<T>>(s, gated) ? BackwardRoom<T>(nullptr, s, gated).bytes
                                                    : in_passes<T>(nullptr, s, gated).bytes;
}

template <typename T>
void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                        accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                        accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv, const Shape& s,
                                        int64_t groups, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const SgeGateShape gated = gate_shape(s, groups);
  if (!stays_in_cache<A>(s, gated)) {
    const GateInPasses<T> passes = in_passes<T>(workspace, s, gated);
    depthwise_conv2d<T>(gradient.input, gradient.weight, gradient.bias, gradient.epilogue, passes.u, nullptr, s,
                        passes.conv_workspace, parallel);
    sge_gate_backward<T>(gradient.grad_y, passes.u, gate, passes.grad_u, grad_weight, grad_bias, gated,
                         passes.gate_workspace, parallel);
    return depthwise_conv2d_backward_sums<T>(passes.behind(gradient), sum_g, sum_gv, s, passes.conv_workspace,
                                             parallel);
  }
  const BackwardRoom<T> room(workspace, s, gated);
  const Tiling tiling = forward_tiling(s);
  const GroupUnits units = backward_units<A>(s, gated);
  const int64_t outputs = units.groups * units.channels * gated.pixels;
  parallel(s.batch * units.per_image, math::ceil_div(kOutputsPerThread, max(1, outputs)),
           [&](int64_t begin, int64_t end) {
             UnitGradients<T> unit;
             for (int64_t item = begin; item < end; ++item) {
               const int64_t first = item % units.per_image * units.groups;
               unit(gradient, gate, item / units.per_image, first, min(first + units.groups, groups), s, gated, tiling,
                    room);
             }
           });
  sum_partials(room.grad_weight, s.batch, groups, grad_weight, parallel);
  sum_partials(room.grad_bias, s.batch, groups, grad_bias, parallel);
  sum_partials(room.sum_g, s.batch, s.channels, sum_g, parallel);
  sum_partials(room.sum_gv, s.batch, s.channels, sum_gv, parallel);
}

template <typename T>
void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output, const Shape& s,
                                   int64_t groups, void* workspace, const Parallel& parallel) {
  const SgeGateShape gated = gate_shape(s, groups);
  if (!stays_in_cache<accumulator_t<T>>(s, gated)) {
    const GateInPasses<T> passes = in_passes<T>(workspace, s, gated);
    return depthwise_conv2d_backward<T>(passes.behind(gradient), output, s, passes.conv_workspace, parallel);
  }
  const BackwardRoom<T> room(workspace, s, gated);
  backward_through_gate<T>(gradient, {nullptr, room.mean, room.through_mean, room.gate, room.grad_t, groups}, output, s,
                           room.conv_workspace, parallel);
}

FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(bfloat16)

}  // namespace frnet::cpu::FRNET_ISA
