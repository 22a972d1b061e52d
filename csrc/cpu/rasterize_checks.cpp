#include "frnet/rasterize.h"

namespace frnet {

std::string rasterize_fault(const RasterizeArgs& a) {
  constexpr int64_t kMostIndices = INT32_MAX / 4;  // of at most four values each, named by int32
  if (a.samples < 1 || a.samples > kMaxRasterSamples) {
    return "samples must be from 1 to " + std::to_string(kMaxRasterSamples) + ", got " + std::to_string(a.samples);
  }
  if (a.height < 0 || a.width < 0 || a.height * a.samples > kMaxRasterSize || a.width * a.samples > kMaxRasterSize) {
    return "height and width must be from 0 to " + std::to_string(kMaxRasterSize / a.samples) + ", got " +
           std::to_string(a.height) + " and " + std::to_string(a.width);
  }
  if (a.vertex_count > kMostIndices || a.triangle_count > kMostIndices) {
    return "at most " + std::to_string(kMostIndices) + " vertices and triangles, got " +
           std::to_string(a.vertex_count) + " and " + std::to_string(a.triangle_count);
  }
  return {};
}

int64_t first_bad_triangle(const int32_t* triangles, int64_t triangle_count, int64_t vertex_count) {
  const auto vertices = static_cast<uint32_t>(vertex_count);
  uint32_t largest = 0;
  for (int64_t i = 0; i < 3 * triangle_count; ++i) {
    const auto index = static_cast<uint32_t>(triangles[i]);  // negative ones are the largest
    largest = index > largest ? index : largest;
  }
  if (triangle_count == 0 || largest < vertices) return -1;
  int64_t i = 0;
  while (static_cast<uint32_t>(triangles[i]) < vertices) ++i;
  return i / 3;
}

}  // namespace frnet
