// Sums by teams. A team is an equal share of a block's threads, whole warps, that works on something of its own; all
// teams of a block take the same steps, so the barriers in here are the block's. Every order of summation is fixed.
//
// Also: how much shared memory a block may ask for, and moving boxes of elements in aligned 16-byte packs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// ------------------------------------------------------------------------------------------- shared memory

// A block that holds whole planes takes up to `preferred` freely: two such blocks fit on a multiprocessor (113 KB each
// on compute capability 9.0, 81 KB on 8.0). What needs more takes up to `most`, a multiprocessor to itself, since
// reading everything again costs more than idle threads. Not yet tuned on a device.
struct SharedBudget {
  size_t preferred;
  size_t most;
};

// Of the current device.
inline SharedBudget shared_budget() {
#if defined(FRNET_HOST_EMULATION)
  return SharedBudget{31 * 1024, 64 * 1024};  // compute capability 7.5, the least there is
#else
  int device = 0;
  int both = 0;
  int reserved = 0;
  int most = 0;
  if (cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&both, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&reserved, cudaDevAttrReservedSharedMemoryPerBlock, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess) {
    return SharedBudget{static_cast<size_t>(both / 2 - reserved), static_cast<size_t>(most)};
  }
  cudaGetLastError();  // the launch will say what is wrong
  return SharedBudget{kDefaultSharedBytes, kDefaultSharedBytes};
#endif
}

// count values, rounded up to 16 bytes: where the next array of a block's shared memory starts.
template <typename A>
constexpr size_t shared_bytes_of(int64_t count) {
  return (static_cast<size_t>(count) * sizeof(A) + 15) / 16 * 16;
}

// ----------------------------------------------------------------------------------------------------- sums

struct Team {
  int index;    // within the block
  int threads;  // a multiple of 32
  int thread;   // within the team
};

__device__ __forceinline__ Team make_team(int teams) {
  const int threads = static_cast<int>(blockDim.x) / teams;
  const int index = static_cast<int>(threadIdx.x) / threads;
  return Team{index, threads, static_cast<int>(threadIdx.x) - index * threads};
}

// How many lanes share a row of so many columns: a power of two up to 32.
inline int lanes_for(int64_t columns) {
  int lanes = 1;
  while (lanes < 32 && lanes < columns) lanes *= 2;
  return lanes;
}

// Sum over the team, returned to all of its threads. scratch: one value per warp of the block.
template <typename A>
__device__ __forceinline__ A team_sum(const Team& team, A value, A* scratch) {
  value = warp_sum<32>(value);
  __syncthreads();  // what scratch held before has been read
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  const int warps = team.threads / 32;
  A sum = 0;
  for (int w = 0; w < warps; ++w) sum += scratch[team.index * warps + w];
  return sum;
}

// store(row, sum over columns of value(row, column)), neighbouring lanes on neighbouring columns. No barrier.
template <typename A, typename Value, typename Store>
__device__ __forceinline__ void sum_rows(const Team& team, bool active, int rows, int columns, int lanes,
                                         const Value& value, const Store& store) {
  if (!active) return;
  const int slot = team.thread / lanes;
  const int lane = team.thread - slot * lanes;
  const int slots = team.threads / lanes;
  for (int first = 0; first < rows; first += slots) {  // the same for all lanes of a warp
    const int row = first + slot;
    A sum = 0;
    if (row < rows) {
#pragma unroll 4
      for (int column = lane; column < columns; column += lanes) sum += value(row, column);
    }
    for (int distance = lanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (lane == 0 && row < rows) store(row, sum);
  }
}

// store(column, sum over rows of value(row, column)), neighbouring threads on neighbouring columns. Where there are
// more threads than columns, several share a column and meet in scratch, one value per thread of the block.
template <typename A, typename Value, typename Store>
__device__ __forceinline__ void sum_columns(const Team& team, bool active, int rows, int columns, A* scratch,
                                            const Value& value, const Store& store) {
  if (columns == 0) return;
  if (2 * columns > team.threads) {
    if (!active) return;
    for (int column = team.thread; column < columns; column += team.threads) {
      A sum = 0;
#pragma unroll 4
      for (int row = 0; row < rows; ++row) sum += value(row, column);
      store(column, sum);
    }
    return;
  }
  const int slots = team.threads / columns;
  const int slot = team.thread / columns;
  const int column = team.thread - slot * columns;
  A sum = 0;
  if (active && slot < slots) {
#pragma unroll 4
    for (int row = slot; row < rows; row += slots) sum += value(row, column);
  }
  __syncthreads();  // what scratch held before has been read
  scratch[threadIdx.x] = sum;
  __syncthreads();
  if (!active || slot != 0) return;
  for (int s = 1; s < slots; ++s) sum += scratch[threadIdx.x + s * columns];
  store(column, sum);
}

// -------------------------------------------------------------------------------------------- boxes of data

// rows of width elements, stride apart. One row, or packs only where every row starts equally aligned.
struct Box {
  int rows;
  int width;
  int64_t stride;
};

template <typename T>
__device__ __forceinline__ bool rows_pack(const Box& box) {
  return box.rows == 1 || box.stride % Pack<T>::kSize == 0;
}

// Upper bound of the units of 16 bytes that a row of width elements touches.
template <typename T>
int units_of(int64_t width, bool aligned) {
  constexpr int kSize = Pack<T>::kSize;
  return static_cast<int>((width + (aligned ? kSize - 1 : 2 * kSize - 2)) / kSize);
}

// Elements [first, first + kSize) of a row as far as they lie in [0, width), in one access where that can be.
template <typename T>
__device__ __forceinline__ Pack<T> load_unit(const T* row, int first, int width) {
  constexpr int kSize = Pack<T>::kSize;
  if (first >= 0 && first + kSize <= width && misalignment(row + first) == 0) return load_pack(row + first);
  Pack<T> pack;
#pragma unroll
  for (int j = 0; j < kSize; ++j) {
    if (first + j >= 0 && first + j < width) pack.set(j, row[first + j]);
  }
  return pack;
}

template <typename T>
__device__ __forceinline__ void store_unit(T* row, int first, int width, const Pack<T>& pack) {
  constexpr int kSize = Pack<T>::kSize;
  if (first >= 0 && first + kSize <= width && misalignment(row + first) == 0) {
    store_pack(row + first, pack);
    return;
  }
#pragma unroll
  for (int j = 0; j < kSize; ++j) {
    if (first + j >= 0 && first + j < width) row[first + j] = pack.get(j);
  }
}

// visit(row, first) for units of kSize elements that cover the box, so placed that those inside a row are aligned in
// memory if `at` may be accessed in packs. by_units: of at least as many units as a row touches; not used for one row.
template <typename T, typename Visit>
__device__ __forceinline__ void for_each_unit(const Box& box, const T* at, const FastDivide& by_units,
                                              const Visit& visit) {
  constexpr int kSize = Pack<T>::kSize;
  const int lead = rows_pack<T>(box) ? misalignment(at) : 0;
  if (box.rows == 1) {
    for (int i = threadIdx.x * kSize; i < lead + box.width; i += blockDim.x * kSize) visit(0, i - lead);
    return;
  }
  const int units = static_cast<int>(by_units.divisor);
  for (int i = threadIdx.x; i < box.rows * units; i += blockDim.x) {
    const int row = by_units.quotient(i);
    const int first = (i - row * units) * kSize - lead;
    if (first < box.width) visit(row, first);
  }
}

// A box in shared memory: element e of row r lies at data[r * pitch + e]. data is so placed that packs of both sides
// coincide: kSize - 1 elements more than rows * pitch must be there.
template <typename T>
struct StagedBox {
  T* data;
  int pitch;
};

template <typename T>
__device__ __forceinline__ StagedBox<T> place_box(const Box& box, const T* at, T* shared, int pitch) {
  return StagedBox<T>{shared + (rows_pack<T>(box) ? misalignment(at) : 0), pitch};
}

template <typename T>
__device__ __forceinline__ void stage_box(const Box& box, const T* at, const FastDivide& by_units,
                                          const StagedBox<T>& staged) {
  for_each_unit(box, at, by_units, [&](int row, int first) {
    store_unit(staged.data + row * staged.pitch, first, box.width, load_unit(at + row * box.stride, first, box.width));
  });
}

// Elements between rows of a staged box; an odd number of 16-byte units, so that rows lie in different banks.
template <typename T>
int staged_pitch(int64_t rows, int64_t width, bool aligned) {
  return (rows == 1 ? units_of<T>(width, true) : units_of<T>(width, aligned) | 1) * Pack<T>::kSize;
}

}  // namespace cuda
}  // namespace frnet
