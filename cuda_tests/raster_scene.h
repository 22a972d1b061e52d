// Meshes to rasterise, and what an implementation makes of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device_buffer.h"
#include "frnet/rasterize.h"

namespace test {

struct RasterScene {
  std::string name;
  int64_t batch = 2, triangle_count = 50, channels = 5, height = 30, width = 37;
  int32_t samples = 1;
  bool cull = false, perspective = false, shared_attributes = false;
  bool flat = false;  // every triangle at one whole depth, some of them at the same
  double spread = 6;  // of corners, pixels

  std::vector<float> vertices, inverse_depth, attributes;
  std::vector<int32_t> triangles;

  int64_t vertex_count() const { return 3 * triangle_count; }

  frnet::RasterizeArgs args() const {
    frnet::RasterizeArgs a{};
    a.batch = batch;
    a.vertex_count = vertex_count();
    a.triangle_count = triangle_count;
    a.channels = channels;
    a.height = height;
    a.width = width;
    a.samples = samples;
    a.cull = cull;
    a.shared_attributes = shared_attributes;
    return a;
  }

  // A third of the corners lie on pixel centres, so that many edges pass through them.
  void fill(uint32_t seed) {
    const auto count = static_cast<size_t>(batch * vertex_count());
    const auto random = random_values<float>(8 * count, seed);
    vertices.resize(3 * count);
    for (size_t i = 0; i < count; ++i) {
      const size_t triangle = i / 3;
      const double centre[2] = {(random[2 * triangle] + 1) * 0.6 * static_cast<double>(width) - 5,
                                (random[2 * triangle + 1] + 1) * 0.6 * static_cast<double>(height) - 5};
      for (size_t k = 0; k < 2; ++k) {
        const double at = centre[k] + spread * random[2 * count + 2 * i + k];
        vertices[3 * i + k] = static_cast<float>(i % 3 == 0 ? std::floor(at) : at);
      }
      vertices[3 * i + 2] = flat ? static_cast<float>(triangle * 7 % 11) : 20 * random[4 * count + i];
    }
    if (perspective) {
      inverse_depth.resize(count);
      for (size_t i = 0; i < count; ++i) inverse_depth[i] = 0.6f + 0.5f * random[5 * count + i];
    }
    attributes = random_values<float>(static_cast<size_t>((shared_attributes ? 1 : batch) * vertex_count() * channels),
                                      seed + 1);
    triangles.resize(static_cast<size_t>(3 * triangle_count));
    for (size_t i = 0; i < triangles.size(); ++i) triangles[i] = static_cast<int32_t>(i);
  }

  // Replaces triangles by such as need care.
  void spoil() {
    const auto set = [&](size_t triangle, std::vector<float> corners) {
      std::copy(corners.begin(), corners.end(), vertices.begin() + static_cast<std::ptrdiff_t>(9 * triangle));
    };
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    set(0, {0, 0, 50, nan, 90, 50, 90, 0, 50});
    set(1, {0, 0, 50, 0, inf, 50, 90, 0, 50});
    set(2, {0, 0, 50, 0, 90, -inf, 90, 0, 50});
    set(3, {5, 5, 50, 5, 5, 50, 5, 5, 50});
    set(4, {0, 0, 50, 9, 9, 50, 18, 18, 50});
    set(5, {-1e30f, -1e30f, -50, 1e30f, -1e30f, -50, 0, 1e30f, -50});
    set(6, {-400, -300, -40, -400, 900, -40, 700, 300, -40});
    set(7, {1e9f, 3, 30, 2e9f, 3, 30, 1e9f, 9, 30});
    set(8, {3, 3, 3e38f, 3, 12, 3e38f, 12, 3, 3e38f});
    if (perspective) {
      inverse_depth[28] = 0;
      inverse_depth[31] = -1;
      inverse_depth[34] = nan;
      inverse_depth[37] = inf;
    }
  }
};

struct RasterResult {
  std::vector<int32_t> triangle;
  std::vector<float> depth, barycentrics, image, coverage;
};

// rasterize(args) is called on device memory; workspace(args) is its size.
template <typename Workspace, typename Rasterize>
RasterResult run_raster(const RasterScene& scene, const Workspace& workspace, const Rasterize& rasterize) {
  frnet::RasterizeArgs a = scene.args();
  const auto pixels = static_cast<size_t>(a.batch * a.height * a.width);
  DeviceBuffer<float> vertices(scene.vertices), inverse_depth(scene.inverse_depth), attributes(scene.attributes);
  DeviceBuffer<int32_t> triangles(scene.triangles);
  DeviceBuffer<int32_t> triangle(pixels);
  DeviceBuffer<float> depth(pixels), barycentrics(3 * pixels), coverage(pixels);
  DeviceBuffer<float> image(pixels * static_cast<size_t>(a.channels));
  a.vertices = vertices.data();
  a.inverse_depth = scene.perspective ? inverse_depth.data() : nullptr;
  a.attributes = attributes.data();
  a.triangles = triangles.data();
  a.triangle = triangle.data();
  a.depth = depth.data();
  a.barycentrics = barycentrics.data();
  a.coverage = coverage.data();
  a.attribute_image = image.data();
  DeviceBuffer<uint64_t> scratch((workspace(a) + 7) / 8);
  a.workspace = scratch.data();
  rasterize(a);
  return {triangle.download(), depth.download(), barycentrics.download(), image.download(), coverage.download()};
}

inline std::vector<RasterScene> raster_scenes() {
  std::vector<RasterScene> scenes;
  uint32_t seed = 1;
  const auto add = [&](RasterScene scene, const std::string& name, bool spoiled = false) {
    scene.name = name + ", samples " + std::to_string(scene.samples);
    scene.fill(++seed);
    if (spoiled) scene.spoil();
    scenes.push_back(std::move(scene));
  };
  for (const int32_t samples : {1, 2, 3, 4}) {
    for (const bool flat : {true, false}) {
      RasterScene scene;
      scene.samples = samples;
      scene.flat = flat;
      const std::string what = flat ? "flat" : "sloped";
      add(scene, what);
      scene.cull = true;
      add(scene, what + ", culled");
      scene.spread = 0.8;
      scene.triangle_count = 301;
      add(scene, what + ", tiny");
      scene.spread = 70;
      scene.triangle_count = 12;
      add(scene, what + ", large");
    }
    RasterScene scene;
    scene.samples = samples;
    add(scene, "spoiled", true);
    scene.perspective = scene.shared_attributes = true;
    add(scene, "perspective");
    add(scene, "perspective, spoiled", true);
    scene.spread = 60;
    add(scene, "perspective, large");
  }
  for (const int64_t size : {1, 7, 16, 33}) {
    RasterScene scene;
    scene.height = size;
    scene.width = 50 - size;
    scene.channels = size;
    add(scene, "height " + std::to_string(size));
  }
  RasterScene scene;
  scene.batch = 70;
  scene.triangle_count = 5;
  scene.height = 9;
  add(scene, "many images");
  scene = {};
  scene.height = 300;
  scene.width = 500;
  scene.batch = 1;
  scene.spread = 60;
  add(scene, "large");
  for (int64_t RasterScene::* size : {&RasterScene::batch, &RasterScene::triangle_count, &RasterScene::height,
                                      &RasterScene::width, &RasterScene::channels}) {
    scene = {};
    scene.*size = 0;
    add(scene, "empty");
  }
  return scenes;
}

}  // namespace test
