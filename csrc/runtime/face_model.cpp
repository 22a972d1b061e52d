#include "frnet/face_model.h"

#include <stdexcept>

#include "frnet/reconstruct_vertices.h"
#include "runtime/safetensors.h"

namespace frnet::runtime {

namespace {

const FileTensor* find(const Safetensors& file, const std::string& name) {
  const auto found = file.tensors().find(name);
  return found == file.tensors().end() ? nullptr : &found->second;
}

}  // namespace

FaceModel FaceModel::open(const std::string& path) { return load(Safetensors::read_bytes(path)); }

FaceModel FaceModel::load(std::string bytes) {
  const Safetensors file(std::move(bytes));
  if (file.metadata("format") != "frnet.morphable/1") throw std::runtime_error("is no morphable model of frnet");
  const FileTensor *mean = find(file, "mean"), *basis = find(file, "basis"), *landmarks = find(file, "landmarks");
  if (mean == nullptr || basis == nullptr || mean->shape.size() != 1 || mean->shape[0] % 3 || mean->shape[0] == 0 ||
      basis->shape.size() != 2 || basis->shape[0] != mean->shape[0] || basis->shape[1] > cpu::kMaxCoefficients) {
    throw std::runtime_error("has no mean [3 N] and basis [3 N, K]");
  }
  FaceModel model;
  model.coefficients_ = basis->shape[1];
  model.mean_ = file.floats("mean", mean->shape);
  model.basis_ = file.floats("basis", basis->shape);
  if (find(file, "param_mean") != nullptr && find(file, "param_std") != nullptr) {
    model.param_mean_ = file.floats("param_mean", {model.num_params()});
    model.param_std_ = file.floats("param_std", {model.num_params()});
  }
  if (landmarks != nullptr) model.landmarks_ = file.integers("landmarks");
  for (int64_t vertex : model.landmarks_) {
    if (vertex < 0 || vertex >= model.num_vertices()) throw std::runtime_error("has a landmark that is no vertex");
  }
  return model;
}

void FaceModel::decode(const float* params, int64_t batch, float* vertices) const {
  const MorphableShape shape{batch, num_vertices(), coefficients_};
  cpu::reconstruct_vertices<float>(params, mean_.data(), basis_.data(), VertexSet{nullptr, num_vertices()}, vertices,
                                   shape, serial);
}

}  // namespace frnet::runtime
