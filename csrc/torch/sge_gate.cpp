// frnet::sge_gate and its backward as torch ops.

#include "torch/devices.h"
#include "torch/gates.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::sge_gate";

SgeGateShape make_shape(const char* op, const Tensor& x, int64_t groups) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": wanted x [n, c, h, w]");
  STD_TORCH_CHECK(groups > 0 && x.size(1) % groups == 0, op, ": groups must divide the channels");
  return {x.size(0), x.size(1), x.size(2) * x.size(3), groups, layout_of(x)};
}

template <typename Device>
Tensor forward(Tensor x, Tensor weight, Tensor bias, int64_t groups) {
  const SgeGateShape shape = make_shape(kOp, x, groups);
  const SgeArguments gate(kOp, weight, bias, groups, x);
  x = dense(x, shape.layout);
  Tensor y = torch::stable::empty_like(x);
  const Device device(x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const Workspace scratch = device.template sge_gate_workspace<T>(x, shape);
    device.template sge_gate<T>(data<T>(x), gate.get<accumulator_t<T>>(), mutable_data<T>(y), shape, scratch.get());
  });
  return y;
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> backward(Tensor grad_y, Tensor x, Tensor weight, Tensor bias, int64_t groups) {
  constexpr const char* kBackward = "frnet::sge_gate_backward";
  const SgeGateShape shape = make_shape(kBackward, x, groups);
  const SgeArguments gate(kBackward, weight, bias, groups, x);
  grad_y = check_like(kBackward, grad_y, x, shape.layout);
  x = dense(x, shape.layout);
  Tensor grad_x = torch::stable::empty_like(x);
  Tensor grad_weight = torch::stable::empty_like(gate.weight), grad_bias = torch::stable::empty_like(gate.bias);
  const Device device(x);
  for_floating_type(kBackward, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template sge_gate_workspace<T>(x, shape);
    device.template sge_gate_backward<T>(data<T>(grad_y), data<T>(x), gate.get<A>(), mutable_data<T>(grad_x),
                                         mutable_data<A>(grad_weight), mutable_data<A>(grad_bias), shape,
                                         scratch.get());
  });
  return {grad_x, grad_weight, grad_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("sge_gate(Tensor x, Tensor weight, Tensor bias, int groups) -> Tensor");
  m.def(
      "sge_gate_backward(Tensor grad_y, Tensor x, Tensor weight, Tensor bias, int groups) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("sge_gate", TORCH_BOX(&forward<OnCpu>));
  m.impl("sge_gate_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("sge_gate", TORCH_BOX(&forward<OnCuda>));
  m.impl("sge_gate_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
