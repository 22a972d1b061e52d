// frnet::batch_norm_act and its backward as torch ops: batch normalisation with the statistics of its input,
// activation.

#include "torch/batch_norm_act.h"

#include "torch/gates.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::batch_norm_act";

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward(Tensor x, FRNET_NORM_PARAMETERS) {
  const BatchNormActShape shape = batch_norm_act_shape(kOp, x);
  const Normalization norm(kOp, x, FRNET_NORM_ARGUMENTS);
  x = dense(x, shape.layout);
  Tensor y = torch::stable::empty_like(x);
  const Device device(x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template batch_norm_act_workspace<T>(x, shape);
    device.template batch_norm_act<T>(data<T>(x), norm.get<A>(), norm.activation, mutable_data<A>(norm.mean),
                                      mutable_data<A>(norm.variance), mutable_data<T>(y), shape, scratch.get());
  });
  return {y, norm.mean, norm.variance};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> backward(Tensor grad_y, Tensor x, FRNET_NORM_PARAMETERS, Tensor mean,
                                            Tensor variance, bool needs_x, bool needs_gamma, bool needs_beta) {
  constexpr const char* kBackward = "frnet::batch_norm_act_backward";
  const BatchNormActShape shape = batch_norm_act_shape(kBackward, x);
  Normalization norm(kBackward, x, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, x, mean, variance);
  grad_y = check_like(kBackward, grad_y, x, shape.layout);
  x = dense(x, shape.layout);
  const Tensor grad_x = needs_x ? torch::stable::empty_like(x) : empty_values(0, x);
  const Tensor grad_gamma = empty_values(needs_gamma ? shape.channels : 0, x);
  const Tensor grad_beta = empty_values(needs_beta ? shape.channels : 0, x);
  const Device device(x);
  for_floating_type(kBackward, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template batch_norm_act_workspace<T>(x, shape);
    device.template batch_norm_act_backward<T>(
        data<T>(grad_y), data<T>(x), norm.get<A>(), norm.activation,
        BatchNormActGradient<T>{wanted<T>(grad_x), wanted<A>(grad_gamma), wanted<A>(grad_beta)}, shape, scratch.get());
  });
  return {grad_x, grad_gamma, grad_beta};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("batch_norm_act(Tensor x, " FRNET_NORM_SCHEMA ") -> (Tensor, Tensor, Tensor)");
  m.def("batch_norm_act_backward(Tensor grad_y, Tensor x, " FRNET_NORM_SCHEMA
        ", Tensor mean, Tensor variance, bool needs_x, bool needs_gamma, bool needs_beta) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("batch_norm_act", TORCH_BOX(&forward<OnCpu>));
  m.impl("batch_norm_act_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("batch_norm_act", TORCH_BOX(&forward<OnCuda>));
  m.impl("batch_norm_act_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
