// Depthwise convolution and spatial group-wise enhance as torch ops: frnet::depthwise_conv2d_sge, with batch statistics
// in between frnet::depthwise_conv2d_bn_act_sge, and their gradients.

#include "torch/gates.h"
#include "torch/normalization.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::depthwise_conv2d_sge";

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Device>
Tensor forward(FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS, Tensor sge_weight, Tensor sge_bias, int64_t groups) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kOp, conv, scale, shift, activation);
  const SgeArguments gate(kOp, sge_weight, sge_bias, groups, conv);
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kOp, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_sge_workspace<T>(conv.x, conv.shape, groups);
    device.template depthwise_conv2d_sge<T>(ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(),
                                            epilogue.get<A>(), gate.get<A>(), mutable_data<T>(y), conv.shape, groups,
                                            scratch.get());
  });
  return y;
}

template <typename Device>
Gradients backward(Tensor grad_y, FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS, Tensor sge_weight, Tensor sge_bias,
                   int64_t groups, bool needs_x, bool needs_weight, bool needs_bias, bool needs_scale,
                   bool needs_shift) {
  constexpr const char* kBackward = "frnet::depthwise_conv2d_sge_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kBackward, conv, scale, shift, activation);
  const SgeArguments gate(kBackward, sge_weight, sge_bias, groups, conv);
  grad_y = conv.check_gradient(kBackward, grad_y);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_scale, needs_shift);
  const Tensor grad_gate_weight = torch::stable::empty_like(gate.weight),
               grad_gate_bias = torch::stable::empty_like(gate.bias);
  const Tensor sums = conv.empty_values(2 * conv.shape.channels);
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const ConvGradient<T> gradient = conv.gradient<T>(grad_y, epilogue.get<A>());
    const Workspace scratch = device.template depthwise_conv2d_sge_backward_workspace<T>(conv.x, conv.shape, groups);
    A* const sum_g = needs_shift ? mutable_data<A>(gradients.second) : mutable_data<A>(sums);
    A* const sum_gv = needs_scale ? mutable_data<A>(gradients.first) : mutable_data<A>(sums) + conv.shape.channels;
    device.template depthwise_conv2d_sge_backward_sums<T>(gradient, gate.get<A>(), mutable_data<A>(grad_gate_weight),
                                                          mutable_data<A>(grad_gate_bias), sum_g, sum_gv, conv.shape,
                                                          groups, scratch.get());
    device.template depthwise_conv2d_sge_backward<T>(gradient, gradients.output<T>(), conv.shape, groups,
                                                     scratch.get());
  });
  return std::tuple_cat(gradients.tuple(), std::make_tuple(grad_gate_weight, grad_gate_bias));
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward_with_statistics(FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS,
                                                           Tensor sge_weight, Tensor sge_bias, int64_t groups) {
  constexpr const char* kTraining = "frnet::depthwise_conv2d_bn_act_sge";
  const Convolution conv(kTraining, FRNET_CONV_ARGUMENTS);
  const Normalization norm(kTraining, conv.x, FRNET_NORM_ARGUMENTS);
  const SgeArguments gate(kTraining, sge_weight, sge_bias, groups, conv);
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kTraining, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_bn_act_sge_workspace<T>(conv.x, conv.shape, groups);
    device.template depthwise_conv2d_bn_act_sge<T>(ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(),
                                                   norm.get<A>(), norm.activation, gate.get<A>(),
                                                   mutable_data<A>(norm.mean), mutable_data<A>(norm.variance),
                                                   mutable_data<T>(y), conv.shape, groups, scratch.get());
  });
  return {y, norm.mean, norm.variance};
}

template <typename Device>
Gradients backward_with_statistics(Tensor grad_y, FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS, Tensor mean,
                                   Tensor variance, Tensor sge_weight, Tensor sge_bias, int64_t groups, bool needs_x,
                                   bool needs_weight, bool needs_bias, bool needs_gamma, bool needs_beta) {
  constexpr const char* kBackward = "frnet::depthwise_conv2d_bn_act_sge_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  FoldedNormalization norm(kBackward, conv, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, conv.x, mean, variance);
  const SgeArguments gate(kBackward, sge_weight, sge_bias, groups, conv);
  grad_y = conv.check_gradient(kBackward, grad_y);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_gamma, needs_beta);
  const Tensor grad_gate_weight = torch::stable::empty_like(gate.weight),
               grad_gate_bias = torch::stable::empty_like(gate.bias);
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    ConvGradient<T> gradient = conv.gradient<T>(grad_y, norm.epilogue<A>(device));
    const Workspace scratch = device.template depthwise_conv2d_sge_backward_workspace<T>(conv.x, conv.shape, groups);
    in_two_passes<A>(
        device, conv, norm, gradients,
        [&](A* sum_g, A* sum_gv) {
          device.template depthwise_conv2d_sge_backward_sums<T>(
              gradient, gate.get<A>(), mutable_data<A>(grad_gate_weight), mutable_data<A>(grad_gate_bias), sum_g,
              sum_gv, conv.shape, groups, scratch.get());
        },
        [&](A* constant, A* linear) {
          gradient.constant = constant;
          gradient.linear = linear;
          device.template depthwise_conv2d_sge_backward<T>(gradient, gradients.output<T>(), conv.shape, groups,
                                                           scratch.get());
        });
  });
  return std::tuple_cat(gradients.tuple(), std::make_tuple(grad_gate_weight, grad_gate_bias));
}

}  // namespace

#define GATE_SCHEMA "Tensor sge_weight, Tensor sge_bias, int groups"
#define GRADIENTS_SCHEMA "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("depthwise_conv2d_sge(" FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA ", " GATE_SCHEMA ") -> Tensor");
  m.def("depthwise_conv2d_sge_backward(Tensor grad_y, " FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA ", " GATE_SCHEMA
        ", bool needs_x, bool needs_weight, bool needs_bias, bool needs_scale, bool needs_shift) -> " GRADIENTS_SCHEMA);
  m.def("depthwise_conv2d_bn_act_sge(" FRNET_CONV_SCHEMA ", " FRNET_NORM_SCHEMA ", " GATE_SCHEMA
        ") -> (Tensor, Tensor, Tensor)");
  m.def("depthwise_conv2d_bn_act_sge_backward(Tensor grad_y, " FRNET_CONV_SCHEMA ", " FRNET_NORM_SCHEMA
        ", Tensor mean, Tensor variance, " GATE_SCHEMA
        ", bool needs_x, bool needs_weight, bool needs_bias, bool needs_gamma, bool needs_beta) -> " GRADIENTS_SCHEMA);
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("depthwise_conv2d_sge", TORCH_BOX(&forward<OnCpu>));
  m.impl("depthwise_conv2d_sge_backward", TORCH_BOX(&backward<OnCpu>));
  m.impl("depthwise_conv2d_bn_act_sge", TORCH_BOX(&forward_with_statistics<OnCpu>));
  m.impl("depthwise_conv2d_bn_act_sge_backward", TORCH_BOX(&backward_with_statistics<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("depthwise_conv2d_sge", TORCH_BOX(&forward<OnCuda>));
  m.impl("depthwise_conv2d_sge_backward", TORCH_BOX(&backward<OnCuda>));
  m.impl("depthwise_conv2d_bn_act_sge", TORCH_BOX(&forward_with_statistics<OnCuda>));
  m.impl("depthwise_conv2d_bn_act_sge_backward", TORCH_BOX(&backward_with_statistics<OnCuda>));
}
#endif

}  // namespace frnet::binding
