// The kernels under test, and memory for them: exact-size host allocations under emulation and for the CPU's kernels,
// so that AddressSanitizer sees every access outside them; device memory otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "math/scalar.h"

#if defined(FRNET_TEST_CPU)
#include "cpu/isa.h"
#include "frnet/parallel.h"
#elif defined(FRNET_HOST_EMULATION)
#include "emulation.h"
#else
#include <cuda_runtime.h>
#endif

#if defined(FRNET_TEST_CPU) || defined(FRNET_HOST_EMULATION)
#define FRNET_TEST_HOST_MEMORY
#endif

#if defined(FRNET_TEST_CPU)
namespace frnet::cpu {}
namespace launchers = frnet::cpu;
#else
namespace frnet::cuda {}
namespace launchers = frnet::cuda;
#endif

namespace test {

// What ctest takes as "skipped".
constexpr int kSkipped = 77;

#if defined(FRNET_TEST_CPU)
// The last argument of every launcher.
inline constexpr const frnet::Parallel& kExecution = frnet::serial;
inline bool have_device() {
  try {
    frnet::cpu::active_isa();  // what FRNET_CPU_ISA asks for
  } catch (const std::runtime_error&) {
    return false;
  }
  return true;
}
inline void set_seed(uint64_t) {}
#elif defined(FRNET_HOST_EMULATION)
inline constexpr void* kExecution = nullptr;
inline bool have_device() { return true; }
inline void set_seed(uint64_t seed) { frnet::emulation::set_seed(seed); }
#else
inline constexpr void* kExecution = nullptr;  // the default stream
inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}
inline bool have_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
inline void set_seed(uint64_t) {}  // the device has its own mind about the order of blocks
#endif

// count elements, offset elements past an aligned address; filled with 0xFF, which is NaN in every type.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t count, size_t offset = 0) : count_(count), offset_(offset) {
    const size_t bytes = (count + offset) * sizeof(T);
    const std::vector<unsigned char> poison(bytes, 0xff);
#if defined(FRNET_TEST_HOST_MEMORY)
    base_ = static_cast<T*>(std::malloc(bytes));
    if (bytes) std::memcpy(base_, poison.data(), bytes);
#else
    check(cudaMalloc(reinterpret_cast<void**>(&base_), bytes ? bytes : 1));
    check(cudaMemcpy(base_, poison.data(), bytes, cudaMemcpyHostToDevice));
#endif
  }
  explicit DeviceBuffer(const std::vector<T>& values, size_t offset = 0) : DeviceBuffer(values.size(), offset) {
    if (values.empty()) return;
#if defined(FRNET_TEST_HOST_MEMORY)
    std::memcpy(data(), values.data(), count_ * sizeof(T));
#else
    check(cudaMemcpy(data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
#endif
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() {
#if defined(FRNET_TEST_HOST_MEMORY)
    std::free(base_);
#else
    cudaFree(base_);
#endif
  }

  T* data() { return base_ + offset_; }

  // Waits for the kernels before.
  std::vector<T> download() {
    std::vector<T> values(count_);
    if (count_ == 0) return values;
#if defined(FRNET_TEST_HOST_MEMORY)
    std::memcpy(values.data(), data(), count_ * sizeof(T));
#else
    check(cudaDeviceSynchronize());
    check(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
#endif
    return values;
  }

 private:
  size_t count_;
  size_t offset_;
  T* base_ = nullptr;
};

// Uniform in (-1, 1), rounded to T. From raw generator output, so that every standard library agrees.
template <typename T>
std::vector<T> random_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<T> values(count);
  for (T& value : values) {
    const double uniform = (static_cast<double>(random()) + 0.5) / 2147483648.0 - 1.0;
    value = frnet::math::narrow<T>(static_cast<frnet::accumulator_t<T>>(uniform));
  }
  return values;
}

}  // namespace test
