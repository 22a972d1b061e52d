// Products of small matrices on the matrix units: mma.sync of a warp, D[16 x 8] += A[16 x depth] * B[depth x 8], with
// float sums, and loads of its operands from shared memory.
//
// Operands are 32-bit words, each of one tf32 or of two bfloat16, so that both look alike: a row of A and a column of B
// are eight words. With group = lane / 4 and place = lane % 4 a lane holds (PTX ISA, "Matrix Fragments for mma.m16n8k8"
// and "for mma.m16n8k16")
//   a[r]: word place + 4 * (r / 2) of row group + 8 * (r % 2)
//   b[r]: word place + 4 * r of column group
//   d[r]: row group + 8 * (r / 2), column 2 * place + r % 2
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"
#include "math/scalar.h"

#if defined(FRNET_HOST_EMULATION)
#include "matrix_units.h"
#endif

// Whether the code being compiled may hold these instructions: compute capability 8.0 has them.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define FRNET_MATRIX_UNITS
#endif

namespace frnet {
namespace cuda {

// Four matrices of eight rows of four words. row: where row lane % 8 of matrix lane / 8 starts, 16-byte aligned in
// shared memory. r[m]: word lane % 4 of row lane / 4 of matrix m.
__device__ __forceinline__ void load_matrices(const uint32_t* row, uint32_t (&r)[4]) {
#if defined(FRNET_HOST_EMULATION)
  emulation::load_matrices(row, r);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// The same for rows of eight 2-byte values, transposed on the way. r[m]: those of rows 2 * (lane % 4) and the next at
// column lane / 4.
__device__ __forceinline__ void load_matrices_transposed(const uint32_t* row, uint32_t (&r)[4]) {
#if defined(FRNET_HOST_EMULATION)
  emulation::load_matrices_transposed(row, r);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// The formats. pack(value) makes a word of value(0) to value(kPerWord - 1).

struct Tf32 {
  static constexpr int kPerWord = 1;

  // To nearest, ties away from zero.
  template <typename Value>
  static __device__ __forceinline__ uint32_t pack(const Value& value) {
#if defined(FRNET_HOST_EMULATION)
    return emulation::round_to_tf32(value(0));
#else
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value(0)));
    return word;
#endif
  }

  static __device__ __forceinline__ float value(uint32_t word, int) { return math::reinterpret<float>(word); }

  static __device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(FRNET_HOST_EMULATION)
    emulation::multiply_add<Tf32>(d, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

struct Bfloat16 {
  static constexpr int kPerWord = 2;

  // To nearest even.
  template <typename Value>
  static __device__ __forceinline__ uint32_t pack(const Value& value) {
#if defined(FRNET_HOST_EMULATION)
    return math::narrow<bfloat16>(value(0)).bits | static_cast<uint32_t>(math::narrow<bfloat16>(value(1)).bits) << 16;
#else
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(value(1)), "f"(value(0)));
    return word;
#endif
  }

  static __device__ __forceinline__ float value(uint32_t word, int i) {
    return math::widen(bfloat16{static_cast<uint16_t>(word >> 16 * i)});
  }

  static __device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(FRNET_HOST_EMULATION)
    emulation::multiply_add<Bfloat16>(d, a, b);
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

}  // namespace cuda
}  // namespace frnet
