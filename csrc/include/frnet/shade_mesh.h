// Light on the vertices of meshes: an environment up to second-order spherical harmonics, one lamp with a highlight,
// and the shadows it casts.
//
//   colour = albedo * (tint * max(n^T A n + b^T n + c, 0.02) + lamp * max(n^T l, 0) * visible)
//            + lamp * shine * visible * max(n^T h, 0)^sharpness,   h half way between the lamp and the viewer
//
// Normals n are those of the triangles around a vertex, weighted by area, of length one before roughness is added.
// Shadows come from a map of kShadowCells x kShadowCells cells of kShadowCell units about the origin, seen from the
// lamp, that holds the depth of the nearest casting vertex; a vertex is hidden by the share of five taps that lie
// kShadowBias units or more nearer to the lamp.
#pragma once

#include <cstdint>

namespace frnet {

struct MeshLight {
  float ambient[10];   // A: xx, yy, zz, xy, xz, yz, the mixed ones twice; b: x, y, z; c
  float tint[3];       // of the ambient light
  float direction[3];  // to the lamp, length one
  float lamp[3];       // its colour
  float shadow;        // share of the lamp that a shadow takes; 0: none is cast
  float shine;         // strength of the highlight
  float sharpness;     // its exponent, a whole number
};
inline constexpr int kMeshLightFloats = 22;
static_assert(sizeof(MeshLight) == kMeshLightFloats * sizeof(float));

inline constexpr int kShadowCells = 72;
inline constexpr float kShadowCell = 0.55f;
inline constexpr float kShadowBias = 1.2f;

struct ShadeMeshArgs {
  const float* vertices;     // [batch, vertex_count, 3]; z towards the viewer
  const int32_t* triangles;  // [triangle_count, 3], counter-clockwise seen from outside
  const float* albedo;       // [batch, vertex_count, 3]
  const MeshLight* lights;   // [batch]
  const float* roughness;    // [batch, vertex_count, 3], added to the normals; null: none
  const float* shine;        // [vertex_count], factor of the highlight; null: 0
  const uint8_t* casters;    // [vertex_count], whether it casts shadows; null: none does
  int64_t batch;
  int64_t vertex_count;
  int64_t triangle_count;
  bool two_sided;  // normals are turned to the viewer

  float* colours;  // [batch, vertex_count, 3]
  float* diffuse;  // [batch, vertex_count, 3], what albedo was multiplied with; null: not wanted
};

namespace cpu {

// Every corner must be a vertex.
void shade_mesh(const ShadeMeshArgs& args);

}  // namespace cpu
}  // namespace frnet
