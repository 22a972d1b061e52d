// The multi-scale stage: the channels are cut into equal splits, each with a depthwise convolution of its own; where
// chained, a split's input is added to the split before's result (Gao et al., Res2Net, 2019, figure 2).
//
//   u_0 = activation(scale_0 * conv_0(x_0) + shift_0)
//   u_i = activation(scale_i * conv_i(x_i + u_{i-1}) + shift_i)       not chained: conv_i(x_i)
//   y   = sge_gate(out_scale * concat(u) + out_shift)                 without a gate: the concatenation itself
//
// Channel j of split i depends on channel j of the splits before it alone. T as in depthwise_conv2d.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/depthwise_conv2d.h"
#include "frnet/parallel.h"
#include "frnet/sge_gate.h"

namespace frnet {

struct HierarchicalShape {
  DepthwiseConv2dShape conv;  // of all channels; memory_channels == channels
  int64_t splits;             // divides channels
  bool chained;               // asks for results of the size of the input
  int64_t groups;             // of the gate; 0: no gate
};

template <typename T>
struct HierarchicalConv {
  using A = accumulator_t<T>;
  const T* x;
  const T* weight;       // [channels, kernel_h, kernel_w]
  const T* bias;         // [channels] or null
  Epilogue<A> epilogue;  // of every split, over all channels
  const A* out_scale;    // [channels]; null: 1
  const A* out_shift;    // [channels]; null: 0
  SgeGate<A> gate;       // read where groups > 0
};

namespace cpu {

template <typename T>
void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape,
                                   void* workspace, const Parallel& parallel);

template <typename T>
size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& shape);

}  // namespace cpu

namespace cuda {

template <typename T>
void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape,
                                   void* workspace, void* stream);

template <typename T>
size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& shape);

}  // namespace cuda
}  // namespace frnet
