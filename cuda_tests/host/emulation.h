// The part of CUDA C++ that csrc/cuda uses, for a plain host compiler: so that every kernel's indexing and
// arithmetic can be run, under AddressSanitizer too, where there is no GPU.
//
// One block runs at a time; its threads are fibres that give way to each other only at barriers and
// shuffles, so between two of those each runs alone, in an order that the seed chooses. What the hardware
// would leave undefined is an error or shows in the result here: shared memory starts out as NaN, a barrier
// that not every thread of the block reaches throws, a misaligned 16-byte access throws, and a missing
// barrier gives results that change with the seed. Host threads must not launch concurrently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// Those of the running thread; the scheduler sets them at every switch.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

namespace frnet {
namespace emulation {

// Runs body once per thread of the grid. kernel is only used to name it in messages.
void run(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

// The order of blocks and of the threads within one. 0: ascending. Even: shuffled, every thread of the block
// reaches its first barrier or shuffle before any goes on. Odd: shuffled by warps, each of which runs as far
// ahead of the others as it can. Starts as the environment variable FRNET_EMULATION_SEED, or 0.
void set_seed(uint64_t seed);

// The running block's dynamic shared memory: a fresh allocation of exactly the size asked for, all 0xFF.
void* shared_memory();

void check_alignment(const void* pointer, size_t alignment);

// Where the calling thread waits is remembered for the message, should the others never come.
struct Site {
  const char* file;
  int line;
};

void block_barrier(Site site);

// Waits for the warp's lanes named in mask, then returns the bits that lane source brought.
uint64_t exchange(unsigned mask, uint64_t bits, int source, Site site);

int lane();

// Waits for all 32 lanes of the warp, the last of which then runs step once, on what every lane brought.
void collective(void* mine, const std::function<void(void* const* lanes)>& step, Site site);

template <typename T>
T shuffle(unsigned mask, T value, int source, Site site) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, source, site);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// As above, of T: an instruction that a warp executes as one, such as a product of matrices.
template <typename T>
void collective(T& mine, void (*step)(T* const* lanes), const char* file = __builtin_FILE(),
                int line = __builtin_LINE()) {
  collective(
      &mine,
      [step](void* const* lanes) {
        T* typed[32];
        for (int i = 0; i < 32; ++i) typed[i] = static_cast<T*>(lanes[i]);
        step(typed);
      },
      Site{file, line});
}

}  // namespace emulation
}  // namespace frnet

// Default arguments are evaluated at the call, so these name the kernel's own line.
#define FRNET_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(FRNET_SITE) { frnet::emulation::block_barrier({file, line}); }

inline void __syncwarp(unsigned mask = 0xffffffffu, FRNET_SITE) {
  frnet::emulation::exchange(mask, 0, frnet::emulation::lane(), {file, line});
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, FRNET_SITE) {
  const int segment = frnet::emulation::lane() & ~(width - 1);
  return frnet::emulation::shuffle(mask, value, segment | (source & (width - 1)), {file, line});
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, FRNET_SITE) {
  const int lane = frnet::emulation::lane();
  const int source = lane ^ lane_mask;
  const bool later_segment = source > (lane | (width - 1));
  return frnet::emulation::shuffle(mask, value, later_segment ? lane : source, {file, line});
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, FRNET_SITE) {
  const int lane = frnet::emulation::lane();
  const int source = lane + static_cast<int>(delta);
  return frnet::emulation::shuffle(mask, value, source > (lane | (width - 1)) ? lane : source, {file, line});
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, FRNET_SITE) {
  const int lane = frnet::emulation::lane();
  const int source = lane - static_cast<int>(delta);
  return frnet::emulation::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, {file, line});
}

// Of the whole warp.
inline unsigned __ballot_sync(unsigned mask, int predicate, FRNET_SITE) {
  unsigned bits = predicate ? 1u << frnet::emulation::lane() : 0;
  for (int step = 16; step > 0; step /= 2) bits |= __shfl_xor_sync(mask, bits, step, 32, file, line);
  return bits;
}

#undef FRNET_SITE

inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }

// (One thread runs at a time.)
inline unsigned long long atomicMax(unsigned long long* at, unsigned long long value) {
  const unsigned long long before = *at;
  if (value > before) *at = value;
  return before;
}
