// WPDC and the Wing loss on vertices on the CPU: the walk of vertex_walk.h over the compared vertices, which takes the
// lengths that WPDC weighs by along where it looks at the same ones; else a second, lighter walk does.
//   traffic: reads the basis once for each chunk of the samples, and writes nothing of the vertices' size

#include "cpu/wpdc_wing.h"

#include <optional>

#include "cpu/shape_lengths.h"
#include "cpu/vertex_loss.h"
#include "math/wing.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

using Shape = MorphableShape;

template <typename T>
struct WingDistance {
  math::WingConstants<T> constants;

  FRNET_HD Vec<T> value(const Vec<T>* d, Vec<T>* g) const { return math::wing(constants, d, g, VecLog1p{}); }
};

template <typename T>
struct Room {
  WorkspaceLayout layout;
  PlacedFaces<T> faces;
  WalkPlan<T> plan;
  int64_t slots;
  double* partials;
  double* column_squares = nullptr;        // where one walk does for both
  std::optional<ShapeWalk<T>> shape_walk;  // where it does not

  Room(void* workspace, const Wpdc& wpdc, const VertexComparison<T>& comparison, const Shape& s)
      : layout(workspace),
        faces(layout, s),
        plan(s.batch, comparison.set.count, s.coefficients, 2),
        slots(loss_slots(true, s.coefficients)),
        partials(layout.take<double>(plan.vertex_chunks * s.batch * slots)) {
    if (wpdc.set.indices == comparison.set.indices && wpdc.set.count == comparison.set.count) {
      column_squares = layout.take<double>(plan.vertex_chunks * s.coefficients);
    } else {
      shape_walk.emplace(layout, wpdc, s);
    }
  }
};

}  // namespace

template <typename T>
size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const Shape& shape) {
  return Room<T>(nullptr, wpdc, comparison, shape).layout.bytes();
}

template <typename T>
void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing, const VertexComparison<T>& comparison,
               const WpdcWingOutput<T>& output, const Shape& shape, void* workspace, const Parallel& parallel) {
  if (shape.batch == 0) return;
  const Room<T> room(workspace, wpdc, comparison, shape);
  const bool slopes = output.slope_wing != nullptr;
  const int64_t slots = loss_slots(slopes, shape.coefficients);
  room.faces.set(faces, comparison.target_tz, shape);
  const WingDistance<T> loss{math::wing_constants(wing.width, wing.curvature)};
  const auto walk = [&](auto with_slopes) {
    const CompareVertices<T, WingDistance<T>, decltype(with_slopes)::value> body{
        loss, room.faces, comparison.weights, !room.shape_walk, wpdc.predicted_shape};
    walk_vertices(Basis<T>{faces.mean, faces.basis, comparison.set, shape.coefficients}, room.plan, shape.batch, slots,
                  room.partials, room.column_squares, parallel, body);
  };
  slopes ? walk(std::true_type{}) : walk(std::false_type{});
  if (room.shape_walk) room.shape_walk->run(faces, wpdc, shape, parallel);

  const WpdcWeights<T> weights(faces, wpdc, shape,
                               room.shape_walk ? room.shape_walk->column_squares : room.column_squares,
                               room.shape_walk ? room.shape_walk->plan.vertex_chunks : room.plan.vertex_chunks);
  parallel(shape.batch, 1, [&](int64_t begin, int64_t end) {
    double sums[kCoefficientSlots + kMaxCoefficients];
    double squares[3];
    for (int64_t b = begin; b < end; ++b) {
      T* const slope_wing = slopes ? output.slope_wing + b * weights.size() : nullptr;
      T* const slope_wpdc = slopes ? output.slope_wpdc + b * weights.size() : nullptr;
      add_partials(room.partials + b * slots, room.plan.vertex_chunks, shape.batch * slots, slots, sums);
      finish_loss(sums, mean_factor(comparison), faces.param_std, comparison.target_tz, shape.coefficients,
                  output.wing + b, slope_wing);
      if (room.shape_walk) {
        const ShapeWalk<T>& other = *room.shape_walk;
        add_partials(other.squares + 3 * b, other.plan.vertex_chunks, 3 * shape.batch, 3, squares);
      }
      weights.finish(b, room.shape_walk ? squares : sums + kSquareSlots, output.wpdc + b, slope_wpdc);
    }
  });
}

template <typename T>
size_t wpdc_weights_workspace(const Wpdc& wpdc, const Shape& shape) {
  WorkspaceLayout layout(nullptr);
  const ShapeWalk<T> walk(layout, wpdc, shape);
  return layout.bytes();
}

template <typename T>
void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights, const Shape& shape, void* workspace,
                  const Parallel& parallel) {
  if (shape.batch == 0) return;
  WorkspaceLayout layout(workspace);
  const ShapeWalk<T> walk(layout, wpdc, shape);
  walk.run(faces, wpdc, shape, parallel);
  const WpdcWeights<T> made(faces, wpdc, shape, walk.column_squares, walk.plan.vertex_chunks);
  double squares[3], row[math::kPoseSize + kMaxCoefficients];
  for (int64_t b = 0; b < shape.batch; ++b) {
    add_partials(walk.squares + 3 * b, walk.plan.vertex_chunks, 3 * shape.batch, 3, squares);
    made.of_sample(b, squares, row);
    for (int64_t i = 0; i < made.size(); ++i) weights[b * made.size() + i] = static_cast<T>(row[i]);
  }
}

FRNET_INSTANTIATE_WPDC_WING(float)
FRNET_INSTANTIATE_WPDC_WING(double)

}  // namespace frnet::cpu::FRNET_ISA
