// Sums and moments across threads in a fixed order, so that two runs agree to the last bit.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"
#include "math/moments.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// The sum over each aligned group of kWidth lanes (a power of two), returned to all of them. Every lane of
// the warp must call it.
template <int kWidth, typename A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int distance = kWidth / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

// The sums over the warp's lanes of kCount values (a power of two up to 32): lanes slot * 32/kCount and following get
// that of values[slot]. Every lane of the warp must call it. It takes little more than kCount shuffles, where warp_sum
// takes five for each value.
template <int kWidth = 32, int kCount, typename A>
__device__ __forceinline__ A warp_reduce_scatter(const A (&values)[kCount]) {
  if constexpr (kCount == 1) {
    return warp_sum<kWidth>(values[0]);
  } else {
    const bool upper = (threadIdx.x & kWidth / 2) != 0;
    A half[kCount / 2];
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      const A kept = upper ? values[i + kCount / 2] : values[i];
      const A given = upper ? values[i] : values[i + kCount / 2];
      half[i] = kept + __shfl_xor_sync(0xffffffffu, given, kWidth / 2);
    }
    return warp_reduce_scatter<kWidth / 2>(half);
  }
}

// ------------------------------------------------------------------------------- partial results of a block

// Two kinds of partial result, each of kWidth adjacent channels: a default-constructed one is of nothing, merge() adds
// what another part of the same channels gave.

template <typename A, int kQuantities, int kWidth>
struct Sums {
  using Value = A;
  A values[kQuantities][kWidth] = {};

  __device__ __forceinline__ void merge(const Sums& other) {
#pragma unroll
    for (int q = 0; q < kQuantities; ++q) {
#pragma unroll
      for (int e = 0; e < kWidth; ++e) values[q][e] += other.values[q][e];
    }
  }
};

// Number, mean and sum of squared differences from the mean: merged without ever forming a sum of squares, which would
// lose the variance of values far from zero (Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for
// Computing Sample Variances, 1979).
template <typename A, int kWidth>
struct Moments {
  using Value = A;
  A count = 0;
  A mean[kWidth] = {};
  A squares[kWidth] = {};

  __device__ __forceinline__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const A total = count + other.count;
    const A share = other.count / total;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      math::merge_moments(mean[e], squares[e], other.mean[e], other.squares[e], count, share);
    }
    count = total;
  }
};

// The moments of value(i, e) over those i < kCount whose bit in valid is set; at least one is.
template <typename A, int kCount, int kWidth, typename F>
__device__ __forceinline__ Moments<A, kWidth> moments_of(uint32_t valid, const F& value) {
  Moments<A, kWidth> moments;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (!(valid >> i & 1)) continue;
    moments.count += 1;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) moments.mean[e] += value(i, e);
  }
  const A inverse = A(1) / moments.count;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) moments.mean[e] *= inverse;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (!(valid >> i & 1)) continue;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      const A delta = value(i, e) - moments.mean[e];
      moments.squares[e] += delta * delta;
    }
  }
  return moments;
}

// Merges the partial results of each aligned group of lanes (a power of two, at most a warp); lane 0 of the group has
// the whole. Every lane of the warp must call it.
template <typename Partial>
__device__ __forceinline__ void merge_lanes(Partial& mine, int lanes) {
  using A = typename Partial::Value;
  constexpr int kValues = sizeof(Partial) / sizeof(A);
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    A values[kValues];
    __builtin_memcpy(values, &mine, sizeof values);
#pragma unroll
    for (int i = 0; i < kValues; ++i) values[i] = __shfl_xor_sync(0xffffffffu, values[i], distance);
    Partial other;
    __builtin_memcpy(&other, values, sizeof values);
    mine.merge(other);
  }
}

// Merges the partial results of threads lane, lane + lanes, lane + 2*lanes, ... (the slots of that lane); slot 0 has
// the whole. Every thread of the block must call it; staged holds one Partial per thread and is free to overwrite.
template <typename Partial>
__device__ __forceinline__ void merge_slots(Partial& mine, Partial* staged, int slot, int slots, int lanes) {
  if (slot < slots) staged[threadIdx.x] = mine;
  for (int step = 1; step < slots; step *= 2) {
    __syncthreads();
    if (slot % (2 * step) != 0 || slot + step >= slots) continue;
    mine.merge(staged[threadIdx.x + step * lanes]);
    staged[threadIdx.x] = mine;
  }
}

// ------------------------------------------------------------------------------------------- second passes

// Of both kernels:
//   block  : 32 columns x 16 rows of threads; row r adds the partials r, r+16, ...
//   shared : one partial per thread
//   traffic: reads the partials once
constexpr int kSumColumns = 32;
constexpr int kSumRows = 16;

// out[i] = sum over c of partials[c, i] / divisor, first[] taking the columns before split and second[] the others.
// With no partials the sum is zero.
template <typename T>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    sum_partials_kernel(const accumulator_t<T>* __restrict__ partials,  // [count, columns]
                        T* __restrict__ first,                          // [split], may be null
                        T* __restrict__ second,                         // [columns - split], may be null
                        int64_t count, int64_t columns, int64_t split, accumulator_t<T> divisor) {
  using A = accumulator_t<T>;
  A* sums = shared_memory<A>();
  const int row = threadIdx.x / kSumColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + threadIdx.x % kSumColumns;
  A sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (int64_t c = row; c < count; c += kSumRows) sum += partials[c * columns + column];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (row != 0 || column >= columns) return;
  for (int r = 1; r < kSumRows; ++r) sum += sums[r * kSumColumns + threadIdx.x];
  sum /= divisor;
  if (column < split) {
    if (first) first[column] = math::narrow<T>(sum);
  } else if (second) {
    second[column - split] = math::narrow<T>(sum);
  }
}

// Mean and biased variance from moments; of nothing NaN, as 0/0.
template <typename A>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    merge_moments_kernel(const A* __restrict__ partials,  // [rows, 2, columns]: means, then sums of squares
                         const A* __restrict__ counts,    // [rows], values behind each
                         A* __restrict__ mean,            // [columns]
                         A* __restrict__ variance,        // [columns]
                         int64_t rows, int64_t columns) {
  auto* const staged = shared_memory<Moments<A, 1>>();
  const int row = threadIdx.x / kSumColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumColumns + threadIdx.x % kSumColumns;
  Moments<A, 1> total;
  if (column < columns) {
#pragma unroll 4
    for (int64_t r = row; r < rows; r += kSumRows) {
      Moments<A, 1> part;
      part.count = counts[r];
      part.mean[0] = partials[2 * r * columns + column];
      part.squares[0] = partials[(2 * r + 1) * columns + column];
      total.merge(part);
    }
  }
  merge_slots(total, staged, row, kSumRows, kSumColumns);
  if (row != 0 || column >= columns) return;
  const A value = total.squares[0] / total.count;
  mean[column] = total.count > 0 ? total.mean[0] : value;
  variance[column] = value;
}

inline dim3 second_pass_grid(int64_t columns) {
  return dim3(static_cast<unsigned>((columns + kSumColumns - 1) / kSumColumns));
}

// first takes columns [0, split), second the rest; either may be null.
template <typename T>
void sum_partials(const void* partials, T* first, T* second, int64_t count, int64_t columns, int64_t split,
                  void* stream) {
  if (columns == 0) return;
  using A = accumulator_t<T>;
  launch(sum_partials_kernel<T>, second_pass_grid(columns), dim3(kSumColumns * kSumRows),
         kSumColumns * kSumRows * sizeof(A), stream, static_cast<const A*>(partials), first, second, count, columns,
         split, A(1));
}

// means[i] = sum over c of partials[c, i] / divisor.
template <typename A>
void average_partials(const void* partials, A* means, int64_t count, int64_t columns, int64_t divisor, void* stream) {
  if (columns == 0) return;
  launch(sum_partials_kernel<A>, second_pass_grid(columns), dim3(kSumColumns * kSumRows),
         kSumColumns * kSumRows * sizeof(A), stream, static_cast<const A*>(partials), means, static_cast<A*>(nullptr),
         count, columns, columns, static_cast<A>(divisor));
}

template <typename A>
void merge_moments(const A* partials, const A* counts, A* mean, A* variance, int64_t rows, int64_t columns,
                   void* stream) {
  if (columns == 0) return;
  launch(merge_moments_kernel<A>, second_pass_grid(columns), dim3(kSumColumns * kSumRows),
         kSumColumns * kSumRows * sizeof(Moments<A, 1>), stream, partials, counts, mean, variance, rows, columns);
}

}  // namespace cuda
}  // namespace frnet
