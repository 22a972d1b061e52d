// The matrix instructions that csrc/cuda/mma.cuh wraps, in the host emulation: the last lane to come computes for the
// whole warp. Fragments are laid out as mma.cuh says.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulation.h"

namespace frnet {
namespace emulation {

struct MatrixLoad {
  const uint32_t* row;
  uint32_t r[4];
};

inline void load_matrices(const uint32_t* row, uint32_t (&r)[4]) {
  check_alignment(row, 16);
  MatrixLoad mine{row, {}};
  collective<MatrixLoad>(mine, [](MatrixLoad* const* lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int m = 0; m < 4; ++m) lanes[lane]->r[m] = lanes[8 * m + lane / 4]->row[lane % 4];
    }
  });
  std::memcpy(r, mine.r, sizeof mine.r);
}

inline void load_matrices_transposed(const uint32_t* row, uint32_t (&r)[4]) {
  check_alignment(row, 16);
  MatrixLoad mine{row, {}};
  collective<MatrixLoad>(mine, [](MatrixLoad* const* lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      const int column = lane / 4;
      const auto value = [&](int row_lane) { return lanes[row_lane]->row[column / 2] >> 16 * (column % 2) & 0xffffu; };
      for (int m = 0; m < 4; ++m) {
        const int first = 8 * m + 2 * (lane % 4);
        lanes[lane]->r[m] = value(first) | value(first + 1) << 16;
      }
    }
  });
  std::memcpy(r, mine.r, sizeof mine.r);
}

// To nearest, ties away from zero.
inline uint32_t round_to_tf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : (bits + 0x1000u) & ~0x1fffu;
}

struct MatrixProduct {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

// Format::kPerWord values in a word, Format::value(word, i) of them as float.
template <typename Format>
void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MatrixProduct mine{d, a, b};
  collective<MatrixProduct>(mine, [](MatrixProduct* const* lanes) {
    constexpr int kPerWord = Format::kPerWord;
    float rows[16][8 * kPerWord], columns[8][8 * kPerWord];
    for (int lane = 0; lane < 32; ++lane) {
      const int group = lane / 4, place = lane % 4;
      for (int i = 0; i < kPerWord; ++i) {
        for (int r = 0; r < 4; ++r) {
          rows[group + 8 * (r % 2)][(place + 4 * (r / 2)) * kPerWord + i] = Format::value(lanes[lane]->a[r], i);
        }
        for (int r = 0; r < 2; ++r)
          columns[group][(place + 4 * r) * kPerWord + i] = Format::value(lanes[lane]->b[r], i);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int r = 0; r < 4; ++r) {
        const float* const row = rows[lane / 4 + 8 * (r / 2)];
        const float* const column = columns[2 * (lane % 4) + r % 2];
        float sum = 0;
        for (int k = 0; k < 8 * kPerWord; ++k) sum += row[k] * column[k];
        lanes[lane]->d[r] += sum;
      }
    }
  });
}

}  // namespace emulation
}  // namespace frnet
