#include "frnet/crop.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace frnet::runtime {

namespace {

// Where a sample of one axis lies: between two pixels of the picture. What lies off it has the weight zero.
struct Tap {
  int64_t first, second;
  float first_weight, second_weight;
};

std::vector<Tap> taps(int64_t begin, int64_t end, int64_t extent, int64_t size) {
  std::vector<Tap> result(static_cast<size_t>(size));
  const double step = static_cast<double>(end - begin) / static_cast<double>(size);
  for (int64_t i = 0; i < size; ++i) {
    const double place = (static_cast<double>(i) + 0.5) * step - 0.5, whole = std::floor(place);
    const auto weight = static_cast<float>(place - whole);
    const auto pixel = [&](double at) {  // the cut-out's own edge goes on, the picture's does not
      return begin + static_cast<int64_t>(std::clamp(at, 0.0, static_cast<double>(end - begin - 1)));
    };
    const auto inside = [&](int64_t at) { return at >= 0 && at < extent; };
    const int64_t first = pixel(whole), second = pixel(whole + 1);
    result[static_cast<size_t>(i)] = {inside(first) ? first : 0, inside(second) ? second : 0,
                                      inside(first) ? 1 - weight : 0, inside(second) ? weight : 0};
  }
  return result;
}

// One row of the picture at the columns that are wanted: [3][size].
void sample_row(const uint8_t* row, const std::vector<Tap>& columns, float* to) {
  const size_t size = columns.size();
  for (size_t i = 0; i < size; ++i) {
    const Tap& tap = columns[i];
    const uint8_t *first = row + 3 * tap.first, *second = row + 3 * tap.second;
    for (size_t c = 0; c < 3; ++c) {
      to[c * size + i] =
          tap.first_weight * static_cast<float>(first[c]) + tap.second_weight * static_cast<float>(second[c]);
    }
  }
}

}  // namespace

void crop(const Picture& picture, const int64_t corners[4], int64_t size, const PixelScale& scale, float* planes) {
  const std::vector<Tap> columns = taps(corners[0], corners[2], picture.width, size);
  const std::vector<Tap> rows = taps(corners[1], corners[3], picture.height, size);
  const int64_t row_floats = 3 * size;
  std::vector<float> samples(static_cast<size_t>(2 * row_floats));
  float *upper = samples.data(), *lower = upper + row_floats;
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
      const float *above = upper + c * size, *below = lower + c * size;
      for (int64_t x = 0; x < size; ++x) {
        const float value = tap.first_weight * above[x] + tap.second_weight * below[x];
        to[x] = static_cast<float>(static_cast<int32_t>(value + 0.5f)) * factor + shift;
      }
    }
  }
}

}  // namespace frnet::runtime
