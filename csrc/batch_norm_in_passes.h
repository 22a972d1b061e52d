// The workspace of a convolution with batch statistics where it goes pass by pass: the convolution for its statistics
// and again for the result, its gradient for what the statistics add to it and again for itself.
#pragma once

#include "frnet/batch_norm.h"
#include "frnet/depthwise_conv2d.h"
#include "workspace_layout.h"

namespace frnet {

template <typename A>
struct BatchNormInPasses {
  A *scale, *shift, *sum_g, *sum_gv, *constant, *linear;  // [channels]
  void* conv_workspace;
  size_t bytes;

  // conv_bytes: what the launchers of the convolution need.
  FRNET_HD BatchNormInPasses(void* workspace, const DepthwiseConv2dShape& s, size_t conv_bytes) {
    WorkspaceLayout layout(workspace);
    scale = layout.take<A>(s.channels);
    shift = layout.take<A>(s.channels);
    sum_g = layout.take<A>(s.channels);
    sum_gv = layout.take<A>(s.channels);
    constant = layout.take<A>(s.channels);
    linear = layout.take<A>(s.channels);
    conv_workspace = layout.take_bytes(conv_bytes);
    bytes = layout.bytes();
  }
};

}  // namespace frnet
