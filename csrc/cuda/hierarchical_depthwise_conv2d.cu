// The multi-scale stage. In one of three ways, the first that can be:
//   1. the fused kernels of fused_depthwise.cuh, gate included: reads x once, writes y once. For square 3x3 and 5x5
//      kernels with stride 1 or 2, a number of groups that the splits divide, and a group's planes within a block's
//      shared memory.
//   2. the same kernels without the gate, a few planes to a block, then sge_gate in place: also reads and writes y.
//   3. a depthwise_conv2d per split, each on its slice of the channels with the result of the one before as addend;
//   then
//      out_scale and out_shift in place, then sge_gate in place: reads x and writes y once, reads and writes y once
//      more for each of the others.
// All three round at the same places.
#include "frnet/hierarchical_depthwise_conv2d.h"

#include <stdexcept>

#include "cuda/depthwise_tile.cuh"
#include "cuda/fused_depthwise.cuh"
#include "cuda/launch.cuh"
#include "cuda/team.cuh"
#include "frnet/sge_gate.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kThreads = 256;

// y = scale[c] * y + shift[c]
//   block  : 256 consecutive elements;  thread: one
//   traffic: reads and writes y once
template <typename T>
__global__ void __launch_bounds__(kThreads)
    out_affine_kernel(T* __restrict__ y, const accumulator_t<T>* __restrict__ scale,  // [channels] or null
                      const accumulator_t<T>* __restrict__ shift,                     // [channels] or null
                      int64_t count, int64_t channels, int64_t channel_stride) {
  using A = accumulator_t<T>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t c = i / channel_stride % channels;
  y[i] = math::narrow<T>((scale ? scale[c] : A(1)) * math::widen(y[i]) + (shift ? shift[c] : A(0)));
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

DepthwiseConv2dShape split_shape(const HierarchicalShape& shape) {
  DepthwiseConv2dShape split = shape.conv;
  split.channels = shape.conv.channels / shape.splits;
  split.memory_channels = shape.conv.channels;
  return split;
}

// groups may be 0.
SgeGateShape gate_shape(const HierarchicalShape& shape) {
  const DepthwiseConv2dShape& s = shape.conv;
  return SgeGateShape{s.batch, s.channels, s.out_height * s.out_width, shape.groups, s.layout};
}

void check_shape(const HierarchicalShape& shape) {
  const DepthwiseConv2dShape& s = shape.conv;
  if (shape.splits <= 0 || s.channels % shape.splits != 0) {
    throw std::invalid_argument("hierarchical_depthwise_conv2d: splits must divide channels");
  }
  if (shape.groups < 0 || (shape.groups > 0 && s.channels % shape.groups != 0)) {
    throw std::invalid_argument("hierarchical_depthwise_conv2d: groups must divide channels");
  }
  if (shape.chained && (s.in_height != s.out_height || s.in_width != s.out_width)) {
    throw std::invalid_argument("hierarchical_depthwise_conv2d: chained splits need results of the input's size");
  }
  if (s.memory_channels != s.channels) {
    throw std::invalid_argument("hierarchical_depthwise_conv2d: not for a slice of wider tensors");
  }
}

template <typename T>
void convolve_splits(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape, void* workspace,
                     void* stream) {
  using A = accumulator_t<T>;
  const DepthwiseConv2dShape& s = shape.conv;
  const DepthwiseConv2dShape split = split_shape(shape);
  const bool nchw = s.layout == Layout::nchw;
  const int64_t x_step = split.channels * (nchw ? s.in_height * s.in_width : 1);
  const int64_t y_step = split.channels * (nchw ? s.out_height * s.out_width : 1);
  const auto from = [](const auto* factors, int64_t channel) { return factors ? factors + channel : nullptr; };
  for (int64_t i = 0; i < shape.splits; ++i) {
    const int64_t channel = i * split.channels;
    const ConvInput<T> input{conv.x + i * x_step, shape.chained && i > 0 ? y + (i - 1) * y_step : nullptr};
    const Epilogue<A> epilogue{from(conv.epilogue.scale, channel), from(conv.epilogue.shift, channel),
                               conv.epilogue.activation};
    depthwise_conv2d(input, conv.weight + channel * s.kernel_h * s.kernel_w, from(conv.bias, channel), epilogue,
                     y + i * y_step, static_cast<A*>(nullptr), split, workspace, stream);
  }
  if (!conv.out_scale && !conv.out_shift) return;
  const int64_t pixels = s.out_height * s.out_width;
  const int64_t count = s.batch * s.channels * pixels;
  launch(out_affine_kernel<T>,
         grid_of_blocks(math::ceil_div<int64_t>(count, kThreads), "hierarchical_depthwise_conv2d"), dim3(kThreads), 0,
         stream, y, conv.out_scale, conv.out_shift, count, s.channels, nchw ? pixels : int64_t{1});
}

}  // namespace

template <typename T>
size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& shape) {
  check_shape(shape);
  const size_t conv = depthwise_conv2d_workspace<T>(split_shape(shape), false);
  const size_t gate = shape.groups > 0 ? sge_gate_workspace<T>(gate_shape(shape)) : 0;
  return conv > gate ? conv : gate;
}

template <typename T>
void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape,
                                   void* workspace, void* stream) {
  check_shape(shape);
  const SgeGateShape gate = gate_shape(shape);
  if (gate.batch * gate.channels * gate.pixels == 0) return;
  if (shape.groups % shape.splits == 0 && fused_depthwise(conv, y, shape, stream)) return;
  HierarchicalShape ungated = shape;
  ungated.groups = 0;
  const bool done = shape.groups > 0 && fused_depthwise(conv, y, ungated, stream);
  if (!done) convolve_splits(conv, y, shape, workspace, stream);
  if (shape.groups > 0) sge_gate(y, conv.gate, y, gate, workspace, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                      \
  template void hierarchical_depthwise_conv2d<T>(const HierarchicalConv<T>&, T*, const HierarchicalShape&, void*, \
                                                 void*);                                                          \
  template size_t hierarchical_depthwise_conv2d_workspace<T>(const HierarchicalShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
