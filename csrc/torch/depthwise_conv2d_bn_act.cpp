// frnet::depthwise_conv2d_bn_act and its backward as torch ops: convolution, batch normalisation with the statistics of
// the convolution's result, activation.

#include "torch/normalization.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::depthwise_conv2d_bn_act";

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward(FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  const Normalization norm(kOp, conv.x, FRNET_NORM_ARGUMENTS);
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kOp, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_bn_act_workspace<T>(conv.x, conv.shape);
    device.template depthwise_conv2d_bn_act<T>(
        ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(), norm.get<A>(), norm.activation,
        mutable_data<A>(norm.mean), mutable_data<A>(norm.variance), mutable_data<T>(y), conv.shape, scratch.get());
  });
  return {y, norm.mean, norm.variance};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(Tensor grad_y, FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS,
                                                            Tensor mean, Tensor variance, bool needs_x,
                                                            bool needs_weight, bool needs_bias, bool needs_gamma,
                                                            bool needs_beta) {
  constexpr const char* kBackward = "frnet::depthwise_conv2d_bn_act_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  Normalization norm(kBackward, conv.x, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, conv.x, mean, variance);
  grad_y = conv.check_gradient(kBackward, grad_y);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_gamma, needs_beta);
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    ConvGradientOutput<T> output = gradients.output<T>();
    output.grad_scale = wanted<A>(gradients.first);
    output.grad_shift = wanted<A>(gradients.second);
    const Workspace scratch = device.template depthwise_conv2d_bn_act_backward_workspace<T>(conv.x, conv.shape);
    device.template depthwise_conv2d_bn_act_backward<T>(conv.gradient<T>(grad_y, {nullptr, nullptr, norm.activation}),
                                                        norm.get<A>(), output, conv.shape, scratch.get());
  });
  return gradients.tuple();
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("depthwise_conv2d_bn_act(" FRNET_CONV_SCHEMA ", " FRNET_NORM_SCHEMA ") -> (Tensor, Tensor, Tensor)");
  m.def("depthwise_conv2d_bn_act_backward(Tensor grad_y, " FRNET_CONV_SCHEMA ", " FRNET_NORM_SCHEMA
        ", Tensor mean, Tensor variance, bool needs_x, bool needs_weight, bool needs_bias, bool needs_gamma, "
        "bool needs_beta) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("depthwise_conv2d_bn_act", TORCH_BOX(&forward<OnCpu>));
  m.impl("depthwise_conv2d_bn_act_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("depthwise_conv2d_bn_act", TORCH_BOX(&forward<OnCuda>));
  m.impl("depthwise_conv2d_bn_act_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
