// frnet::vdc as a torch op.

#include "frnet/vdc.h"

#include "torch/devices.h"
#include "torch/morphable.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::vdc";

template <typename Device>
std::tuple<Tensor, Tensor> forward(Tensor pred, Tensor target, Tensor mean, Tensor basis, Tensor param_mean,
                                   Tensor param_std, std::optional<Tensor> vertices,
                                   std::optional<Tensor> vertex_weights, bool target_tz, int64_t precision,
                                   bool slopes) {
  const FacePairTensors faces(kOp, pred, target, mean, basis, param_mean, param_std);
  const ComparisonTensors comparison(kOp, faces, pred, vertices, vertex_weights, target_tz, precision);
  const MorphableShape& s = faces.shape();
  Tensor loss = per_sample(pred, s.batch);
  Tensor slope = slopes_or_none(pred, slopes);
  const Device device(pred);
  for_morphable_type(pred, [&](auto type) {
    using T = decltype(type);
    const auto compared = comparison.get<T>();
    const Workspace scratch = device.template vdc_workspace<T>(pred, compared, slopes, s);
    device.template vdc<T>(faces.get<T>(), compared, mutable_data<T>(loss), wanted<T>(slope), s, scratch.get());
  });
  return {loss, slope};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("vdc(" FRNET_FACE_PAIR_SCHEMA ", " FRNET_COMPARISON_SCHEMA ", bool slopes) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) { m.impl("vdc", TORCH_BOX(&forward<OnCpu>)); }

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) { m.impl("vdc", TORCH_BOX(&forward<OnCuda>)); }
#endif

}  // namespace frnet::binding
