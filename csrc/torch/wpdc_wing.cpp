// frnet::wpdc_wing and frnet::wpdc_weights as torch ops.

#include "frnet/wpdc_wing.h"

#include "torch/devices.h"
#include "torch/morphable.h"

namespace frnet::binding {

namespace {

Wpdc wpdc_options(const char* op, const ChosenVertices& vertices, bool by_sum, bool predicted_shape) {
  STD_TORCH_CHECK(vertices.set().count > 0, op, ": wpdc_vertices must name at least one");
  return {vertices.set(), by_sum, predicted_shape};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> forward(Tensor pred, Tensor target, Tensor mean, Tensor basis,
                                                   Tensor param_mean, Tensor param_std, std::optional<Tensor> vertices,
                                                   std::optional<Tensor> vertex_weights, bool target_tz,
                                                   int64_t precision, std::optional<Tensor> wpdc_vertices, bool by_sum,
                                                   bool predicted_shape, double wing_width, double wing_curvature,
                                                   bool slopes) {
  constexpr const char* kOp = "frnet::wpdc_wing";
  const FacePairTensors faces(kOp, pred, target, mean, basis, param_mean, param_std);
  const MorphableShape& s = faces.shape();
  const ComparisonTensors comparison(kOp, faces, pred, vertices, vertex_weights, target_tz, precision);
  const ChosenVertices wpdc_set(kOp, "wpdc_vertices", wpdc_vertices, pred, s);
  const Wpdc wpdc = wpdc_options(kOp, wpdc_set, by_sum, predicted_shape);
  STD_TORCH_CHECK(wing_width > 0 && wing_curvature > 0, kOp, ": wing_width and wing_curvature must be positive");
  Tensor loss_wpdc = per_sample(pred, s.batch), loss_wing = per_sample(pred, s.batch);
  Tensor slope_wpdc = slopes_or_none(pred, slopes), slope_wing = slopes_or_none(pred, slopes);
  const Device device(pred);
  for_morphable_type(pred, [&](auto type) {
    using T = decltype(type);
    const auto compared = comparison.get<T>();
    const Wing<T> wing{static_cast<T>(wing_width), static_cast<T>(wing_curvature)};
    const WpdcWingOutput<T> output{mutable_data<T>(loss_wpdc), mutable_data<T>(loss_wing), wanted<T>(slope_wpdc),
                                   wanted<T>(slope_wing)};
    const Workspace scratch = device.template wpdc_wing_workspace<T>(pred, wpdc, compared, s);
    device.template wpdc_wing<T>(faces.get<T>(), wpdc, wing, compared, output, s, scratch.get());
  });
  return {loss_wpdc, loss_wing, slope_wpdc, slope_wing};
}

template <typename Device>
Tensor weights(Tensor pred, Tensor target, Tensor mean, Tensor basis, Tensor param_mean, Tensor param_std,
               std::optional<Tensor> wpdc_vertices, bool by_sum, bool predicted_shape) {
  constexpr const char* kOp = "frnet::wpdc_weights";
  const FacePairTensors faces(kOp, pred, target, mean, basis, param_mean, param_std);
  const ChosenVertices wpdc_set(kOp, "wpdc_vertices", wpdc_vertices, pred, faces.shape());
  const Wpdc wpdc = wpdc_options(kOp, wpdc_set, by_sum, predicted_shape);
  Tensor result = empty(pred.sizes(), pred.scalar_type(), pred);
  const Device device(pred);
  for_morphable_type(pred, [&](auto type) {
    using T = decltype(type);
    const Workspace scratch = device.template wpdc_weights_workspace<T>(pred, wpdc, faces.shape());
    device.template wpdc_weights<T>(faces.get<T>(), wpdc, mutable_data<T>(result), faces.shape(), scratch.get());
  });
  return result;
}

}  // namespace

#define FRNET_WPDC_SCHEMA "Tensor? wpdc_vertices, bool by_sum, bool predicted_shape"

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("wpdc_wing(" FRNET_FACE_PAIR_SCHEMA ", " FRNET_COMPARISON_SCHEMA ", " FRNET_WPDC_SCHEMA
        ", float wing_width, float wing_curvature, bool slopes) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("wpdc_weights(" FRNET_FACE_PAIR_SCHEMA ", " FRNET_WPDC_SCHEMA ") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("wpdc_wing", TORCH_BOX(&forward<OnCpu>));
  m.impl("wpdc_weights", TORCH_BOX(&weights<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("wpdc_wing", TORCH_BOX(&forward<OnCuda>));
  m.impl("wpdc_weights", TORCH_BOX(&weights<OnCuda>));
}
#endif

}  // namespace frnet::binding
