// frnet::rasterize as a torch op.

#include "frnet/rasterize.h"

#include <string>

#include "torch/devices.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::rasterize";

void check_float(const char* name, const Tensor& x, const Tensor& vertices) {
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, kOp, ": ", name, " must be float32");
  STD_TORCH_CHECK(x.device() == vertices.device(), kOp, ": ", name, " and the vertices are on different devices");
}

// The triangles' indices are looked at on the CPU alone: on CUDA that would mean to wait for the device.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> rasterize(Tensor vertices, Tensor triangles, int64_t height,
                                                             int64_t width, std::optional<Tensor> attributes,
                                                             std::optional<Tensor> inverse_depth, bool cull,
                                                             int64_t samples, bool barycentrics) {
  STD_TORCH_CHECK(vertices.dim() == 3 && vertices.size(2) == 3, kOp, ": vertices must be [batch, vertices, 3]");
  STD_TORCH_CHECK(triangles.dim() == 2 && triangles.size(1) == 3, kOp, ": triangles must be [triangles, 3]");
  STD_TORCH_CHECK(triangles.scalar_type() == ScalarType::Int && triangles.device() == vertices.device(), kOp,
                  ": triangles must be int32 and on the vertices' device");
  check_float("vertices", vertices, vertices);
  vertices = torch::stable::contiguous(vertices);
  triangles = torch::stable::contiguous(triangles);
  RasterizeArgs a{};
  a.vertices = data<float>(vertices);
  a.triangles = data<int32_t>(triangles);
  a.batch = vertices.size(0);
  a.vertex_count = vertices.size(1);
  a.triangle_count = triangles.size(0);
  a.height = height;
  a.width = width;
  a.samples = samples < 0 || samples > kMaxRasterSamples ? 0 : static_cast<int32_t>(samples);
  a.cull = cull;
  if (attributes) {
    check_float("attributes", *attributes, vertices);
    STD_TORCH_CHECK(attributes->dim() == 3 && (attributes->size(0) == a.batch || attributes->size(0) == 1) &&
                        attributes->size(1) == a.vertex_count,
                    kOp, ": attributes must be [batch or 1, vertices, channels]");
    attributes = torch::stable::contiguous(*attributes);
    a.attributes = data<float>(*attributes);
    a.shared_attributes = attributes->size(0) == 1;
    a.channels = attributes->size(2);
  }
  if (inverse_depth) {
    check_float("inverse_depth", *inverse_depth, vertices);
    STD_TORCH_CHECK(
        inverse_depth->dim() == 2 && inverse_depth->size(0) == a.batch && inverse_depth->size(1) == a.vertex_count, kOp,
        ": inverse_depth must be [batch, vertices]");
    inverse_depth = torch::stable::contiguous(*inverse_depth);
    a.inverse_depth = data<float>(*inverse_depth);
  }
  const std::string fault = rasterize_fault(a);
  STD_TORCH_CHECK(fault.empty(), kOp, ": ", fault.c_str());
  if (!vertices.is_cuda()) {
    STD_TORCH_CHECK(first_bad_triangle(a.triangles, a.triangle_count, a.vertex_count) < 0, kOp,
                    ": triangles must be from 0 to ", a.vertex_count - 1);
  }

  const int64_t plane[] = {a.batch, height, width};
  const int64_t weights_size[] = {a.batch, height, width, barycentrics ? 3 : 0};
  const int64_t image_size[] = {a.batch, height, width, a.channels};
  Tensor triangle = empty(plane, ScalarType::Int, vertices);
  Tensor depth = empty(plane, ScalarType::Float, vertices);
  Tensor weights = empty(weights_size, ScalarType::Float, vertices);
  Tensor image = empty(image_size, ScalarType::Float, vertices);
  Tensor coverage = empty(plane, ScalarType::Float, vertices);
  a.triangle = mutable_data<int32_t>(triangle);
  a.depth = mutable_data<float>(depth);
  a.barycentrics = wanted<float>(weights);
  a.attribute_image = wanted<float>(image);
  a.coverage = mutable_data<float>(coverage);
  const Device device(vertices);
  const Workspace scratch(device.rasterize_workspace(a), vertices);
  a.workspace = scratch.get();
  device.rasterize(a);
  return {triangle, depth, weights, image, coverage};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def(
      "rasterize(Tensor vertices, Tensor triangles, int height, int width, Tensor? attributes, Tensor? inverse_depth, "
      "bool cull, int samples, bool barycentrics) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) { m.impl("rasterize", TORCH_BOX(&rasterize<OnCpu>)); }

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) { m.impl("rasterize", TORCH_BOX(&rasterize<OnCuda>)); }
#endif

}  // namespace frnet::binding
