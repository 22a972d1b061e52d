#include "frnet/crop.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace frnet::runtime {

namespace {

// OpenCV's fixed point: weights of 11 bits, of which 4 are dropped between the two axes and the rest at the end.
constexpr float kOne = 2048;

// Where a sample of one axis lies: between two pixels of the picture. What lies off it has the weight zero.
struct Tap {
  int64_t first, second;
  int32_t first_weight, second_weight;
};

std::vector<Tap> taps(int64_t begin, int64_t end, int64_t extent, int64_t size) {
  std::vector<Tap> result(static_cast<size_t>(size));
  const double step = static_cast<double>(end - begin) / static_cast<double>(size);
  for (int64_t i = 0; i < size; ++i) {
    const auto place = static_cast<float>((static_cast<double>(i) + 0.5) * step - 0.5);
    auto first = static_cast<int64_t>(std::floor(place));
    float weight = place - static_cast<float>(first);
    if (first < 0) first = 0, weight = 0;
    if (first >= end - begin - 1) first = end - begin - 1, weight = 0;
    const int64_t second = begin + std::min(first + 1, end - begin - 1);
    first += begin;
    const auto inside = [&](int64_t at) { return at >= 0 && at < extent; };
    result[static_cast<size_t>(i)] = {inside(first) ? first : 0, inside(second) ? second : 0,
                                      inside(first) ? static_cast<int32_t>(std::nearbyint((1 - weight) * kOne)) : 0,
                                      inside(second) ? static_cast<int32_t>(std::nearbyint(weight * kOne)) : 0};
  }
  return result;
}

// One row of the picture at the columns that are wanted: [3][size].
void sample_row(const uint8_t* row, const std::vector<Tap>& columns, int32_t* to) {
  const size_t size = columns.size();
  for (size_t i = 0; i < size; ++i) {
    const Tap& tap = columns[i];
    const uint8_t *first = row + 3 * tap.first, *second = row + 3 * tap.second;
    for (size_t c = 0; c < 3; ++c) {
      to[c * size + i] = (tap.first_weight * first[c] + tap.second_weight * second[c]) >> 4;
    }
  }
}

}  // namespace

void crop(const Picture& picture, const int64_t corners[4], int64_t size, const PixelScale& scale, float* planes) {
  const std::vector<Tap> columns = taps(corners[0], corners[2], picture.width, size);
  const std::vector<Tap> rows = taps(corners[1], corners[3], picture.height, size);
  const int64_t row_floats = 3 * size;
  std::vector<int32_t> samples(static_cast<size_t>(2 * row_floats));
  int32_t *upper = samples.data(), *lower = upper + row_floats;
  int64_t upper_row = -1, lower_row = -1;
  const float factor = 1.0f / scale.scale, shift = -scale.mean / scale.scale;
  for (int64_t y = 0; y < size; ++y) {
    const Tap& tap = rows[static_cast<size_t>(y)];
    if (tap.first == lower_row) {
      std::swap(upper, lower);
      std::swap(upper_row, lower_row);
    }
    if (tap.first != upper_row) {
      sample_row(picture.pixels + tap.first * picture.row_stride, columns, upper);
      upper_row = tap.first;
    }
    if (tap.second != lower_row) {
      sample_row(picture.pixels + tap.second * picture.row_stride, columns, lower);
      lower_row = tap.second;
    }
    for (int64_t c = 0; c < 3; ++c) {
      float* to = planes + ((scale.reversed ? 2 - c : c) * size + y) * size;
      const int32_t *above = upper + c * size, *below = lower + c * size;
      for (int64_t x = 0; x < size; ++x) {
        const int32_t value = ((tap.first_weight * above[x]) >> 16) + ((tap.second_weight * below[x]) >> 16);
        to[x] = static_cast<float>((value + 2) >> 2) * factor + shift;
      }
    }
  }
}

}  // namespace frnet::runtime
