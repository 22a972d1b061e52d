// From the winners of a band's samples to the outputs of its pixels.
#pragma once

#include <cstdint>

#include "cpu/raster_corners.h"

namespace frnet::cpu::FRNET_ISA {

// What is known of a row of samples: weights, depth, and the corners' numbers. What is not seen is not written.
struct SampleRow {
  float* w[3];
  float* depth;
  int32_t* vertex[3];

  static constexpr int kArrays = 7;

  SampleRow(float* memory, int64_t pitch) : depth(memory + 3 * pitch) {
    for (int i = 0; i < 3; ++i) {
      w[i] = memory + i * pitch;
      vertex[i] = reinterpret_cast<int32_t*>(memory + (4 + i) * pitch);
    }
  }
};

inline void weigh(const RasterImage& image, const Band& band, int64_t row, const SampleRow& out) {
  for (int32_t column = 0; column < band.columns; column += kRasterLanes) {
    const Ints triangle = load_ints(band.triangle + band.at(row, column));
    const Ints seen = triangle >= 0;
    if (lane_bits(seen) == 0) continue;
    const RasterCorners corners(image, triangle & seen);
    const Ints narrow = math::is_narrow(corners.x, corners.y) & seen;
    Ints x[3], y[3], e[3];
    for (int i = 0; i < 3; ++i) {
      x[i] = corners.x[i] & narrow;
      y[i] = corners.y[i] & narrow;
    }
    // Lanes that are wide are all zero here. Of a sample inside, all functions have the sign of the orientation.
    const math::Edges<Ints> edges(x, y);
    const Ints at_x = ((lane_numbers() + column) * math::kSteps) & narrow;
    const Ints at_y = (Ints{} + static_cast<int32_t>(row) * math::kSteps) & narrow;
    for (int i = 0; i < 3; ++i) {
      e[i] = edges.at(i, at_x, at_y);
      e[i] = e[i] < 0 ? -e[i] : e[i];
    }
    Floats w[3];
    math::corner_weights({to_floats(e[0]), to_floats(e[1]), to_floats(e[2])}, to_floats(e[0] + e[1] + e[2]), w);
    for (Ints wide = seen & ~narrow; lane_bits(wide) != 0;) {
      const int32_t one = triangle[__builtin_ctz(lane_bits(wide))];
      const Ints same = triangle == one;
      Floats weights[3];
      WideTriangle(Corners<double>(image, one)).at(column, static_cast<int32_t>(row), weights);
      for (int i = 0; i < 3; ++i) w[i] = same ? weights[i] : w[i];
      wide &= ~same;
    }
    if (image.perspective) {
      math::perspective_weights(image.nearness(corners.vertex[0]), image.nearness(corners.vertex[1]),
                                image.nearness(corners.vertex[2]), w);
    }
    const Floats z[3] = {image.z(corners.vertex[0]), image.z(corners.vertex[1]), image.z(corners.vertex[2])};
    store(out.depth + column, math::interpolate(z[0], z[1], z[2], w[1], w[2]));
    for (int i = 0; i < 3; ++i) {
      store(out.w[i] + column, w[i]);
      store_ints(out.vertex[i] + column, corners.vertex[i]);
    }
  }
}

// A row of pixels of kSamples x kSamples samples.
template <int kSamples>
struct PixelRow {
  const RasterizeArgs& a;
  const RasterImage& image;
  const Band& band;
  int64_t first;  // place of the first sample in the band
  float* memory;

  SampleRow row(int j) const { return SampleRow(memory + j * SampleRow::kArrays * band.pitch, band.pitch); }

  // Calls see(row of samples, column, place in the band) for the samples of pixel x that see a triangle.
  template <typename F>
  FRNET_HD void for_seen(int64_t x, const F& see) const {
    for (int j = 0; j < kSamples; ++j) {
      for (int i = 0; i < kSamples; ++i) {
        const int64_t column = x * kSamples + i, at = first + j * band.pitch + column;
        if (band.triangle[at] >= 0) see(row(j), column, at);
      }
    }
  }

  void clear(int64_t pixel) const {
    if (a.triangle != nullptr) a.triangle[pixel] = -1;
    if (a.depth != nullptr) a.depth[pixel] = 0;
    if (a.coverage != nullptr) a.coverage[pixel] = 0;
    if (a.barycentrics != nullptr) __builtin_memset(a.barycentrics + 3 * pixel, 0, 3 * sizeof(float));
    if (a.attribute_image != nullptr) {
      __builtin_memset(a.attribute_image + a.channels * pixel, 0, a.channels * sizeof(float));
    }
  }

  // The mean over the samples that see anything.
  FRNET_HD void blend(int64_t x, int count, float* out) const {
    for (int64_t channel = 0; channel < a.channels; channel += kRasterLanes) {
      const int64_t valid = min(kRasterLanes, a.channels - channel);
      Floats sum = {};
      for_seen(x, [&](const SampleRow& row, int64_t column, int64_t) {
        Floats v[3];
        for (int i = 0; i < 3; ++i) {
          v[i] = load_partial(image.attributes + a.channels * row.vertex[i][column] + channel, valid);
        }
        sum += math::interpolate(v[0], v[1], v[2], broadcast(row.w[1][column]), broadcast(row.w[2][column]));
      });
      if (count > 1) sum /= static_cast<float>(count);
      store_partial(out + channel, sum, valid);
    }
  }

  // Writes the outputs of pixel x; pixel is its number among all.
  FRNET_HD void write(int64_t x, int64_t pixel) const {
    int count = 0;
    float near = 0, depth = 0, w[3] = {};
    int32_t triangle = -1;
    for_seen(x, [&](const SampleRow& row, int64_t column, int64_t at) {
      const int32_t t = band.triangle[at];
      const float n = band.nearness[at];
      if (count++ > 0 && !(n > near || (n == near && t < triangle))) return;
      near = n;
      triangle = t;
      depth = row.depth[column];
      for (int i = 0; i < 3; ++i) w[i] = row.w[i][column];
    });
    if (count == 0) return clear(pixel);
    if (a.triangle != nullptr) a.triangle[pixel] = triangle;
    if (a.depth != nullptr) a.depth[pixel] = depth;
    if (a.coverage != nullptr) a.coverage[pixel] = static_cast<float>(count) / (kSamples * kSamples);
    if (a.barycentrics != nullptr) __builtin_memcpy(a.barycentrics + 3 * pixel, w, sizeof w);
    if (a.attribute_image != nullptr) blend(x, count, a.attribute_image + a.channels * pixel);
  }
};

// Row y of pixels; pixel is its first among all.
template <int kSamples>
void resolve_row(const RasterizeArgs& a, const RasterImage& image, const Band& band, int64_t y, int64_t pixel,
                 float* memory) {
  const PixelRow<kSamples> pixels{a, image, band, band.at(y * kSamples, 0), memory};
  for (int j = 0; j < kSamples; ++j) weigh(image, band, y * kSamples + j, pixels.row(j));
  for (int64_t x = 0; x < a.width; ++x) pixels.write(x, pixel + x);
}

static_assert(kMaxRasterSamples == 4, "one resolve_row each");
inline constexpr decltype(&resolve_row<1>) kResolveRow[] = {resolve_row<1>, resolve_row<2>, resolve_row<3>,
                                                            resolve_row<4>};

}  // namespace frnet::cpu::FRNET_ISA
