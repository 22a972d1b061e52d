// Tiles of a morphable model: one vector of vertices, packed as [1 + coefficients][axis][vertex], the mean first. The
// samples of a block then share every basis value that is loaded.
#pragma once

#include <cstdint>

#include "cpu/vec.h"
#include "frnet/morphable.h"

namespace frnet::cpu::FRNET_ISA {

// Packed basis that one walk over samples goes along: with it the second-level cache is well filled.
inline constexpr int64_t kPackedBytes = 256 * 1024;

template <typename T>
constexpr int64_t tile_size(int64_t coefficients) {
  return (1 + coefficients) * 3 * kLanes<T>;
}

template <typename T>
struct Basis {
  const T* mean;   // [vertices, 3]
  const T* basis;  // [vertices, 3, coefficients]
  VertexSet set;
  int64_t coefficients;

  int64_t vertex(int64_t i) const { return set.indices == nullptr ? i : set.indices[i]; }
};

// to = the tile of the set's vertices from `first` on, as many as there are; zero past them.
template <typename T>
void pack_tile(const Basis<T>& from, int64_t first, T* to) {
  constexpr int64_t kL = kLanes<T>;
  const int64_t coefficients = from.coefficients, count = min(kL, from.set.count - first);
  const T* rows[kL];
  for (int64_t v = 0; v < count; ++v) {
    const int64_t vertex = from.vertex(first + v);
    rows[v] = from.basis + 3 * vertex * coefficients;
    for (int64_t axis = 0; axis < 3; ++axis) to[axis * kL + v] = from.mean[3 * vertex + axis];
  }
  for (int64_t v = count; v < kL; ++v) {
    for (int64_t axis = 0; axis < 3; ++axis) to[axis * kL + v] = T(0);
  }
  for (int64_t axis = 0; axis < 3; ++axis) {
    T* out = to + (3 + axis) * kL;
    if (count == kL && coefficients >= kL) {
      for (int64_t start = 0; start < coefficients; start += kL) {
        const int64_t k = axis * coefficients + min(start, coefficients - kL);  // the last block ends with the row
        Vec<T> block[kL];
#pragma GCC unroll 16
        for (int64_t v = 0; v < kL; ++v) {
          block[v] = load(rows[v] + k);
          __builtin_prefetch(rows[v] + 3 * kL * coefficients + k);  // the next tile, where the set is all vertices
        }
        transpose<T>(block);
        T* block_out = out + min(start, coefficients - kL) * 3 * kL;
#pragma GCC unroll 16
        for (int64_t i = 0; i < kL; ++i) store(block_out + i * 3 * kL, block[i]);
      }
    } else {
      for (int64_t k = 0; k < coefficients; ++k) {
        for (int64_t v = 0; v < kL; ++v) out[k * 3 * kL + v] = v < count ? rows[v][axis * coefficients + k] : T(0);
      }
    }
  }
}

// s[i][axis] += basis * the i-th of kColumns columns of coefficients, which stand in [coefficients][kPitch].
template <typename T, int kColumns, int kPitch = kColumns>
FRNET_HD void add_products(const T* tile, const T* columns, int64_t coefficients, Vec<T> (*s)[3]) {
  constexpr int64_t kL = kLanes<T>;
  for (int64_t k = 0; k < coefficients; ++k) {
    const T* b = tile + (1 + k) * 3 * kL;
    const Vec<T> bx = load(b), by = load(b + kL), bz = load(b + 2 * kL);
    for (int i = 0; i < kColumns; ++i) {
      const T a = columns[k * kPitch + i];
      s[i][0] += a * bx;
      s[i][1] += a * by;
      s[i][2] += a * bz;
    }
  }
}

// The gradient with respect to the coefficients: sums[i * stride + k] += basis[k] . q[i].
template <typename T, int kCount>
FRNET_HD void add_transposed_products(const T* tile, const Vec<T> (*q)[3], int64_t coefficients, Vec<T>* sums,
                                      int64_t stride) {
  constexpr int64_t kL = kLanes<T>;
  for (int64_t k = 0; k < coefficients; ++k) {
    const T* b = tile + (1 + k) * 3 * kL;
    const Vec<T> bx = load(b), by = load(b + kL), bz = load(b + 2 * kL);
    for (int i = 0; i < kCount; ++i) sums[i * stride + k] += q[i][0] * bx + q[i][1] * by + q[i][2] * bz;
  }
}

}  // namespace frnet::cpu::FRNET_ISA
