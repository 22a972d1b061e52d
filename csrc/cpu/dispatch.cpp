// Each CPU launcher calls the copy of itself that was compiled for the best instruction set at hand.

#include "cpu/batch_norm_act.h"
#include "cpu/batch_norm_act_sge.h"
#include "cpu/depthwise_conv2d.h"
#include "cpu/depthwise_conv2d_bn_act.h"
#include "cpu/depthwise_conv2d_gates.h"
#include "cpu/hierarchical_depthwise_conv2d.h"
#include "cpu/isa.h"
#include "cpu/rasterize.h"
#include "cpu/reconstruct_vertices.h"
#include "cpu/se_gate.h"
#include "cpu/sge_gate.h"
#include "cpu/vdc.h"
#include "cpu/wpdc_wing.h"

#if defined(FRNET_X86_ISAS)
#define FRNET_DISPATCH(call) \
  switch (active_isa()) {    \
    case Isa::avx512:        \
      return avx512::call;   \
    case Isa::avx2:          \
      return avx2::call;     \
    case Isa::baseline:      \
      break;                 \
  }                          \
  return baseline::call
#else
#define FRNET_DISPATCH(call) return baseline::call
#endif

namespace frnet::cpu {

template <typename T>
void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                    accumulator_t<T>* variance, T* y, const BatchNormActShape& shape, void* workspace,
                    const Parallel& parallel) {
  FRNET_DISPATCH(batch_norm_act<T>(x, norm, activation, mean, variance, y, shape, workspace, parallel));
}

template <typename T>
void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                             Activation activation, const BatchNormActGradient<T>& gradient,
                             const BatchNormActShape& shape, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(batch_norm_act_backward<T>(grad_y, x, norm, activation, gradient, shape, workspace, parallel));
}

template <typename T>
size_t batch_norm_act_workspace(const BatchNormActShape& shape) {
  FRNET_DISPATCH(batch_norm_act_workspace<T>(shape));
}

template <typename T>
void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean, accumulator_t<T>* variance, T* y,
                        const BatchNormActShape& shape, int64_t groups, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(
      batch_norm_act_sge<T>(x, norm, activation, gate, mean, variance, y, shape, groups, workspace, parallel));
}

template <typename T>
void batch_norm_act_sge_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const SgeGate<accumulator_t<T>>& gate,
                                 const BatchNormActGradient<T>& gradient, accumulator_t<T>* grad_weight,
                                 accumulator_t<T>* grad_bias, const BatchNormActShape& shape, int64_t groups,
                                 void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(batch_norm_act_sge_backward<T>(grad_y, x, norm, activation, gate, gradient, grad_weight, grad_bias,
                                                shape, groups, workspace, parallel));
}

template <typename T>
size_t batch_norm_act_sge_workspace(const BatchNormActShape& shape, int64_t groups) {
  FRNET_DISPATCH(batch_norm_act_sge_workspace<T>(shape, groups));
}

template <typename T>
void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                      const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled,
                      const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d<T>(input, weight, bias, epilogue, y, pooled, shape, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_workspace(const DepthwiseConv2dShape& shape, bool pooled) {
  FRNET_DISPATCH(depthwise_conv2d_workspace<T>(shape, pooled));
}

template <typename T>
void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, const DepthwiseConv2dShape& shape, void* workspace,
                                 const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_statistics<T>(input, weight, bias, mean, variance, shape, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_statistics_workspace(const DepthwiseConv2dShape& shape) {
  FRNET_DISPATCH(depthwise_conv2d_statistics_workspace<T>(shape));
}

template <typename T>
void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                    const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_backward_sums<T>(gradient, sum_g, sum_gv, shape, workspace, parallel));
}

template <typename T>
void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                               const DepthwiseConv2dShape& shape, void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_backward<T>(gradient, output, shape, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_backward_workspace(const DepthwiseConv2dShape& shape) {
  FRNET_DISPATCH(depthwise_conv2d_backward_workspace<T>(shape));
}

template <typename T>
void depthwise_conv2d_bn_act(const ConvInput<T>& input, const T* weight, const T* bias,
                             const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                             accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, void* workspace,
                             const Parallel& parallel) {
  FRNET_DISPATCH(
      depthwise_conv2d_bn_act<T>(input, weight, bias, norm, activation, mean, variance, y, shape, workspace, parallel));
}

template <typename T>
void depthwise_conv2d_bn_act_backward(const ConvGradient<T>& gradient, const BatchNorm<accumulator_t<T>>& norm,
                                      const ConvGradientOutput<T>& output, const DepthwiseConv2dShape& shape,
                                      void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_backward<T>(gradient, norm, output, shape, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_bn_act_workspace(const DepthwiseConv2dShape& shape) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_workspace<T>(shape));
}

template <typename T>
size_t depthwise_conv2d_bn_act_backward_workspace(const DepthwiseConv2dShape& shape) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_backward_workspace<T>(shape));
}

template <typename T>
void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y, const HierarchicalShape& shape,
                                   void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(hierarchical_depthwise_conv2d<T>(conv, y, shape, workspace, parallel));
}

template <typename T>
size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& shape) {
  FRNET_DISPATCH(hierarchical_depthwise_conv2d_workspace<T>(shape));
}

template <typename T>
void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& shape, void* workspace,
             const Parallel& parallel) {
  FRNET_DISPATCH(se_gate<T>(x, gate, y, shape, workspace, parallel));
}

template <typename T>
void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                      const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& shape, void* workspace,
                      const Parallel& parallel) {
  FRNET_DISPATCH(se_gate_backward<T>(grad_y, x, gate, grad_x, gradient, shape, workspace, parallel));
}

template <typename T>
size_t se_gate_workspace(const SeGateShape& shape) {
  FRNET_DISPATCH(se_gate_workspace<T>(shape));
}

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                         const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_se<T>(input, weight, bias, epilogue, gate, y, shape, squeezed, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  FRNET_DISPATCH(depthwise_conv2d_se_workspace<T>(shape, squeezed));
}

template <typename T>
void depthwise_conv2d_bn_act_se(const ConvInput<T>& input, const T* weight, const T* bias,
                                const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                const SeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_se<T>(input, weight, bias, norm, activation, gate, mean, variance, y, shape,
                                               squeezed, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_bn_act_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_se_workspace<T>(shape, squeezed));
}

template <typename T>
void depthwise_conv2d_se_backward_sums(const ConvGradient<T>& gradient, const SeGate<accumulator_t<T>>& gate,
                                       const SeGateGradient<accumulator_t<T>>& gate_gradient, accumulator_t<T>* sum_g,
                                       accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, int64_t squeezed,
                                       void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_se_backward_sums<T>(gradient, gate, gate_gradient, sum_g, sum_gv, shape, squeezed,
                                                      workspace, parallel));
}

template <typename T>
void depthwise_conv2d_se_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                  const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace,
                                  const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_se_backward<T>(gradient, output, shape, squeezed, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_se_backward_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  FRNET_DISPATCH(depthwise_conv2d_se_backward_workspace<T>(shape, squeezed));
}

template <typename T>
void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& shape, void* workspace,
              const Parallel& parallel) {
  FRNET_DISPATCH(sge_gate<T>(x, gate, y, shape, workspace, parallel));
}

template <typename T>
void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const SgeGateShape& shape,
                       void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(sge_gate_backward<T>(grad_y, x, gate, grad_x, grad_weight, grad_bias, shape, workspace, parallel));
}

template <typename T>
size_t sge_gate_workspace(const SgeGateShape& shape) {
  FRNET_DISPATCH(sge_gate_workspace<T>(shape));
}

template <typename T>
void depthwise_conv2d_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                          const Epilogue<accumulator_t<T>>& epilogue, const SgeGate<accumulator_t<T>>& gate, T* y,
                          const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                          const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_sge<T>(input, weight, bias, epilogue, gate, y, shape, groups, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups) {
  FRNET_DISPATCH(depthwise_conv2d_sge_workspace<T>(shape, groups));
}

template <typename T>
void depthwise_conv2d_bn_act_sge(const ConvInput<T>& input, const T* weight, const T* bias,
                                 const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                 const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, T* y, const DepthwiseConv2dShape& shape, int64_t groups,
                                 void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_sge<T>(input, weight, bias, norm, activation, gate, mean, variance, y, shape,
                                                groups, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_bn_act_sge_workspace(const DepthwiseConv2dShape& shape, int64_t groups) {
  FRNET_DISPATCH(depthwise_conv2d_bn_act_sge_workspace<T>(shape, groups));
}

template <typename T>
void depthwise_conv2d_sge_backward_sums(const ConvGradient<T>& gradient, const SgeGate<accumulator_t<T>>& gate,
                                        accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                        accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                        const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                        const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_sge_backward_sums<T>(gradient, gate, grad_weight, grad_bias, sum_g, sum_gv, shape,
                                                       groups, workspace, parallel));
}

template <typename T>
void depthwise_conv2d_sge_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                                   const DepthwiseConv2dShape& shape, int64_t groups, void* workspace,
                                   const Parallel& parallel) {
  FRNET_DISPATCH(depthwise_conv2d_sge_backward<T>(gradient, output, shape, groups, workspace, parallel));
}

template <typename T>
size_t depthwise_conv2d_sge_backward_workspace(const DepthwiseConv2dShape& shape, int64_t groups) {
  FRNET_DISPATCH(depthwise_conv2d_sge_backward_workspace<T>(shape, groups));
}

size_t rasterize_workspace(const RasterizeArgs& args) { FRNET_DISPATCH(rasterize_workspace(args)); }

void rasterize(const RasterizeArgs& args, const Parallel& parallel) { FRNET_DISPATCH(rasterize(args, parallel)); }

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                          const MorphableShape& shape, const Parallel& parallel) {
  FRNET_DISPATCH(reconstruct_vertices(params, mean, basis, set, vertices_out, shape, parallel));
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const MorphableShape& shape) {
  FRNET_DISPATCH(reconstruct_vertices_backward_workspace<T>(set, shape));
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   const VertexSet& set, T* grad_params, const MorphableShape& shape, void* workspace,
                                   const Parallel& parallel) {
  FRNET_DISPATCH(
      reconstruct_vertices_backward(grad_vertices, params, mean, basis, set, grad_params, shape, workspace, parallel));
}

template <typename T>
void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope, const MorphableShape& shape,
         void* workspace, const Parallel& parallel) {
  FRNET_DISPATCH(vdc<T>(faces, comparison, vdc, slope, shape, workspace, parallel));
}

template <typename T>
size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope, const MorphableShape& shape) {
  FRNET_DISPATCH(vdc_workspace<T>(comparison, slope, shape));
}

template <typename T>
void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing, const VertexComparison<T>& comparison,
               const WpdcWingOutput<T>& output, const MorphableShape& shape, void* workspace,
               const Parallel& parallel) {
  FRNET_DISPATCH(wpdc_wing<T>(faces, wpdc, wing, comparison, output, shape, workspace, parallel));
}

template <typename T>
size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const MorphableShape& shape) {
  FRNET_DISPATCH(wpdc_wing_workspace<T>(wpdc, comparison, shape));
}

template <typename T>
void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights, const MorphableShape& shape, void* workspace,
                  const Parallel& parallel) {
  FRNET_DISPATCH(wpdc_weights<T>(faces, wpdc, weights, shape, workspace, parallel));
}

template <typename T>
size_t wpdc_weights_workspace(const Wpdc& wpdc, const MorphableShape& shape) {
  FRNET_DISPATCH(wpdc_weights_workspace<T>(wpdc, shape));
}

FRNET_INSTANTIATE_BATCH_NORM_ACT(float)
FRNET_INSTANTIATE_BATCH_NORM_ACT(double)
FRNET_INSTANTIATE_BATCH_NORM_ACT(float16)
FRNET_INSTANTIATE_BATCH_NORM_ACT(bfloat16)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(float)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(double)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(float16)
FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(bfloat16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D(bfloat16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_BN_ACT(bfloat16)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(float)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(double)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(float16)
FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(bfloat16)
FRNET_INSTANTIATE_SE_GATE(float)
FRNET_INSTANTIATE_SE_GATE(double)
FRNET_INSTANTIATE_SE_GATE(float16)
FRNET_INSTANTIATE_SE_GATE(bfloat16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SE(bfloat16)
FRNET_INSTANTIATE_SGE_GATE(float)
FRNET_INSTANTIATE_SGE_GATE(double)
FRNET_INSTANTIATE_SGE_GATE(float16)
FRNET_INSTANTIATE_SGE_GATE(bfloat16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(float)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(double)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(float16)
FRNET_INSTANTIATE_DEPTHWISE_CONV2D_SGE(bfloat16)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(float)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(double)
FRNET_INSTANTIATE_VDC(float)
FRNET_INSTANTIATE_VDC(double)
FRNET_INSTANTIATE_WPDC_WING(float)
FRNET_INSTANTIATE_WPDC_WING(double)

}  // namespace frnet::cpu
