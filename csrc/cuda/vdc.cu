// The vertex distance cost: the squared distance as a loss of vertex_loss_kernel.cuh and vertex_loss_matrix.cuh.
#include "frnet/vdc.h"

#include "cuda/vertex_loss.cuh"
#include "math/squared_distance.h"

namespace frnet {
namespace cuda {

namespace {

constexpr const char* kOp = "vdc";

template <typename T>
struct SquaredDistance {
  __device__ __forceinline__ T operator()(const T (&d)[3], T (&g)[3]) const { return math::squared_distance(d, g); }
};

}  // namespace

template <typename T>
void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope, const MorphableShape& shape,
         void* workspace, void* stream) {
  if (shape.batch == 0) return;
  const VertexLossPlan<T> plan = make_vertex_loss_plan(comparison, slope != nullptr, shape, kOp);
  launch_vertex_loss(faces, comparison, SquaredDistance<T>{},
                     VertexLossPartials<T>{static_cast<T*>(workspace), nullptr, false}, VertexLossResult<T>{vdc, slope},
                     plan, shape, kOp, stream);
}

template <typename T>
size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope, const MorphableShape& shape) {
  if (shape.batch == 0) return 0;
  const VertexLossPlan<T> plan = make_vertex_loss_plan(comparison, slope, shape, kOp);
  return static_cast<size_t>(partial_rows_size(plan, shape)) * sizeof(T);
}

#define FRNET_INSTANTIATE(T)                                                                                         \
  template void vdc<T>(const FacePair<T>&, const VertexComparison<T>&, T*, T*, const MorphableShape&, void*, void*); \
  template size_t vdc_workspace<T>(const VertexComparison<T>&, bool, const MorphableShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
