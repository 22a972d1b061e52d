// frnet::se_gate, its backward and frnet::depthwise_conv2d_se as torch ops.

#include "torch/convolution.h"
#include "torch/devices.h"
#include "torch/gates.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::se_gate";

SeGateShape make_shape(const Tensor& x, int64_t squeezed) {
  return {x.size(0), x.size(1), x.size(2) * x.size(3), squeezed, layout_of(x)};
}

template <typename Device>
Tensor forward(Tensor x, FRNET_SE_PARAMETERS) {
  STD_TORCH_CHECK(x.dim() == 4, kOp, ": wanted x [n, c, h, w]");
  const SeArguments se(kOp, x.size(1), x, FRNET_SE_ARGUMENTS);
  const SeGateShape shape = make_shape(x, se.squeezed);
  x = dense(x, shape.layout);
  Tensor y = torch::stable::empty_like(x);
  const Device device(x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const Workspace scratch = device.template se_gate_workspace<T>(x, shape);
    device.template se_gate<T>(data<T>(x), se.get<accumulator_t<T>>(), mutable_data<T>(y), shape, scratch.get());
  });
  return y;
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(Tensor grad_y, Tensor x, FRNET_SE_PARAMETERS) {
  constexpr const char* kBackward = "frnet::se_gate_backward";
  STD_TORCH_CHECK(x.dim() == 4, kBackward, ": wanted x [n, c, h, w]");
  const SeArguments se(kBackward, x.size(1), x, FRNET_SE_ARGUMENTS);
  const SeGateShape shape = make_shape(x, se.squeezed);
  grad_y = check_like(kBackward, grad_y, x, shape.layout);
  x = dense(x, shape.layout);
  const int64_t none[] = {0};
  const auto like = [&](const std::optional<Tensor>& values) {
    return values ? torch::stable::empty_like(*values) : empty(none, accumulation_dtype(x.scalar_type()), x);
  };
  Tensor grad_x = torch::stable::empty_like(x);
  Tensor grad_w1 = like(se.w1), grad_b1 = like(se.b1), grad_w2 = like(se.w2), grad_b2 = like(se.b2);
  const Device device(x);
  for_floating_type(kBackward, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const SeGateGradient<A> gradient{wanted<A>(grad_w1), wanted<A>(grad_b1), wanted<A>(grad_w2), wanted<A>(grad_b2)};
    const Workspace scratch = device.template se_gate_workspace<T>(x, shape);
    device.template se_gate_backward<T>(data<T>(grad_y), data<T>(x), se.get<A>(), mutable_data<T>(grad_x), gradient,
                                        shape, scratch.get());
  });
  return {grad_x, grad_w1, grad_b1, grad_w2, grad_b2};
}

template <typename Device>
Tensor behind_convolution(FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS, FRNET_SE_PARAMETERS) {
  constexpr const char* kFused = "frnet::depthwise_conv2d_se";
  const Convolution conv(kFused, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kFused, conv, scale, shift, activation);
  const SeArguments se(kFused, conv.shape.channels, conv.x, FRNET_SE_ARGUMENTS);
  Tensor y = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kFused, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_se_workspace<T>(conv.x, conv.shape, se.squeezed);
    device.template depthwise_conv2d_se<T>(ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(),
                                           epilogue.get<A>(), se.get<A>(), mutable_data<T>(y), conv.shape, se.squeezed,
                                           scratch.get());
  });
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("se_gate(Tensor x, " FRNET_SE_SCHEMA("activation") ") -> Tensor");
  m.def("se_gate_backward(Tensor grad_y, Tensor x, " FRNET_SE_SCHEMA(
      "activation") ") -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("depthwise_conv2d_se(" FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA
        ", " FRNET_SE_SCHEMA("se_activation") ") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("se_gate", TORCH_BOX(&forward<OnCpu>));
  m.impl("se_gate_backward", TORCH_BOX(&backward<OnCpu>));
  m.impl("depthwise_conv2d_se", TORCH_BOX(&behind_convolution<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("se_gate", TORCH_BOX(&forward<OnCuda>));
  m.impl("se_gate_backward", TORCH_BOX(&backward<OnCuda>));
  m.impl("depthwise_conv2d_se", TORCH_BOX(&behind_convolution<OnCuda>));
}
#endif

}  // namespace frnet::binding
