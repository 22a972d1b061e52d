// frnet::depthwise_conv2d_bn_act and its backward as torch ops: convolution, batch normalisation with the statistics of
// the convolution's result, activation.

#include "torch/normalization.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::depthwise_conv2d_bn_act";

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward(FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  const Normalization norm(kOp, conv, FRNET_NORM_ARGUMENTS);
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kOp, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const ConvInput<T> input{data<T>(conv.x)};
    norm.measure<T>(device, conv);
    const Workspace scratch = device.template depthwise_conv2d_workspace<T>(conv.x, conv.shape, false);
    device.template depthwise_conv2d<T>(input, conv.weights<T>(), conv.biases<T>(), norm.epilogue<A>(0),
                                        mutable_data<T>(y), static_cast<A*>(nullptr), conv.shape, scratch.get());
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
  Normalization norm(kBackward, conv, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, conv, mean, variance);
  grad_y = conv.check_gradient(kBackward, grad_y);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_gamma, needs_beta);
  const Tensor sums = conv.empty_values(4 * conv.shape.channels);
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    norm.fold<A>(device, conv.shape.channels, 0);
    const ConvGradient<T> gradient = conv.gradient<T>(grad_y, norm.epilogue<A>(0));
    const Workspace scratch = device.template depthwise_conv2d_backward_workspace<T>(conv.x, conv.shape);
    backward_through_statistics(device, gradient, gradients.output<T>(), norm, conv.shape, 0, conv.count(),
                                wanted<A>(gradients.first), wanted<A>(gradients.second), mutable_data<A>(sums),
                                scratch.get());
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
