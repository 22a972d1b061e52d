// The rasteriser's kernels against every triangle tested at every sample, in double, straight from the header.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/rasterize.h"
#include "raster_scene.h"

namespace {

using test::RasterResult;
using test::RasterScene;

RasterResult run(const RasterScene& scene) {
  return test::run_raster(
      scene, [](const frnet::RasterizeArgs& a) { return launchers::rasterize_workspace(a); },
      [](const frnet::RasterizeArgs& a) { launchers::rasterize(a, test::kExecution); });
}

// A triangle at a sample.
struct Hit {
  int32_t triangle = -1;
  double nearness = 0;
  double weights[3] = {};
  double runner_up = -1e300;  // nearness of the next one
};

// On the grid of 1/256 of a sample, halves up, scaled in float as the header's users do.
double on_grid(float x, int32_t samples) {
  const float scaled = x * static_cast<float>(256 * samples);
  const float moved = scaled + static_cast<float>(128 * (samples - 1));
  return std::floor(static_cast<double>(moved) + 0.5);
}

Hit hit(const RasterScene& scene, int64_t image, int64_t row, int64_t column) {
  Hit best;
  for (int64_t t = 0; t < scene.triangle_count; ++t) {
    double x[3], y[3], near[3];
    bool there = true;
    for (int64_t k = 0; k < 3; ++k) {
      const auto v =
          static_cast<size_t>(image * scene.vertex_count() + scene.triangles[static_cast<size_t>(3 * t + k)]);
      x[k] = on_grid(scene.vertices[3 * v], scene.samples);
      y[k] = on_grid(scene.vertices[3 * v + 1], scene.samples);
      const double z = scene.vertices[3 * v + 2];
      near[k] = scene.perspective ? scene.inverse_depth[v] : z;
      there = there && std::isfinite(x[k]) && std::isfinite(y[k]) && std::fabs(z) < 1e37 && std::isfinite(near[k]) &&
              (!scene.perspective || near[k] > 0);
    }
    const double area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0]);
    if (!there || area == 0 || (scene.cull && area > 0)) continue;
    Hit candidate;
    for (int64_t k = 0; k < 3 && there; ++k) {
      const int64_t i = (k + 1) % 3, j = (k + 2) % 3;
      const double sign = area > 0 ? 1 : -1, dx = sign * (x[j] - x[i]), dy = sign * (y[j] - y[i]);
      const double e =
          dx * (256.0 * static_cast<double>(row) - y[i]) - dy * (256.0 * static_cast<double>(column) - x[i]);
      there = e > 0 || (e == 0 && (dy < 0 || (dy == 0 && dx > 0)));
      candidate.weights[k] = e / std::fabs(area);
    }
    if (!there) continue;
    candidate.triangle = static_cast<int32_t>(t);
    candidate.nearness =
        near[0] + candidate.weights[1] * (near[1] - near[0]) + candidate.weights[2] * (near[2] - near[0]);
    if (best.triangle < 0 || candidate.nearness > best.nearness) {
      candidate.runner_up = best.triangle < 0 ? best.runner_up : best.nearness;
      best = candidate;
    } else if (candidate.nearness > best.runner_up) {
      best.runner_up = candidate.nearness;
    }
  }
  if (scene.perspective && best.triangle >= 0) {
    double sum = 0;
    for (int64_t k = 0; k < 3; ++k) {
      const int32_t v = scene.triangles[static_cast<size_t>(3 * best.triangle + k)];
      best.weights[k] *= scene.inverse_depth[static_cast<size_t>(image * scene.vertex_count() + v)];
      sum += best.weights[k];
    }
    for (double& weight : best.weights) weight /= sum;
  }
  return best;
}

double mixed(const RasterScene& scene, const Hit& h, const std::vector<float>& values, int64_t image, int64_t channels,
             int64_t channel) {
  double sum = 0;
  for (int64_t k = 0; k < 3; ++k) {
    const int64_t v = image * scene.vertex_count() + scene.triangles[static_cast<size_t>(3 * h.triangle + k)];
    sum += h.weights[k] * values[static_cast<size_t>(v * channels + channel)];
  }
  return sum;
}

void require_near(double got, double want, double tolerance, const std::string& what, size_t pixel) {
  if (std::fabs(got - want) <= tolerance) return;
  char message[160];
  std::snprintf(message, sizeof message, " of pixel %zu: got %.9g, want %.9g", pixel, got, want);
  throw std::runtime_error(what + message);
}

// Two triangles that are as near, to float's last digits: whichever is seen.
bool doubtful(const Hit& h, const RasterScene& scene) {
  return !scene.flat && h.triangle >= 0 && h.nearness - h.runner_up < 1e-5 * (1 + std::fabs(h.nearness));
}

void check_scene(const RasterScene& scene) {
  RasterResult got;
  for (const uint64_t seed : {0, 1, 2}) {
    test::set_seed(seed);
    RasterResult again = run(scene);
    if (seed == 0) {
      got = std::move(again);
      continue;
    }
    test::require_identical(got.triangle, again.triangle, "triangle");
    test::require_identical(got.depth, again.depth, "depth");
    test::require_identical(got.barycentrics, again.barycentrics, "barycentrics");
    test::require_identical(got.image, again.image, "attributes");
    test::require_identical(got.coverage, again.coverage, "coverage");
  }
  size_t pixel = 0, left_out = 0;
  for (int64_t image = 0; image < scene.batch; ++image) {
    for (int64_t y = 0; y < scene.height; ++y) {
      for (int64_t x = 0; x < scene.width; ++x, ++pixel) {
        std::vector<Hit> hits;
        bool in_doubt = false;
        Hit nearest;
        for (int64_t k = 0; k < scene.samples * scene.samples; ++k) {
          const Hit h = hit(scene, image, y * scene.samples + k / scene.samples, x * scene.samples + k % scene.samples);
          in_doubt = in_doubt || doubtful(h, scene);
          if (h.triangle < 0) continue;
          hits.push_back(h);
          const double gap = h.nearness - nearest.nearness;
          if (nearest.triangle >= 0 && !scene.flat && h.triangle != nearest.triangle && std::fabs(gap) < 1e-5) {
            in_doubt = true;
          }
          if (nearest.triangle < 0 || gap > 0 || (gap == 0 && h.triangle < nearest.triangle)) nearest = h;
        }
        const double share = static_cast<double>(hits.size()) / (scene.samples * scene.samples);
        require_near(got.coverage[pixel], share, 1e-7, "coverage", pixel);
        test::require((got.triangle[pixel] < 0) == hits.empty(), "triangle and coverage disagree");
        if (in_doubt) {
          ++left_out;
          continue;
        }
        require_near(got.triangle[pixel], nearest.triangle, 0, "triangle", pixel);
        double depth = 0;
        if (!hits.empty()) depth = mixed(scene, nearest, scene.vertices, image, 3, 2);
        require_near(got.depth[pixel], depth, 2e-5 * (1 + std::fabs(depth)), "depth", pixel);
        for (size_t k = 0; k < 3; ++k) {
          require_near(got.barycentrics[3 * pixel + k], hits.empty() ? 0 : nearest.weights[k], 1e-6, "weight", pixel);
        }
        for (int64_t c = 0; c < scene.channels; ++c) {
          double mean = 0;
          for (const Hit& h : hits) {
            mean += mixed(scene, h, scene.attributes, scene.shared_attributes ? 0 : image, scene.channels, c) /
                    static_cast<double>(hits.size());
          }
          require_near(got.image[pixel * static_cast<size_t>(scene.channels) + static_cast<size_t>(c)], mean, 4e-6,
                       "attribute", pixel);
        }
      }
    }
  }
  test::require(left_out <= pixel / 50, "too many pixels are in doubt for the test to mean something");
}

#if defined(FRNET_TEST_CPU)
// Every share by itself, the last one first; and all at once.
constexpr frnet::Parallel kBackwards{[](int64_t count, int64_t, frnet::Parallel::Body body, void* context) {
  for (int64_t i = count - 1; i >= 0; --i) body(i, i + 1, context);
}};
constexpr frnet::Parallel kThirds{[](int64_t count, int64_t, frnet::Parallel::Body body, void* context) {
  for (int64_t i = 0; i < count; i += 3) body(i, i + 3 < count ? i + 3 : count, context);
}};

void check_shares(const RasterScene& scene) {
  const RasterResult whole = run(scene);
  for (const frnet::Parallel& parallel : {kBackwards, kThirds}) {
    const RasterResult parts = test::run_raster(
        scene, [](const frnet::RasterizeArgs& a) { return frnet::cpu::rasterize_workspace(a); },
        [&](const frnet::RasterizeArgs& a) { frnet::cpu::rasterize(a, parallel); });
    test::require_identical(whole.triangle, parts.triangle, "triangle");
    test::require_identical(whole.image, parts.image, "attributes");
  }
}

void check_faults() {
  const int32_t triangles[] = {0, 1, 2, 2, 3, 0, 1, -1, 0};
  test::require(frnet::first_bad_triangle(triangles, 3, 4) == 2, "a negative index");
  test::require(frnet::first_bad_triangle(triangles, 2, 3) == 1, "an index too large");
  test::require(frnet::first_bad_triangle(triangles, 2, 4) == -1, "good indices");
  test::require(frnet::first_bad_triangle(triangles, 0, 0) == -1, "no triangles");
  frnet::RasterizeArgs a = RasterScene{}.args();
  test::require(frnet::rasterize_fault(a).empty(), "nothing is wrong");
  a.samples = 5;
  test::require(!frnet::rasterize_fault(a).empty(), "samples");
  a.samples = 2;
  a.width = 16385;
  test::require(!frnet::rasterize_fault(a).empty(), "width");
}
#else
// A corner that is no vertex: the triangle is left out.
void check_bad_indices() {
  RasterScene scene;
  scene.flat = true;
  scene.fill(3);
  RasterScene wrong = scene;
  wrong.triangles[3 * 4 + 1] = static_cast<int32_t>(scene.vertex_count());
  wrong.triangles[3 * 9] = -1;
  for (const int64_t t : {4, 9}) {
    for (int64_t k = 0; k < 3; ++k) scene.triangles[static_cast<size_t>(3 * t + k)] = 0;  // of no area
  }
  test::require_identical(run(scene).triangle, run(wrong).triangle, "triangle");
  test::require_identical(run(scene).image, run(wrong).image, "attributes");
}
#endif

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  for (const RasterScene& scene : test::raster_scenes()) {
    test::run(scene.name, [&] { check_scene(scene); });
#if defined(FRNET_TEST_CPU)
    test::run(scene.name + ", in shares", [&] { check_shares(scene); });
#endif
  }
#if defined(FRNET_TEST_CPU)
  test::run("faults", check_faults);
#else
  test::run("bad indices", check_bad_indices);
#endif
  return test::finish();
}
