// frnet::reconstruct_vertices and its backward as torch ops.

#include "frnet/reconstruct_vertices.h"

#include "math/pose_transform.h"
#include "torch/tensors.h"
#if defined(FRNET_WITH_CUDA)
#include "torch/current_stream.h"
#endif

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::reconstruct_vertices";

ReconstructVerticesShape make_shape(const Tensor& params, const Tensor& mean, const Tensor& basis) {
  STD_TORCH_CHECK(params.dim() == 2 && mean.dim() == 1 && basis.dim() == 2, kOp,
                  ": wanted params [batch, 12 + k], mean [3 * vertices] and basis [3 * vertices, k]");
  STD_TORCH_CHECK(mean.size(0) % 3 == 0 && basis.size(0) == mean.size(0), kOp, ": basis does not fit mean");
  STD_TORCH_CHECK(params.size(1) == math::kPoseSize + basis.size(1), kOp, ": params do not fit the basis");
  STD_TORCH_CHECK(basis.size(1) <= cpu::kMaxCoefficients, kOp, ": at most ", cpu::kMaxCoefficients, " coefficients");
  const ScalarType dtype = params.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, kOp, ": wanted float32 or float64");
  STD_TORCH_CHECK(mean.scalar_type() == dtype && basis.scalar_type() == dtype, kOp,
                  ": params, mean and basis differ in dtype");
  STD_TORCH_CHECK(mean.device() == params.device() && basis.device() == params.device(), kOp,
                  ": params, mean and basis are on different devices");
  return {params.size(0), mean.size(0) / 3, basis.size(1)};
}

template <typename F>
void for_type(const Tensor& params, const F& body) {
  if (params.scalar_type() == ScalarType::Double) return body(double{});
  body(float{});
}

struct OnCpu {
  explicit OnCpu(const Tensor&) {}

  template <typename T>
  void forward(const T* params, const T* mean, const T* basis, T* out, const ReconstructVerticesShape& s) const {
    cpu::reconstruct_vertices(params, mean, basis, out, s, torch_threads);
  }
  template <typename T>
  size_t workspace_bytes(const ReconstructVerticesShape& s) const {
    return cpu::reconstruct_vertices_backward_workspace<T>(s);
  }
  template <typename T>
  void backward(const T* grad, const T* params, const T* mean, const T* basis, T* grad_params,
                const ReconstructVerticesShape& s, void* scratch) const {
    cpu::reconstruct_vertices_backward(grad, params, mean, basis, grad_params, s, scratch, torch_threads);
  }
};

#if defined(FRNET_WITH_CUDA)
struct OnCuda {
  explicit OnCuda(const Tensor& x) : stream(x) {}

  template <typename T>
  void forward(const T* params, const T* mean, const T* basis, T* out, const ReconstructVerticesShape& s) const {
    cuda::reconstruct_vertices(params, mean, basis, out, s, stream.get());
  }
  template <typename T>
  size_t workspace_bytes(const ReconstructVerticesShape& s) const {
    return cuda::reconstruct_vertices_backward_workspace<T>(s);
  }
  template <typename T>
  void backward(const T* grad, const T* params, const T* mean, const T* basis, T* grad_params,
                const ReconstructVerticesShape& s, void* scratch) const {
    cuda::reconstruct_vertices_backward(grad, params, mean, basis, grad_params, s, scratch, stream.get());
  }

  CurrentStream stream;
};
#endif

template <typename Device>
Tensor forward(Tensor params, Tensor mean, Tensor basis) {
  const ReconstructVerticesShape s = make_shape(params, mean, basis);
  params = torch::stable::contiguous(params);
  mean = torch::stable::contiguous(mean);
  basis = torch::stable::contiguous(basis);
  const int64_t size[] = {s.batch, s.vertices, 3};
  Tensor out = empty(size, params.scalar_type(), params);
  const Device device(params);
  for_type(params, [&](auto type) {
    using T = decltype(type);
    device.forward(data<T>(params), data<T>(mean), data<T>(basis), mutable_data<T>(out), s);
  });
  return out;
}

template <typename Device>
Tensor backward(Tensor grad, Tensor params, Tensor mean, Tensor basis) {
  const ReconstructVerticesShape s = make_shape(params, mean, basis);
  STD_TORCH_CHECK(grad.dim() == 3 && grad.size(0) == s.batch && grad.size(1) == s.vertices && grad.size(2) == 3 &&
                      grad.scalar_type() == params.scalar_type() && grad.device() == params.device(),
                  kOp, "_backward: the gradient does not fit the vertices");
  grad = torch::stable::contiguous(grad);
  params = torch::stable::contiguous(params);
  mean = torch::stable::contiguous(mean);
  basis = torch::stable::contiguous(basis);
  Tensor grad_params = empty(params.sizes(), params.scalar_type(), params);
  const Device device(params);
  for_type(params, [&](auto type) {
    using T = decltype(type);
    const Workspace scratch(device.template workspace_bytes<T>(s), params);
    device.backward(data<T>(grad), data<T>(params), data<T>(mean), data<T>(basis), mutable_data<T>(grad_params), s,
                    scratch.get());
  });
  return grad_params;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("reconstruct_vertices(Tensor params, Tensor mean, Tensor basis) -> Tensor");
  m.def("reconstruct_vertices_backward(Tensor grad_vertices, Tensor params, Tensor mean, Tensor basis) -> Tensor");
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
