// Vertices on the grid of math/rasterize.h, corners of triangles in the lanes of vectors, and where winners are kept.
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/vec.h"
#include "frnet/rasterize.h"
#include "math/rasterize.h"

namespace frnet::cpu::FRNET_ISA {

using Floats = Vec<float>;
using Ints = VecOf<float>::index;

inline constexpr int kRasterLanes = kLanes<float>;

FRNET_HD Ints lane_numbers() {
  Ints lanes;
  for (int i = 0; i < kRasterLanes; ++i) lanes[i] = i;
  return lanes;
}

FRNET_HD Ints load_ints(const int32_t* from) {
  Ints value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
FRNET_HD void store_ints(int32_t* to, Ints value) { __builtin_memcpy(to, &value, sizeof value); }

FRNET_HD Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }

// math::whole_steps, of what int32_t holds; NaN becomes something.
FRNET_HD Ints whole_steps(Floats x, float scale, float offset) {
  const Floats v =
      math::most(math::least(x * scale + offset, broadcast(math::kMostSteps)), broadcast(-math::kMostSteps));
  const Ints toward_zero = __builtin_convertvector(v, Ints);
  const Ints low = toward_zero + (to_floats(toward_zero) > v);
  return low - (v - to_floats(low) >= 0.5f);
}

// A vertex on the grid.
struct GridVertex {
  int32_t x, y;    // steps, what int32_t holds of them
  float nearness;  // z, or 1 / w in perspective: greater is nearer. NaN, which is nearer than nothing: not to be seen
  float z;
};

// One image, its vertices placed on the grid.
struct RasterImage {
  const float* vertices;
  const float* attributes;
  const int32_t* triangles;
  const GridVertex* grid;
  float scale, offset;
  bool perspective;

  RasterImage(const RasterizeArgs& a, int64_t image, const GridVertex* grid_)
      : vertices(a.vertices + image * a.vertex_count * 3),
        attributes(a.attributes == nullptr
                       ? nullptr
                       : a.attributes + (a.shared_attributes ? 0 : image * a.vertex_count * a.channels)),
        triangles(a.triangles),
        grid(grid_),
        scale(math::steps_scale(a.samples)),
        offset(math::steps_offset(a.samples)),
        perspective(a.inverse_depth != nullptr) {}

  FRNET_HD Ints x(Ints vertex) const { return gather(&grid->x, vertex * kStride); }
  FRNET_HD Ints y(Ints vertex) const { return gather(&grid->y, vertex * kStride); }
  FRNET_HD Floats nearness(Ints vertex) const { return gather(&grid->nearness, vertex * kStride); }
  FRNET_HD Floats z(Ints vertex) const { return gather(&grid->z, vertex * kStride); }

 private:
  static constexpr int kStride = sizeof(GridVertex) / 4;
};

inline void place_vertices(const RasterizeArgs& a, int64_t image, GridVertex* to) {
  const float* vertices = a.vertices + image * a.vertex_count * 3;
  const float* inverse_depth = a.inverse_depth == nullptr ? nullptr : a.inverse_depth + image * a.vertex_count;
  const float scale = math::steps_scale(a.samples), offset = math::steps_offset(a.samples);
  constexpr int64_t kL = kRasterLanes;
  for (int64_t first = 0; first < a.vertex_count; first += kL) {
    const int64_t count = min(kL, a.vertex_count - first);
    Floats v[3];
    load_interleaved(vertices + 3 * first, count, v);
    Floats near = v[2];
    // Zero times what is not finite is not zero.
    Ints good = (v[0] * 0.0f + v[1] * 0.0f == 0.0f) & (near <= math::kMostDepth) & (near >= -math::kMostDepth);
    if (inverse_depth != nullptr) {
      near = load_partial(inverse_depth + first, count);
      good &= (near > 0.0f) & (near <= math::kMostDepth);
    }
    alignas(kVectorBytes) float nearness[kL], z[kL];
    alignas(kVectorBytes) int32_t x[kL], y[kL];
    store(nearness, good ? near : near * __builtin_nanf(""));
    store(z, v[2]);
    store_ints(x, whole_steps(v[0], scale, offset));
    store_ints(y, whole_steps(v[1], scale, offset));
    for (int64_t i = 0; i < count; ++i) to[first + i] = {x[i], y[i], nearness[i], z[i]};
  }
}

// kRasterLanes triangles.
struct RasterCorners {
  Ints vertex[3], x[3], y[3];

  FRNET_HD RasterCorners(const RasterImage& image, Ints triangle) {
    for (int i = 0; i < 3; ++i) {
      vertex[i] = gather(image.triangles + i, triangle * 3);
      x[i] = image.x(vertex[i]);
      y[i] = image.y(vertex[i]);
    }
  }
};

// Corners of one triangle, as Edges<I> takes them.
template <typename I>
struct Corners {
  I x[3], y[3];
  float near[3];

  Corners(const RasterImage& image, int32_t triangle) {
    for (int i = 0; i < 3; ++i) {
      const int64_t vertex = image.triangles[int64_t{3} * triangle + i];
      const GridVertex& at = image.grid[vertex];
      near[i] = at.nearness;
      if constexpr (std::is_same_v<I, double>) {
        x[i] = math::whole_steps(image.vertices[3 * vertex], image.scale, image.offset);
        y[i] = math::whole_steps(image.vertices[3 * vertex + 1], image.scale, image.offset);
      } else {
        x[i] = at.x;
        y[i] = at.y;
      }
    }
  }
};

// A triangle in doubles, kRasterLanes samples of a row at a time.
struct WideTriangle {
  math::Edges<double> edges;
  double least_inside[3];  // of the edges' functions, which are whole numbers
  double area;

  explicit WideTriangle(const Corners<double>& corners) : edges(corners.x, corners.y) {
    area = edges.at(0, corners.x[0], corners.y[0]);
    edges.orient(area < 0 ? -1.0 : 1.0);
    for (int i = 0; i < 3; ++i) least_inside[i] = edges.owns(i) ? 0 : 1;
  }

  // The weights at the samples from column on, and which of these lie inside.
  Ints at(int32_t column, int32_t row, Floats (&w)[3]) const {
    alignas(kVectorBytes) float weights[3][kRasterLanes];
    alignas(kVectorBytes) int32_t inside[kRasterLanes];
    const double y = row * static_cast<double>(math::kSteps);
    for (int lane = 0; lane < kRasterLanes; ++lane) {
      const double x = (column + lane) * static_cast<double>(math::kSteps);
      const double e[3] = {edges.at(0, x, y), edges.at(1, x, y), edges.at(2, x, y)};
      double mixed[3];
      math::corner_weights(e, e[0] + e[1] + e[2], mixed);
      for (int i = 0; i < 3; ++i) weights[i][lane] = static_cast<float>(mixed[i]);
      inside[lane] = -((e[0] >= least_inside[0]) & (e[1] >= least_inside[1]) & (e[2] >= least_inside[2]));
    }
    for (int i = 0; i < 3; ++i) w[i] = load(weights[i]);
    return load_ints(inside);
  }
};

// Where the samples of a band are.
struct Band {
  int32_t columns, first_row, last_row;  // of samples, the last one inclusive
  int64_t pitch;
  float* nearness;    // -infinity: nothing yet
  int32_t* triangle;  // -1

  FRNET_HD int64_t at(int64_t row, int64_t column) const { return (row - first_row) * pitch + column; }

  // A triangle to a sample.
  FRNET_HD void offer(int64_t at, float near, int32_t t) const {
    if (near > nearness[at] || (near == nearness[at] && t < triangle[at])) {
      nearness[at] = near;
      triangle[at] = t;
    }
  }

  // And to kRasterLanes samples, of which some lie inside.
  FRNET_HD void offer(int64_t at, Floats near, int32_t t, Ints inside) const {
    near = inside ? near : broadcast(-std::numeric_limits<float>::infinity());
    const Floats before = load(nearness + at);
    const Ints winner = load_ints(triangle + at), self = Ints{} + t;
    const Ints better = (near > before) | ((near == before) & (self < winner));
    store(nearness + at, better ? near : before);
    store_ints(triangle + at, better ? self : winner);
  }
};

}  // namespace frnet::cpu::FRNET_ISA
