// Convolutions whose result is a matrix product of pixels and weights.

#include "runtime/kernels/table.h"
#include "runtime/kernels/tile.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

template <bool kFetch, int kPixels, int kBlocks, int kStep>
void tile(const runtime::PointwiseArgs& a, const float* weights, int64_t block, int64_t pixel) {
  Vec<float> acc[kPixels][kBlocks];
  accumulate<kFetch, kPixels, kBlocks, kStep>(acc, a.segments, a.segment_count, pixel * kStep, weights,
                                              a.bias + block * kLane);
  const Bounds bounds(a.activation);
#pragma GCC unroll 2
  for (int n = 0; n < kBlocks; ++n) {
    float* y = a.y + (block + n) * a.y_block_stride + pixel * kLane;
    const float* residual =
        a.residual == nullptr ? nullptr : a.residual + (block + n) * a.residual_block_stride + pixel * kLane;
#pragma GCC unroll 14
    for (int p = 0; p < kPixels; ++p) {
      Vec<float> v = bounds(acc[p][n]);
      if (residual != nullptr) v += load(residual + p * kLane);
      store(y + p * kLane, v);
    }
  }
}

template <int kStep>
void panels(const runtime::PointwiseArgs& a, int64_t first_panel, int64_t last_panel, int64_t first_pixel,
            int64_t last_pixel) {
  int64_t channels = 0;
  for (int s = 0; s < a.segment_count; ++s) {
    for (int b = 0; b < a.segments[s].blocks; ++b) channels += a.segments[s].valid[b];
  }
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    const float* weights = a.weights + panel * channels * kPanel * kLane;
    const int64_t block = panel * kPanel;
    for_tiles(first_pixel, last_pixel, [&](int64_t pixel, auto pixels) {
      constexpr int kPixels = decltype(pixels)::value;
      if (a.blocks - block < kPanel) {
        tile<false, kPixels, 1, kStep>(a, weights, block, pixel);
      } else if (pixel == first_pixel) {
        tile<true, kPixels, kPanel, kStep>(a, weights, block, pixel);
      } else {
        tile<false, kPixels, kPanel, kStep>(a, weights, block, pixel);
      }
    });
  }
}

}  // namespace

void runtime_pointwise(const runtime::PointwiseArgs& a, int64_t first_panel, int64_t last_panel, int64_t first_pixel,
                       int64_t last_pixel) {
  if (a.pixel_step == 1) {
    panels<kLane>(a, first_panel, last_panel, first_pixel, last_pixel);
  } else {
    panels<2 * kLane>(a, first_panel, last_panel, first_pixel, last_pixel);
  }
}

void runtime_stem(const float* planes, int32_t height, int32_t width, const runtime::PointwiseArgs& a,
                  int64_t first_row, int64_t last_row, float* scratch) {
  const int64_t out_width = (width + 1) / 2, pitch = 2 * out_width + 2;
  constexpr int32_t kTaps = 3;
  const Bounds bounds(a.activation);
  Segment segments[9];
  for (int s = 0; s < 9; ++s) segments[s] = {scratch + s * pitch, 0, &kTaps, 1};
  for (int64_t row = first_row; row < last_row; ++row) {
    for (int s = 0; s < 9; ++s) {
      const int64_t from = 2 * row - 1 + s % 3;
      float* to = scratch + s * pitch;
      for (int64_t i = 0; i < pitch; ++i) to[i] = 0;
      if (from >= 0 && from < height) {
        __builtin_memcpy(to + 1, planes + (s / 3 * height + from) * width, width * sizeof(float));
      }
    }
    for (int64_t block = 0; block < a.blocks; block += kPanel) {
      const float* weights = a.weights + block * 27 * kLane;
      for_tiles(0, out_width, [&](int64_t pixel, auto pixels) {
        constexpr int kPixels = decltype(pixels)::value;
        with_blocks(a.blocks - block, [&](auto blocks) {
          constexpr int kBlocks = decltype(blocks)::value;
          Vec<float> acc[kPixels][kBlocks];
          accumulate<false, kPixels, kBlocks, 2>(acc, segments, 9, 2 * pixel, weights, a.bias + block * kLane);
          for (int n = 0; n < kBlocks; ++n) {
            float* y = a.y + (block + n) * a.y_block_stride + (row * out_width + pixel) * kLane;
#pragma GCC unroll 14
            for (int p = 0; p < kPixels; ++p) store(y + p * kLane, bounds(acc[p][n]));
          }
        });
      });
    }
  }
}

}  // namespace frnet::cpu::FRNET_ISA
