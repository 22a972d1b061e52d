// frnet::depthwise_conv2d, its pooled form, its statistics and its backward as torch ops.

#include "torch/convolution.h"
#include "torch/devices.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::depthwise_conv2d";

template <typename Device>
Tensor forward_into(const Convolution& conv, const EpilogueArguments& epilogue, const std::optional<Tensor>& pooled) {
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kOp, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_workspace<T>(conv.x, conv.shape, pooled.has_value());
    device.template depthwise_conv2d<T>(ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(),
                                        epilogue.get<A>(), mutable_data<T>(y),
                                        pooled ? mutable_data<A>(*pooled) : nullptr, conv.shape, scratch.get());
  });
  return y;
}

template <typename Device>
Tensor forward(FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  return forward_into<Device>(conv, EpilogueArguments(kOp, conv, scale, shift, activation), std::nullopt);
}

template <typename Device>
std::tuple<Tensor, Tensor> pooled(FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  const int64_t size[] = {conv.shape.batch, conv.shape.channels};
  Tensor means = empty(size, accumulation_dtype(x.scalar_type()), x);
  Tensor y = forward_into<Device>(conv, EpilogueArguments(kOp, conv, scale, shift, activation), means);
  return {y, means};
}

template <typename Device>
std::tuple<Tensor, Tensor> statistics(FRNET_CONV_PARAMETERS) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  Tensor mean = conv.empty_values(conv.shape.channels), variance = conv.empty_values(conv.shape.channels);
  const Device device(conv.x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_statistics_workspace<T>(conv.x, conv.shape);
    device.template depthwise_conv2d_statistics<T>(ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(),
                                                   mutable_data<A>(mean), mutable_data<A>(variance), conv.shape,
                                                   scratch.get());
  });
  return {mean, variance};
}

// Gradients that were not asked for come back as empty tensors.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(std::optional<Tensor> grad_y, FRNET_CONV_PARAMETERS,
                                                            FRNET_EPILOGUE_PARAMETERS, std::optional<Tensor> constant,
                                                            std::optional<Tensor> linear, bool needs_x,
                                                            bool needs_weight, bool needs_bias, bool needs_scale,
                                                            bool needs_shift) {
  constexpr const char* kBackward = "frnet::depthwise_conv2d_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kBackward, conv, scale, shift, activation);
  constant = check_values(kBackward, "constant", constant, conv.shape.channels, conv.x);
  linear = check_values(kBackward, "linear", linear, conv.shape.channels, conv.x);
  if (grad_y) grad_y = conv.check_gradient(kBackward, *grad_y);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_scale, needs_shift);
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const ConvGradient<T> gradient{
        data_or_null<T>(grad_y), nullptr,           {data<T>(conv.x)},         conv.weights<T>(),
        conv.biases<T>(),        epilogue.get<A>(), data_or_null<A>(constant), data_or_null<A>(linear)};
    const ConvGradientOutput<T> output{wanted<T>(gradients.x), wanted<T>(gradients.weight), wanted<T>(gradients.bias),
                                       wanted<A>(gradients.first), wanted<A>(gradients.second)};
    const Workspace scratch = device.template depthwise_conv2d_backward_workspace<T>(conv.x, conv.shape);
    device.template depthwise_conv2d_backward<T>(gradient, output, conv.shape, scratch.get());
  });
  return gradients.tuple();
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("depthwise_conv2d(" FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA ") -> Tensor");
  m.def("depthwise_conv2d_pooled(" FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA ") -> (Tensor, Tensor)");
  m.def("depthwise_conv2d_statistics(" FRNET_CONV_SCHEMA ") -> (Tensor, Tensor)");
  m.def("depthwise_conv2d_backward(Tensor? grad_y, " FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA
        ", Tensor? constant, Tensor? linear, bool needs_x, bool needs_weight, bool needs_bias, bool needs_scale, "
        "bool needs_shift) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&forward<OnCpu>));
  m.impl("depthwise_conv2d_pooled", TORCH_BOX(&pooled<OnCpu>));
  m.impl("depthwise_conv2d_statistics", TORCH_BOX(&statistics<OnCpu>));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&forward<OnCuda>));
  m.impl("depthwise_conv2d_pooled", TORCH_BOX(&pooled<OnCuda>));
  m.impl("depthwise_conv2d_statistics", TORCH_BOX(&statistics<OnCuda>));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
