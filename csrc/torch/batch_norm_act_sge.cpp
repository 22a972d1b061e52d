// frnet::batch_norm_act_sge and its backward as torch ops: batch normalisation with the statistics of its input,
// activation, spatial group-wise enhance.

#include "torch/batch_norm_act.h"
#include "torch/gates.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::batch_norm_act_sge";

void check_groups(const char* op, int64_t groups, const BatchNormActShape& shape) {
  STD_TORCH_CHECK(groups > 0 && shape.channels % groups == 0, op, ": groups must divide the channels");
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward(Tensor x, FRNET_NORM_PARAMETERS, Tensor sge_weight, Tensor sge_bias,
                                           int64_t groups) {
  const BatchNormActShape shape = batch_norm_act_shape(kOp, x);
  check_groups(kOp, groups, shape);
  const Normalization norm(kOp, x, FRNET_NORM_ARGUMENTS);
  const SgeArguments gate(kOp, sge_weight, sge_bias, groups, x);
  x = dense(x, shape.layout);
  Tensor y = torch::stable::empty_like(x);
  const Device device(x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template batch_norm_act_sge_workspace<T>(x, shape, groups);
    device.template batch_norm_act_sge<T>(data<T>(x), norm.get<A>(), norm.activation, gate.get<A>(),
                                          mutable_data<A>(norm.mean), mutable_data<A>(norm.variance),
                                          mutable_data<T>(y), shape, groups, scratch.get());
  });
  return {y, norm.mean, norm.variance};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(Tensor grad_y, Tensor x, FRNET_NORM_PARAMETERS, Tensor mean,
                                                            Tensor variance, Tensor sge_weight, Tensor sge_bias,
                                                            int64_t groups) {
  constexpr const char* kBackward = "frnet::batch_norm_act_sge_backward";
  const BatchNormActShape shape = batch_norm_act_shape(kBackward, x);
  check_groups(kBackward, groups, shape);
  Normalization norm(kBackward, x, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, x, mean, variance);
  const SgeArguments gate(kBackward, sge_weight, sge_bias, groups, x);
  grad_y = check_like(kBackward, grad_y, x, shape.layout);
  x = dense(x, shape.layout);
  const Tensor grad_x = torch::stable::empty_like(x);
  const Tensor grad_gamma = empty_values(shape.channels, x), grad_beta = empty_values(shape.channels, x);
  const Tensor grad_weight = torch::stable::empty_like(gate.weight), grad_bias = torch::stable::empty_like(gate.bias);
  const Device device(x);
  for_floating_type(kBackward, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template batch_norm_act_sge_workspace<T>(x, shape, groups);
    device.template batch_norm_act_sge_backward<T>(
        data<T>(grad_y), data<T>(x), norm.get<A>(), norm.activation, gate.get<A>(),
        BatchNormActGradient<T>{mutable_data<T>(grad_x), mutable_data<A>(grad_gamma), mutable_data<A>(grad_beta)},
        mutable_data<A>(grad_weight), mutable_data<A>(grad_bias), shape, groups, scratch.get());
  });
  return {grad_x, grad_gamma, grad_beta, grad_weight, grad_bias};
}

}  // namespace

#define GATE_SCHEMA "Tensor sge_weight, Tensor sge_bias, int groups"

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("batch_norm_act_sge(Tensor x, " FRNET_NORM_SCHEMA ", " GATE_SCHEMA ") -> (Tensor, Tensor, Tensor)");
  m.def("batch_norm_act_sge_backward(Tensor grad_y, Tensor x, " FRNET_NORM_SCHEMA
        ", Tensor mean, Tensor variance, " GATE_SCHEMA ") -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("batch_norm_act_sge", TORCH_BOX(&forward<OnCpu>));
  m.impl("batch_norm_act_sge_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("batch_norm_act_sge", TORCH_BOX(&forward<OnCuda>));
  m.impl("batch_norm_act_sge_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
