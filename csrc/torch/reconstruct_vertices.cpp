// frnet::reconstruct_vertices and its backward as torch ops.

#include "frnet/reconstruct_vertices.h"

#include "torch/devices.h"
#include "torch/morphable.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::reconstruct_vertices";

template <typename Device>
Tensor forward(Tensor params, Tensor mean, Tensor basis, std::optional<Tensor> vertices) {
  const MorphableShape s = morphable_shape(kOp, params, mean, basis);
  const ChosenVertices chosen(kOp, "vertices", vertices, params, s);
  params = torch::stable::contiguous(params);
  mean = torch::stable::contiguous(mean);
  basis = torch::stable::contiguous(basis);
  const int64_t size[] = {s.batch, chosen.set().count, 3};
  Tensor out = empty(size, params.scalar_type(), params);
  const Device device(params);
  for_morphable_type(params, [&](auto type) {
    using T = decltype(type);
    device.template reconstruct_vertices<T>(data<T>(params), data<T>(mean), data<T>(basis), chosen.set(),
                                            mutable_data<T>(out), s);
  });
  return out;
}

template <typename Device>
Tensor backward(Tensor grad, Tensor params, Tensor mean, Tensor basis, std::optional<Tensor> vertices) {
  const MorphableShape s = morphable_shape(kOp, params, mean, basis);
  const ChosenVertices chosen(kOp, "vertices", vertices, params, s);
  STD_TORCH_CHECK(grad.dim() == 3 && grad.size(0) == s.batch && grad.size(1) == chosen.set().count &&
                      grad.size(2) == 3 && grad.scalar_type() == params.scalar_type() &&
                      grad.device() == params.device(),
                  kOp, "_backward: the gradient does not fit the vertices");
  grad = torch::stable::contiguous(grad);
  params = torch::stable::contiguous(params);
  mean = torch::stable::contiguous(mean);
  basis = torch::stable::contiguous(basis);
  Tensor grad_params = empty(params.sizes(), params.scalar_type(), params);
  const Device device(params);
  for_morphable_type(params, [&](auto type) {
    using T = decltype(type);
    const Workspace scratch = device.template reconstruct_vertices_backward_workspace<T>(params, chosen.set(), s);
    device.template reconstruct_vertices_backward<T>(data<T>(grad), data<T>(params), data<T>(mean), data<T>(basis),
                                                     chosen.set(), mutable_data<T>(grad_params), s, scratch.get());
  });
  return grad_params;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("reconstruct_vertices(Tensor params, Tensor mean, Tensor basis, Tensor? vertices) -> Tensor");
  m.def(
      "reconstruct_vertices_backward(Tensor grad_vertices, Tensor params, Tensor mean, Tensor basis, "
      "Tensor? vertices) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("reconstruct_vertices", TORCH_BOX(&forward<OnCpu>));
  m.impl("reconstruct_vertices_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("reconstruct_vertices", TORCH_BOX(&forward<OnCuda>));
  m.impl("reconstruct_vertices_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
