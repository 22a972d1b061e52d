// The launchers of both devices under one roof, so that an op is written once: device.<launcher><T>(...).
#pragma once

#include <utility>

#include "frnet/batch_norm.h"
#include "frnet/batch_norm_act.h"
#include "frnet/batch_norm_act_sge.h"
#include "frnet/depthwise_conv2d.h"
#include "frnet/depthwise_conv2d_bn_act.h"
#include "frnet/hierarchical_depthwise_conv2d.h"
#include "frnet/rasterize.h"
#include "frnet/reconstruct_vertices.h"
#include "frnet/se_gate.h"
#include "frnet/sge_gate.h"
#include "frnet/vdc.h"
#include "frnet/wpdc_wing.h"
#include "torch/tensors.h"
#if defined(FRNET_WITH_CUDA)
#include "torch/current_stream.h"
#endif

namespace frnet::binding {

#define FRNET_LAUNCHER(device, name, execution)                          \
  template <typename T, typename... Parameters>                          \
  void name(Parameters&&... parameters) const {                          \
    device::name<T>(std::forward<Parameters>(parameters)..., execution); \
  }
#define FRNET_WORKSPACE(device, name)                                                 \
  template <typename T, typename... Parameters>                                       \
  Workspace name(const Tensor& like, Parameters&&... parameters) const {              \
    return Workspace(device::name<T>(std::forward<Parameters>(parameters)...), like); \
  }
// Of an op with one struct of arguments.
#define FRNET_OP(device, name, Args, execution)                        \
  void name(const Args& args) const { device::name(args, execution); } \
  size_t name##_workspace(const Args& args) const { return device::name##_workspace(args); }
#define FRNET_LAUNCHERS(device, execution)                              \
  FRNET_LAUNCHER(device, batch_norm_act, execution)                     \
  FRNET_LAUNCHER(device, batch_norm_act_backward, execution)            \
  FRNET_LAUNCHER(device, batch_norm_act_sge, execution)                 \
  FRNET_LAUNCHER(device, batch_norm_act_sge_backward, execution)        \
  FRNET_LAUNCHER(device, depthwise_conv2d, execution)                   \
  FRNET_LAUNCHER(device, depthwise_conv2d_statistics, execution)        \
  FRNET_LAUNCHER(device, depthwise_conv2d_backward, execution)          \
  FRNET_LAUNCHER(device, depthwise_conv2d_bn_act, execution)            \
  FRNET_LAUNCHER(device, depthwise_conv2d_bn_act_backward, execution)   \
  FRNET_LAUNCHER(device, fold_batch_norm, execution)                    \
  FRNET_LAUNCHER(device, batch_norm_terms, execution)                   \
  FRNET_LAUNCHER(device, se_gate, execution)                            \
  FRNET_LAUNCHER(device, se_gate_backward, execution)                   \
  FRNET_LAUNCHER(device, depthwise_conv2d_se, execution)                \
  FRNET_LAUNCHER(device, depthwise_conv2d_se_backward_sums, execution)  \
  FRNET_LAUNCHER(device, depthwise_conv2d_se_backward, execution)       \
  FRNET_LAUNCHER(device, depthwise_conv2d_bn_act_se, execution)         \
  FRNET_LAUNCHER(device, sge_gate, execution)                           \
  FRNET_LAUNCHER(device, sge_gate_backward, execution)                  \
  FRNET_LAUNCHER(device, depthwise_conv2d_sge, execution)               \
  FRNET_LAUNCHER(device, depthwise_conv2d_sge_backward_sums, execution) \
  FRNET_LAUNCHER(device, depthwise_conv2d_sge_backward, execution)      \
  FRNET_LAUNCHER(device, depthwise_conv2d_bn_act_sge, execution)        \
  FRNET_LAUNCHER(device, hierarchical_depthwise_conv2d, execution)      \
  FRNET_OP(device, rasterize, RasterizeArgs, execution)                 \
  FRNET_LAUNCHER(device, reconstruct_vertices, execution)               \
  FRNET_LAUNCHER(device, reconstruct_vertices_backward, execution)      \
  FRNET_LAUNCHER(device, vdc, execution)                                \
  FRNET_LAUNCHER(device, wpdc_weights, execution)                       \
  FRNET_LAUNCHER(device, wpdc_wing, execution)                          \
  FRNET_WORKSPACE(device, batch_norm_act_workspace)                     \
  FRNET_WORKSPACE(device, batch_norm_act_sge_workspace)                 \
  FRNET_WORKSPACE(device, depthwise_conv2d_workspace)                   \
  FRNET_WORKSPACE(device, depthwise_conv2d_statistics_workspace)        \
  FRNET_WORKSPACE(device, depthwise_conv2d_backward_workspace)          \
  FRNET_WORKSPACE(device, depthwise_conv2d_bn_act_workspace)            \
  FRNET_WORKSPACE(device, depthwise_conv2d_bn_act_backward_workspace)   \
  FRNET_WORKSPACE(device, se_gate_workspace)                            \
  FRNET_WORKSPACE(device, depthwise_conv2d_se_backward_workspace)       \
  FRNET_WORKSPACE(device, depthwise_conv2d_bn_act_se_workspace)         \
  FRNET_WORKSPACE(device, depthwise_conv2d_se_workspace)                \
  FRNET_WORKSPACE(device, sge_gate_workspace)                           \
  FRNET_WORKSPACE(device, depthwise_conv2d_sge_backward_workspace)      \
  FRNET_WORKSPACE(device, depthwise_conv2d_bn_act_sge_workspace)        \
  FRNET_WORKSPACE(device, depthwise_conv2d_sge_workspace)               \
  FRNET_WORKSPACE(device, hierarchical_depthwise_conv2d_workspace)      \
  FRNET_WORKSPACE(device, reconstruct_vertices_backward_workspace)      \
  FRNET_WORKSPACE(device, vdc_workspace)                                \
  FRNET_WORKSPACE(device, wpdc_weights_workspace)                       \
  FRNET_WORKSPACE(device, wpdc_wing_workspace)

struct OnCpu {
  explicit OnCpu(const Tensor&) {}
  FRNET_LAUNCHERS(cpu, torch_threads)
};

#if defined(FRNET_WITH_CUDA)
struct OnCuda {
  explicit OnCuda(const Tensor& x) : stream(x) {}
  FRNET_LAUNCHERS(cuda, stream.get())
  CurrentStream stream;
};
#endif

}  // namespace frnet::binding
