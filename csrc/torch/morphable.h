// What the ops on a morphable model check of their arguments, and how they pass them on.
#pragma once

#include <algorithm>
#include <optional>

#include "frnet/face_pair.h"
#include "math/pose_transform.h"
#include "torch/tensors.h"

namespace frnet::binding {

// params: [batch, 12 + coefficients], which the model's arrays are to fit in dtype and device.
inline MorphableShape morphable_shape(const char* op, const Tensor& params, const Tensor& mean, const Tensor& basis) {
  STD_TORCH_CHECK(params.dim() == 2 && mean.dim() == 1 && basis.dim() == 2, op,
                  ": wanted parameters [batch, 12 + k], mean [3 * vertices] and basis [3 * vertices, k]");
  STD_TORCH_CHECK(mean.size(0) % 3 == 0 && basis.size(0) == mean.size(0), op, ": basis does not fit mean");
  STD_TORCH_CHECK(params.size(1) == math::kPoseSize + basis.size(1), op, ": the parameters do not fit the basis");
  STD_TORCH_CHECK(basis.size(1) <= cpu::kMaxCoefficients, op, ": at most ", cpu::kMaxCoefficients, " coefficients");
  const ScalarType dtype = params.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op, ": wanted float32 or float64");
  STD_TORCH_CHECK(mean.scalar_type() == dtype && basis.scalar_type() == dtype, op,
                  ": parameters, mean and basis differ in dtype");
  STD_TORCH_CHECK(mean.device() == params.device() && basis.device() == params.device(), op,
                  ": parameters, mean and basis are on different devices");
  return {params.size(0), mean.size(0) / 3, basis.size(1)};
}

// Calls body with a value of the type of params.
template <typename F>
void for_morphable_type(const Tensor& params, const F& body) {
  if (params.scalar_type() == ScalarType::Double) return body(double{});
  body(float{});
}

// Chosen vertices as the launchers take them. On the CPU the indices are looked at; on CUDA, where that would mean to
// wait for the device, an index out of range gives NaN.
class ChosenVertices {
 public:
  ChosenVertices(const char* op, const char* name, const std::optional<Tensor>& indices, const Tensor& params,
                 const MorphableShape& shape)
      : set_{nullptr, shape.vertices} {
    if (!indices) return;
    STD_TORCH_CHECK(indices->dim() == 1 && indices->scalar_type() == ScalarType::Long, op, ": ", name,
                    " must be int64 [count]");
    STD_TORCH_CHECK(indices->device() == params.device(), op, ": ", name,
                    " and the parameters are on different devices");
    dense_ = torch::stable::contiguous(*indices);
    set_ = {data<int64_t>(*dense_), dense_->size(0)};
    if (params.is_cuda() || set_.count == 0) return;
    const auto [least, most] = std::minmax_element(set_.indices, set_.indices + set_.count);
    STD_TORCH_CHECK(*least >= 0 && *most < shape.vertices, op, ": ", name, " must be from 0 to ", shape.vertices - 1,
                    ", got ", *least, " to ", *most);
  }

  const VertexSet& set() const { return set_; }

 private:
  std::optional<Tensor> dense_;
  VertexSet set_;
};

// The tensors of a FacePair, dense.
class FacePairTensors {
 public:
  FacePairTensors(const char* op, const Tensor& pred, const Tensor& target, const Tensor& mean, const Tensor& basis,
                  const Tensor& param_mean, const Tensor& param_std)
      : shape_(morphable_shape(op, pred, mean, basis)),
        tensors_{dense(pred), dense(target), dense(param_mean), dense(param_std), dense(mean), dense(basis)} {
    const auto alike = [&](const Tensor& x) {
      return x.scalar_type() == pred.scalar_type() && x.device() == pred.device();
    };
    STD_TORCH_CHECK(
        target.dim() == 2 && target.size(0) == shape_.batch && target.size(1) == pred.size(1) && alike(target), op,
        ": target does not fit pred");
    for (const Tensor* whitening : {&param_mean, &param_std}) {
      STD_TORCH_CHECK(whitening->dim() == 1 && whitening->size(0) == pred.size(1) && alike(*whitening), op,
                      ": the whitening does not fit pred");
    }
  }

  const MorphableShape& shape() const { return shape_; }

  template <typename T>
  FacePair<T> get() const {
    return {data<T>(tensors_[0]), data<T>(tensors_[1]), data<T>(tensors_[2]),
            data<T>(tensors_[3]), data<T>(tensors_[4]), data<T>(tensors_[5])};
  }

 private:
  static Tensor dense(const Tensor& x) { return torch::stable::contiguous(x); }

  MorphableShape shape_;
  Tensor tensors_[6];
};

// How the vertices of a FacePair are compared.
class ComparisonTensors {
 public:
  ComparisonTensors(const char* op, const FacePairTensors& faces, const Tensor& pred,
                    const std::optional<Tensor>& vertices, const std::optional<Tensor>& weights, bool target_tz,
                    int64_t precision)
      : vertices_(op, "vertices", vertices, pred, faces.shape()), target_tz_(target_tz) {
    STD_TORCH_CHECK(vertices_.set().count > 0, op, ": vertices must name at least one");
    STD_TORCH_CHECK(precision >= 0 && precision <= static_cast<int64_t>(ProductPrecision::bfloat16), op,
                    ": no such precision");
    precision_ = static_cast<ProductPrecision>(precision);
    if (!weights) return;
    STD_TORCH_CHECK(weights->dim() == 1 && weights->size(0) == vertices_.set().count &&
                        weights->scalar_type() == pred.scalar_type() && weights->device() == pred.device(),
                    op, ": vertex_weights do not fit the vertices");
    weights_ = torch::stable::contiguous(*weights);
  }

  template <typename T>
  VertexComparison<T> get() const {
    return {vertices_.set(), data_or_null<T>(weights_), target_tz_, precision_};
  }

 private:
  ChosenVertices vertices_;
  std::optional<Tensor> weights_;
  bool target_tz_;
  ProductPrecision precision_;
};

// A loss of each sample.
inline Tensor per_sample(const Tensor& pred, int64_t batch) {
  const int64_t size[] = {batch};
  return empty(size, pred.scalar_type(), pred);
}

// Derivatives of a loss with respect to pred; without elements where they are not wanted.
inline Tensor slopes_or_none(const Tensor& pred, bool slopes) {
  if (slopes) return empty(pred.sizes(), pred.scalar_type(), pred);
  return per_sample(pred, 0);
}

}  // namespace frnet::binding

#define FRNET_FACE_PAIR_SCHEMA \
  "Tensor pred, Tensor target, Tensor mean, Tensor basis, Tensor param_mean, Tensor param_std"
#define FRNET_COMPARISON_SCHEMA "Tensor? vertices, Tensor? vertex_weights, bool target_tz, int precision"
