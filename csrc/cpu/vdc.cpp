// Vertex distance cost on the CPU: the walk of vertex_walk.h over the compared vertices.
//   traffic: reads the basis once for each chunk of the samples, and writes nothing of the vertices' size

#include "cpu/vdc.h"

#include "cpu/vertex_loss.h"
#include "math/squared_distance.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

using Shape = MorphableShape;

template <typename T>
struct SquaredDistance {
  FRNET_HD Vec<T> value(const Vec<T>* d, Vec<T>* g) const { return math::squared_distance(d, g); }
};

template <typename T>
struct Room {
  WorkspaceLayout layout;
  PlacedFaces<T> faces;
  WalkPlan<T> plan;
  int64_t slots;
  double* partials;

  Room(void* workspace, const VertexComparison<T>& comparison, bool slope, const Shape& s)
      : layout(workspace),
        faces(layout, s),
        plan(s.batch, comparison.set.count, s.coefficients, 2),
        slots(loss_slots(slope, s.coefficients)),
        partials(layout.take<double>(plan.vertex_chunks * s.batch * slots)) {}
};

}  // namespace

template <typename T>
size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope, const Shape& shape) {
  return Room<T>(nullptr, comparison, slope, shape).layout.bytes();
}

template <typename T>
void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope, const Shape& shape,
         void* workspace, const Parallel& parallel) {
  if (shape.batch == 0) return;
  const Room<T> room(workspace, comparison, slope != nullptr, shape);
  room.faces.set(faces, comparison.target_tz, shape);
  const Basis<T> basis{faces.mean, faces.basis, comparison.set, shape.coefficients};
  const SquaredDistance<T> loss;
  const auto walk = [&](auto slopes) {
    const CompareVertices<T, SquaredDistance<T>, decltype(slopes)::value> body{loss, room.faces, comparison.weights,
                                                                               false, false};
    walk_vertices(basis, room.plan, shape.batch, room.slots, room.partials, nullptr, parallel, body);
  };
  slope ? walk(std::true_type{}) : walk(std::false_type{});

  const int64_t size = math::kPoseSize + shape.coefficients;
  parallel(shape.batch, 1, [&](int64_t begin, int64_t end) {
    double sums[kCoefficientSlots + kMaxCoefficients];
    for (int64_t b = begin; b < end; ++b) {
      add_partials(room.partials + b * room.slots, room.plan.vertex_chunks, shape.batch * room.slots, room.slots, sums);
      finish_loss(sums, mean_factor(comparison), faces.param_std, comparison.target_tz, shape.coefficients, vdc + b,
                  slope ? slope + b * size : nullptr);
    }
  });
}

FRNET_INSTANTIATE_VDC(float)
FRNET_INSTANTIATE_VDC(double)

}  // namespace frnet::cpu::FRNET_ISA
