// The rasteriser's CUDA kernels, emulated, give the bits of the CPU's.
#include <cstdio>

#include "check.h"
#include "frnet/parallel.h"
#include "raster_scene.h"

int main() {
  for (const test::RasterScene& scene : test::raster_scenes()) {
    test::run(scene.name, [&] {
      const test::RasterResult cpu = test::run_raster(scene, frnet::cpu::rasterize_workspace,
                                                      [](const auto& a) { frnet::cpu::rasterize(a, frnet::serial); });
      const test::RasterResult cuda = test::run_raster(scene, frnet::cuda::rasterize_workspace,
                                                       [](const auto& a) { frnet::cuda::rasterize(a, nullptr); });
      test::require_identical(cpu.triangle, cuda.triangle, "triangle");
      test::require_identical(cpu.depth, cuda.depth, "depth");
      test::require_identical(cpu.barycentrics, cuda.barycentrics, "barycentrics");
      test::require_identical(cpu.image, cuda.image, "attributes");
      test::require_identical(cpu.coverage, cuda.coverage, "coverage");
    });
  }
  return test::finish();
}
