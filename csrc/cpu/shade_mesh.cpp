// Light on the vertices of meshes, one mesh after the other.
//   traffic: reads three vertices per triangle, and per vertex its place, normal and albedo; writes its colour
#include "frnet/shade_mesh.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace frnet::cpu {

namespace {

constexpr float kDarkest = 0.02f;  // of the environment: nothing is quite black
constexpr int kTaps = 5;
constexpr float kTap[kTaps][2] = {{0, 0}, {0.7f, 0.7f}, {-0.7f, 0.7f}, {0.7f, -0.7f}, {-0.7f, -0.7f}};  // cells

float dot(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

float power(float base, int exponent) {
  float result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

// What the lamp sees: depths along its direction on a grid across it.
class ShadowMap {
 public:
  explicit ShadowMap(const float* direction) : along_(direction), nearest_(kShadowCells * kShadowCells, -1e9f) {
    const float helper[3] = {std::fabs(direction[1]) < 0.9f ? 0.0f : 1.0f, std::fabs(direction[1]) < 0.9f ? 1.0f : 0.0f,
                             0.0f};
    across(helper, along_, right_);
    const float length = std::sqrt(std::max(dot(right_, right_), 1e-12f));
    for (float& value : right_) value /= length;
    across(along_, right_, up_);
  }

  void cast(const float* vertex) {
    float& cell = nearest_[cell_of(place(vertex, right_), place(vertex, up_))];
    cell = std::max(cell, dot(vertex, along_));
  }

  float hidden(const float* vertex) const {
    const float x = place(vertex, right_), y = place(vertex, up_), depth = dot(vertex, along_) + kShadowBias;
    int count = 0;
    for (const auto& tap : kTap) count += nearest_[cell_of(x + tap[0], y + tap[1])] > depth;
    return static_cast<float>(count) / kTaps;
  }

 private:
  static void across(const float* a, const float* b, float* c) {
    for (int i = 0; i < 3; ++i) c[i] = a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3];
  }
  static float place(const float* vertex, const float* axis) {
    return dot(vertex, axis) / kShadowCell + kShadowCells / 2;
  }
  static int cell_of(float x, float y) {
    const auto inside = [](float value) {
      return static_cast<int>(std::min(std::max(value, 0.0f), static_cast<float>(kShadowCells - 1)));
    };
    return inside(y) * kShadowCells + inside(x);
  }

  const float* along_;
  float right_[3], up_[3];
  std::vector<float> nearest_;
};

void sum_normals(const float* vertices, const ShadeMeshArgs& args, std::vector<float>& normals) {
  std::fill(normals.begin(), normals.end(), 0.0f);
  for (int64_t t = 0; t < args.triangle_count; ++t) {
    const int32_t* corner = args.triangles + 3 * t;
    const float* a = vertices + 3 * corner[0];
    const float* b = vertices + 3 * corner[1];
    const float* c = vertices + 3 * corner[2];
    const float u[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
    const float normal[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]};
    for (int k = 0; k < 3; ++k) {
      for (int axis = 0; axis < 3; ++axis) normals[3 * corner[k] + axis] += normal[axis];
    }
  }
}

void shade_one(const ShadeMeshArgs& args, int64_t n, std::vector<float>& normals) {
  const int64_t start = 3 * n * args.vertex_count;
  const float* vertices = args.vertices + start;
  const MeshLight& light = args.lights[n];
  sum_normals(vertices, args, normals);
  ShadowMap shadow(light.direction);
  const bool shadowed = args.casters != nullptr && light.shadow > 0;
  if (shadowed) {
    for (int64_t i = 0; i < args.vertex_count; ++i) {
      if (args.casters[i]) shadow.cast(vertices + 3 * i);
    }
  }
  float half[3] = {light.direction[0], light.direction[1], light.direction[2] + 1};
  const float length = std::sqrt(std::max(dot(half, half), 1e-12f));
  for (float& value : half) value /= length;
  const float* q = light.ambient;
  const int sharpness = static_cast<int>(light.sharpness);
  for (int64_t i = 0; i < args.vertex_count; ++i) {
    float* normal = normals.data() + 3 * i;
    float scale = 1 / std::sqrt(std::max(dot(normal, normal), 1e-18f));
    if (args.two_sided && normal[2] < 0) scale = -scale;
    for (int axis = 0; axis < 3; ++axis) {
      normal[axis] = normal[axis] * scale + (args.roughness == nullptr ? 0 : args.roughness[start + 3 * i + axis]);
    }
    const float x = normal[0], y = normal[1], z = normal[2];
    float around = q[0] * x * x + q[1] * y * y + q[2] * z * z + q[3] * x * y + q[4] * x * z + q[5] * y * z;
    around = std::max(around + q[6] * x + q[7] * y + q[8] * z + q[9], kDarkest);
    float facing = dot(normal, light.direction), visible = facing > 0 ? 1.0f : 0.0f;
    if (shadowed && facing > 0) visible -= light.shadow * shadow.hidden(vertices + 3 * i);
    facing = std::max(facing, 0.0f) * visible;
    float gloss = 0;
    if (args.shine != nullptr && light.shine > 0 && visible > 0) {
      gloss =
          args.shine[i] * light.shine * visible * power(std::min(std::max(dot(normal, half), 0.0f), 1.0f), sharpness);
    }
    for (int c = 0; c < 3; ++c) {
      const float diffuse = light.tint[c] * around + light.lamp[c] * facing;
      if (args.diffuse != nullptr) args.diffuse[start + 3 * i + c] = diffuse;
      args.colours[start + 3 * i + c] = args.albedo[start + 3 * i + c] * diffuse + light.lamp[c] * gloss;
    }
  }
}

}  // namespace

void shade_mesh(const ShadeMeshArgs& args) {
  std::vector<float> normals(3 * args.vertex_count);
  for (int64_t n = 0; n < args.batch; ++n) shade_one(args, n, normals);
}

}  // namespace frnet::cpu
