// Marks a formula that both the host and the device compile.
//
// On the host such a function must never be emitted out of line: the vectorised files are compiled once
// per instruction set, and the linker would keep one copy for all of them, perhaps the one that only a
// newer processor can run.
#pragma once

#if defined(__CUDACC__)
#define FRNET_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define FRNET_HD inline __attribute__((always_inline))
#else
#define FRNET_HD inline
#endif
