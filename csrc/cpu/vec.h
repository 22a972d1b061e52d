// Vectors as wide as the instruction set this file is compiled for, on the compiler's vector extension.
//
// Everything here lives in the namespace of that instruction set, so that no two copies can be confused
// by the linker.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "math/scalar.h"

#if !defined(FRNET_ISA)
#error "a vectorised file is compiled with FRNET_ISA set to baseline, avx2 or avx512"
#endif

namespace frnet::cpu::FRNET_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

FRNET_HD constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
FRNET_HD constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

template <typename A>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t index __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t index __attribute__((vector_size(kVectorBytes)));
};
template <typename A>
using Vec = typename VecOf<A>::type;

template <typename A>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(A));

// The bits of a vector of float, and of a vector of a 16-bit type with as many lanes.
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef uint16_t HalfWords __attribute__((vector_size(kVectorBytes / 2)));

// Loads one vector, widening 16-bit storage types.
template <typename T, typename A = accumulator_t<T>>
FRNET_HD Vec<A> load(const T* from) {
  if constexpr (sizeof(T) == sizeof(A)) {
    Vec<A> value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
  } else {
    HalfWords bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return math::widen_bits<Vec<A>>(T{}, __builtin_convertvector(bits, Words));
  }
}

template <typename T, typename A = accumulator_t<T>>
FRNET_HD void store(T* to, Vec<A> value) {
  if constexpr (sizeof(T) == sizeof(A)) {
    __builtin_memcpy(to, &value, sizeof value);
  } else {
    const HalfWords bits = __builtin_convertvector(math::narrow_bits<Words>(T{}, value), HalfWords);
    __builtin_memcpy(to, &bits, sizeof bits);
  }
}

// The first count lanes, for a row's end; the others are zero.
template <typename T, typename A = accumulator_t<T>>
FRNET_HD Vec<A> load_partial(const T* from, int64_t count) {
  Vec<A> value = {};
  for (int64_t i = 0; i < count; ++i) value[i] = math::widen(from[i]);
  return value;
}

template <typename T, typename A = accumulator_t<T>>
FRNET_HD void store_partial(T* to, Vec<A> value, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = math::narrow<T>(value[i]);
}

template <typename A>
FRNET_HD Vec<A> broadcast(A value) {
  return value - Vec<A>{};
}

// A shuffle known when compiling: lane i takes lane Pattern::lane(i) of a and b side by side.
template <typename A, typename Pattern>
struct ShuffleTable {
  using Lane = std::remove_reference_t<decltype(std::declval<typename VecOf<A>::index&>()[0])>;
  alignas(kVectorBytes) Lane lane[kLanes<A>];

  constexpr ShuffleTable() : lane{} {
    for (int i = 0; i < kLanes<A>; ++i) lane[i] = Pattern::lane(i);
  }
};

template <typename Pattern, typename V, typename A = std::remove_reference_t<decltype(std::declval<V&>()[0])>>
FRNET_HD V shuffle(V a, V b) {
  static constexpr ShuffleTable<A, Pattern> table;
  typename VecOf<A>::index lanes;
  __builtin_memcpy(&lanes, table.lane, sizeof lanes);
  return __builtin_shuffle(a, b, lanes);
}

template <int kHalf>
struct SwapHalves {
  static constexpr int lane(int i) { return i ^ kHalf; }
};

// Lanes added pairwise, halves first.
template <typename A, int kHalf = kLanes<A> / 2>
FRNET_HD A horizontal_sum(Vec<A> value) {
  if constexpr (kHalf == 0) {
    return value[0];
  } else {
    return horizontal_sum<A, kHalf / 2>(value + shuffle<SwapHalves<kHalf>>(value, value));
  }
}

// One bit of the two indices of a square matrix, exchanged: what goes to the row without and with that bit.
template <int kLanes, int kBit>
struct ExchangeLow {
  static constexpr int lane(int i) { return i & kBit ? kLanes + (i ^ kBit) : i; }
};
template <int kLanes, int kBit>
struct ExchangeHigh {
  static constexpr int lane(int i) { return i & kBit ? kLanes + i : i ^ kBit; }
};

// rows[i][l] <-> rows[l][i].
template <typename A, int kBit = 1>
FRNET_HD void transpose(Vec<A>* rows) {
  constexpr int kL = kLanes<A>;
  if constexpr (kBit < kL) {
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) {
      if (i & kBit) continue;
      const Vec<A> a = rows[i], b = rows[i | kBit];
      rows[i] = shuffle<ExchangeLow<kL, kBit>>(a, b);
      rows[i | kBit] = shuffle<ExchangeHigh<kL, kBit>>(a, b);
    }
    transpose<A, 2 * kBit>(rows);
  }
}

}  // namespace frnet::cpu::FRNET_ISA
