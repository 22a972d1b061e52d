// frnet::se_gate and its backward as torch ops.

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
  Tensor grad_x = torch::stable::empty_like(x);
  const SeGradients gradients(se, x);
  const Device device(x);
  for_floating_type(kBackward, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template se_gate_workspace<T>(x, shape);
    device.template se_gate_backward<T>(data<T>(grad_y), data<T>(x), se.get<A>(), mutable_data<T>(grad_x),
                                        gradients.get<A>(), shape, scratch.get());
  });
  return {grad_x, gradients.w1, gradients.b1, gradients.w2, gradients.b2};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("se_gate(Tensor x, " FRNET_SE_SCHEMA("activation") ") -> Tensor");
  m.def("se_gate_backward(Tensor grad_y, Tensor x, " FRNET_SE_SCHEMA(
      "activation") ") -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("se_gate", TORCH_BOX(&forward<OnCpu>));
  m.impl("se_gate_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("se_gate", TORCH_BOX(&forward<OnCuda>));
  m.impl("se_gate_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
