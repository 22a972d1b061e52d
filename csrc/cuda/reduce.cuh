// Sums across threads in a fixed order, so that two runs agree to the last bit.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"
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

// Second pass of a two-pass reduction: out[i] = sum over c of partials[c, i], first[] taking the columns
// before split and second[] the others. With no partials the result is zero.
//   block  : 32 columns x 16 rows of threads; row r sums the partials r, r+16, ...
//   shared : one value per thread
//   traffic: reads the partials once
constexpr int kSumColumns = 32;
constexpr int kSumRows = 16;

template <typename T>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    sum_partials_kernel(const accumulator_t<T>* __restrict__ partials,  // [count, columns]
                        T* __restrict__ first,                          // [split]
                        T* __restrict__ second,                         // [columns - split], may be null
                        int64_t count, int64_t columns, int64_t split) {
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
  if (column < split) {
    first[column] = math::narrow<T>(sum);
  } else if (second) {
    second[column - split] = math::narrow<T>(sum);
  }
}

template <typename T>
void sum_partials(const void* partials, T* first, T* second, int64_t count, int64_t columns, int64_t split,
                  void* stream) {
  if (columns == 0) return;
  using A = accumulator_t<T>;
  const auto blocks = static_cast<unsigned>((columns + kSumColumns - 1) / kSumColumns);
  launch(sum_partials_kernel<T>, dim3(blocks), dim3(kSumColumns * kSumRows), kSumColumns * kSumRows * sizeof(A), stream,
         static_cast<const A*>(partials), first, second, count, columns, split);
}

}  // namespace cuda
}  // namespace frnet
