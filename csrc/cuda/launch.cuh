// The one way a kernel is launched, and the few device facilities that differ between nvcc and the host
// emulation of cuda_tests/host (macro FRNET_HOST_EMULATION).
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#if defined(FRNET_HOST_EMULATION)
#include "emulation.h"
#else
#include <cuda_runtime.h>
#endif

namespace frnet {
namespace cuda {

// What a block may use without asking the device for more.
constexpr size_t kDefaultSharedBytes = 48 * 1024;

#if !defined(FRNET_HOST_EMULATION)
inline void check_launch(cudaError_t status, const void* kernel) {
  if (status == cudaSuccess) return;
  const char* name = nullptr;
#if CUDART_VERSION >= 12030
  if (cudaFuncGetName(&name, kernel) != cudaSuccess) name = nullptr;
#else
  (void)kernel;
#endif
  cudaGetLastError();  // the error must not show up again in someone else's check
  std::string remedy;
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorUnsupportedPtxVersion) {
    int device = 0, major = 0, minor = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    remedy = " (frnet was built for other GPUs: build it where nvidia-smi shows this one, or with FRNET_CUDA_ARCHS=" +
             std::to_string(major) + "." + std::to_string(minor) + ")";
  }
  throw std::runtime_error(std::string("frnet: launch of ") + (name ? name : "a kernel") +
                           " failed: " + cudaGetErrorString(status) + remedy);
}
#endif

inline dim3 grid_of_blocks(int64_t blocks, const char* op) {
  if (blocks > 0x7fffffff) throw std::invalid_argument(std::string(op) + ": more work than one launch can name");
  return dim3(static_cast<unsigned>(blocks));
}

// stream is a cudaStream_t. The grid must not be empty. Throws std::runtime_error where the launch fails.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
            Arguments... arguments) {
#if defined(FRNET_HOST_EMULATION)
  (void)stream;
  emulation::run(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, [&] { kernel(arguments...); });
#else
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kDefaultSharedBytes) {
    check_launch(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        function);
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  check_launch(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), function);
#endif
}

// The block's dynamic shared memory, 16-byte aligned. Kernels use no other kind, so that the emulation can
// hand out exactly what was asked for.
template <typename T>
__device__ __forceinline__ T* shared_memory() {
#if defined(FRNET_HOST_EMULATION)
  return static_cast<T*>(emulation::shared_memory());
#else
  extern __shared__ uint4 frnet_shared_memory[];
  return reinterpret_cast<T*>(frnet_shared_memory);
#endif
}

// As many values of T as one 16-byte access moves. Kept as words, so that two 16-bit values share a register.
template <typename T>
struct Pack {
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  uint32_t words[4] = {};

  __device__ __forceinline__ T get(int i) const {
    T value;
    if constexpr (sizeof(T) == 2) {
      value.bits = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
    } else {
      constexpr int kWords = sizeof(T) / 4;
      __builtin_memcpy(&value, words + i * kWords, sizeof value);
    }
    return value;
  }
  __device__ __forceinline__ void set(int i, T value) {
    if constexpr (sizeof(T) == 2) {
      const int shift = i % 2 * 16;
      words[i / 2] = (words[i / 2] & (0xffff0000u >> shift)) | (static_cast<uint32_t>(value.bits) << shift);
    } else {
      constexpr int kWords = sizeof(T) / 4;
      __builtin_memcpy(words + i * kWords, &value, sizeof value);
    }
  }
};

// from and to must be 16-byte aligned.
template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* from) {
  Pack<T> pack;
#if defined(FRNET_HOST_EMULATION)
  emulation::check_alignment(from, 16);
  std::memcpy(pack.words, from, sizeof pack.words);
#else
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  __builtin_memcpy(pack.words, &bits, sizeof bits);
#endif
  return pack;
}

template <typename T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
#if defined(FRNET_HOST_EMULATION)
  emulation::check_alignment(to, 16);
  std::memcpy(to, pack.words, sizeof pack.words);
#else
  uint4 bits;
  __builtin_memcpy(&bits, pack.words, sizeof bits);
  *reinterpret_cast<uint4*>(to) = bits;
#endif
}

// kCount values from 16-byte aligned shared memory; may read up to the next multiple of 16 bytes.
template <int kCount, typename A>
__device__ __forceinline__ void load_window(const A* from, A (&window)[kCount]) {
  constexpr int kSize = Pack<A>::kSize;
#pragma unroll
  for (int i = 0; i < kCount; i += kSize) {
    const Pack<A> pack = load_pack(from + i);
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (i + j < kCount) window[i + j] = pack.get(j);
    }
  }
}

}  // namespace cuda
}  // namespace frnet
