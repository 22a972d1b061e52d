// The gradient of a convolution with a gate behind it pass by pass: the convolution's result u is computed again into
// the workspace, and its gradient goes there too. For the shapes and devices that have no better way.
#pragma once

#include "frnet/depthwise_conv2d.h"
#include "workspace_layout.h"

namespace frnet {

template <typename T>
struct GateInPasses {
  T *u, *grad_u;
  void *gate_workspace, *conv_workspace;
  size_t bytes;

  // The last two arguments: what the two launchers of the gate and those of the convolution need.
  FRNET_HD GateInPasses(void* workspace, const DepthwiseConv2dShape& s, size_t gate_bytes, size_t conv_bytes) {
    WorkspaceLayout layout(workspace);
    const int64_t results = s.batch * s.channels * s.out_height * s.out_width;
    u = layout.take<T>(results);
    grad_u = layout.take<T>(results);
    gate_workspace = layout.take_bytes(gate_bytes);
    conv_workspace = layout.take_bytes(conv_bytes);
    bytes = layout.bytes();
  }

  // The gradient of the convolution and its epilogue alone.
  FRNET_HD ConvGradient<T> behind(ConvGradient<T> gradient) const {
    gradient.grad_y = grad_u;
    return gradient;
  }
};

}  // namespace frnet
