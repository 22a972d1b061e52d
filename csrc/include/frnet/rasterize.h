// Which triangle of a mesh is seen at which pixel, and attributes of the vertices in between.
//
// Pixel centres lie at whole numbers, x to the right, y down, z towards the viewer. Of the triangles over a sample the
// one with the greatest depth is seen, among equals the one with the lowest index. Corners are rounded to 1 / 256 of
// the distance of two samples, and whether a sample lies inside is then decided exactly; a sample on the edge of two
// triangles belongs to one of them: to the one below an edge that lies flat, else to the one on the edge's right.
//
// With samples = s there are s x s samples in a pixel, evenly spread. triangle, depth and barycentrics are those of the
// sample nearest to the viewer (then: of the lowest triangle, of the first sample); attributes are the mean over the
// samples that see anything, coverage is their share.
//
// With inverse_depth, 1 / w of a perspective projection, the weights are correct in perspective, and the triangle
// with the greatest 1 / w is seen instead of the one with the greatest z.
//
// Left out: triangles of no area, with a corner that is not finite, whose |z| is above 2^125 or whose 1 / w is not in
// (0, 2^125], and with cull those whose corners are seen clockwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "frnet/parallel.h"

namespace frnet {

struct RasterizeArgs {
  const float* vertices;       // [batch, vertex_count, 3]: x, y in pixels, z
  const float* inverse_depth;  // [batch, vertex_count]; null: no perspective
  const int32_t* triangles;    // [triangle_count, 3]
  const float* attributes;     // [batch or 1, vertex_count, channels]; null: none
  int64_t batch;
  int64_t vertex_count;
  int64_t triangle_count;
  int64_t channels;
  int64_t height;
  int64_t width;
  int32_t samples;  // along each axis of a pixel, from 1 to kMaxRasterSamples
  bool cull;
  bool shared_attributes;  // the same for every image

  // Dense; null: not wanted. Where nothing is seen: -1 in triangle, 0 elsewhere.
  int32_t* triangle;       // [batch, height, width]
  float* depth;            // [batch, height, width], z
  float* barycentrics;     // [batch, height, width, 3], weights of the corners
  float* attribute_image;  // [batch, height, width, channels]
  float* coverage;         // [batch, height, width]
  void* workspace;         // rasterize_workspace bytes
};

inline constexpr int32_t kMaxRasterSamples = 4;
// Of height * samples and width * samples.
inline constexpr int64_t kMaxRasterSize = 32768;

// What is wrong with sizes and samples, for the caller's message; empty where nothing is.
std::string rasterize_fault(const RasterizeArgs& args);

// The first triangle with a corner that is no vertex, or -1. triangles is host memory.
int64_t first_bad_triangle(const int32_t* triangles, int64_t triangle_count, int64_t vertex_count);

namespace cpu {

size_t rasterize_workspace(const RasterizeArgs& args);

// Every corner must be a vertex.
void rasterize(const RasterizeArgs& args, const Parallel& parallel);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers. A triangle with a
// corner that is no vertex is left out.
namespace cuda {

size_t rasterize_workspace(const RasterizeArgs& args);

void rasterize(const RasterizeArgs& args, void* stream);

}  // namespace cuda
}  // namespace frnet
