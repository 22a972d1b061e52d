// Vectors as wide as the instruction set this file is compiled for, on the compiler's vector extension.
//
// Everything here lives in the namespace of that instruction set, so that no two copies can be confused
// by the linker.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

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

// The first count lanes; the others are zero and their memory is not touched.
template <typename T, typename A = accumulator_t<T>>
FRNET_HD Vec<A> load_partial(const T* from, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<uint16_t>((uint32_t{1} << count) - 1);
  if constexpr (sizeof(T) == 4) {
    return reinterpret_cast<Vec<A>>(_mm512_maskz_loadu_ps(mask, from));
  } else if constexpr (sizeof(T) == 8) {
    return reinterpret_cast<Vec<A>>(_mm512_maskz_loadu_pd(static_cast<uint8_t>(mask), from));
  } else {
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, from);
    return math::widen_bits<Vec<A>>(T{}, __builtin_convertvector(reinterpret_cast<HalfWords>(bits), Words));
  }
#else
#if defined(__AVX2__)
  alignas(kVectorBytes) static constexpr int32_t kMask[] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  if constexpr (sizeof(T) == 4) {
    const auto* at = reinterpret_cast<const __m256i*>(kMask + 8 - count);
    return reinterpret_cast<Vec<A>>(_mm256_maskload_ps(from, _mm256_loadu_si256(at)));
  } else if constexpr (sizeof(T) == 8) {
    const auto* at = reinterpret_cast<const __m256i*>(kMask + 8 - 2 * count);
    return reinterpret_cast<Vec<A>>(_mm256_maskload_pd(from, _mm256_loadu_si256(at)));
  }
#endif
  Vec<A> value = {};
  for (int64_t i = 0; i < count; ++i) value[i] = math::widen(from[i]);
  return value;
#endif
}

template <typename T, typename A = accumulator_t<T>>
FRNET_HD void store_partial(T* to, Vec<A> value, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<uint16_t>((uint32_t{1} << count) - 1);
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(to, mask, reinterpret_cast<__m512>(value));
  } else if constexpr (sizeof(T) == 8) {
    _mm512_mask_storeu_pd(to, static_cast<uint8_t>(mask), reinterpret_cast<__m512d>(value));
  } else {
    const HalfWords bits = __builtin_convertvector(math::narrow_bits<Words>(T{}, value), HalfWords);
    _mm256_mask_storeu_epi16(to, mask, reinterpret_cast<__m256i>(bits));
  }
#else
  for (int64_t i = 0; i < count; ++i) to[i] = math::narrow<T>(value[i]);
#endif
}

template <typename A>
FRNET_HD Vec<A> broadcast(A value) {
  return value - Vec<A>{};
}

// from[at[i]] in lane i. T is float or int32_t.
template <typename T>
FRNET_HD auto gather(const T* from, VecOf<float>::index at) {
  using V = std::conditional_t<std::is_same_v<T, float>, Vec<float>, VecOf<float>::index>;
  static_assert(sizeof(T) == 4, "lanes of four bytes");
#if defined(__AVX512F__)
  // (GCC 12 warns of the unmasked one's own, undefined, source.)
  return reinterpret_cast<V>(
      _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, reinterpret_cast<__m512i>(at), from, 4));
#elif defined(__AVX2__)
  return reinterpret_cast<V>(
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(from), reinterpret_cast<__m256i>(at), 4));
#else
  V value;
  for (int i = 0; i < kLanes<float>; ++i) value[i] = from[at[i]];
  return value;
#endif
}

// Bit i is set where lane i of a comparison's result is.
FRNET_HD uint32_t lane_bits(VecOf<float>::index mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes<float>; ++i) bits |= (mask[i] ? 1u : 0u) << i;
  return bits;
#endif
}

// The exponential, within 2 units in the last place; 0 and infinity where it is no normal number.
struct VecExp {
  FRNET_HD Vec<float> operator()(Vec<float> argument) const {
    // 2^n e^r with n = x / ln 2 rounded: adding 1.5 * 2^23 leaves n in the low bits.
    typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
    const Vec<float> high = broadcast(88.0f), low = broadcast(-87.0f), zero = {};
    const Vec<float> below = argument > high ? high : argument;
    const Vec<float> x = below < low ? low : below;
    const Vec<float> shifted = x * 1.44269504f + 12582912.0f;
    const Vec<float> n = shifted - 12582912.0f;
    const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec<float> sum = broadcast(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) sum = sum * r + c;
    const Vec<float> value = sum * reinterpret_cast<Vec<float>>((reinterpret_cast<Bits>(shifted) << 23) + 0x3f800000);
    const Vec<float> above = argument > high ? zero + __builtin_inff() : value;
    return argument < low ? zero : above;
  }

  FRNET_HD Vec<double> operator()(Vec<double> argument) const {
    typedef int64_t Bits __attribute__((vector_size(kVectorBytes)));
    const Vec<double> high = broadcast(709.0), low = broadcast(-708.0), zero = {};
    const Vec<double> below = argument > high ? high : argument;
    const Vec<double> x = below < low ? low : below;
    const Vec<double> shifted = x * 1.4426950408889634 + 6755399441055744.0;
    const Vec<double> n = shifted - 6755399441055744.0;
    const Vec<double> r = (x - n * 0.693145751953125) - n * 1.4286068203094172e-6;
    Vec<double> sum = broadcast(1.0 / 6227020800.0);
    for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                           1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0}) {
      sum = sum * r + c;
    }
    const Vec<double> value =
        sum * reinterpret_cast<Vec<double>>((reinterpret_cast<Bits>(shifted) << 52) + 0x3ff0000000000000);
    const Vec<double> above = argument > high ? zero + __builtin_inf() : value;
    return argument < low ? zero : above;
  }
};

// ln(1 + v) for finite v >= 0, within 2 units in the last place however small v is.
struct VecLog1p {
  FRNET_HD Vec<float> operator()(Vec<float> v) const { return log1p<float, 23, 4>(v, 0.693145752f, 1.42860677e-6f); }
  FRNET_HD Vec<double> operator()(Vec<double> v) const {
    return log1p<double, 52, 10>(v, 0.693145751953125, 1.4286068203094172e-6);
  }

 private:
  // With 1 + v = 2^n m and m in [1 / sqrt 2, sqrt 2): n ln 2 + 2 artanh((m - 1) / (m + 1)), the series of artanh cut
  // behind kTerms. What rounding took from 1 + v is given back to m. The two parts of ln 2 add up to it.
  template <typename A, int kMantissa, int kTerms>
  static FRNET_HD Vec<A> log1p(Vec<A> v, A ln2, A ln2_rest) {
    using Bits = typename VecOf<A>::index;
    using Word = std::remove_reference_t<decltype(std::declval<Bits&>()[0])>;
    constexpr Word kBias = sizeof(A) == 4 ? 127 : 1023;
    constexpr Word kHalfRoot = sizeof(A) == 4 ? Word(0x3f3504f3) : Word(0x3fe6a09e667f3bcdll);  // 1 / sqrt 2
    const Vec<A> u = v + A(1);
    const Vec<A> lost = v - (u - A(1));
    const Bits above = reinterpret_cast<Bits>(u) - kHalfRoot;
    const Bits exponent = above >> kMantissa;
    const Bits mantissa = (above & ((Word(1) << kMantissa) - 1)) + kHalfRoot;
    const Vec<A> scale = reinterpret_cast<Vec<A>>((kBias - exponent) << kMantissa);  // 2^-n
    const Vec<A> f = (reinterpret_cast<Vec<A>>(mantissa) - A(1)) + lost * scale;
    const Vec<A> s = f / (f + A(2)), s2 = s * s;
    Vec<A> sum = {};
    for (int k = kTerms; k >= 1; --k) sum = (sum + A(1) / A(2 * k + 1)) * s2;
    const Vec<A> n = __builtin_convertvector(exponent, Vec<A>);
    return n * ln2 + (A(2) * (s + s * sum) + n * ln2_rest);
  }
};

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

// Lanes of one axis of x0 y0 z0 x1 y1 z1 ...: first from the two lower parts, then with the upper part put in.
template <int kLanes, int kAxis>
struct PickLow {
  static constexpr int lane(int i) { return 3 * i + kAxis < 2 * kLanes ? 3 * i + kAxis : 0; }
};
template <int kLanes, int kAxis>
struct PickHigh {
  static constexpr int lane(int i) { return 3 * i + kAxis < 2 * kLanes ? i : 3 * i + kAxis - kLanes; }
};

// x0 y0 z0 x1 y1 z1 ... to vectors of x, y and z. Points past count come in as zero.
template <typename T>
FRNET_HD void load_interleaved(const T* from, int64_t count, Vec<T>* v) {
  constexpr int kL = kLanes<T>;
  alignas(kVectorBytes) T flat[3 * kL] = {};
  if (count < kL) {
    for (int64_t i = 0; i < 3 * count; ++i) flat[i] = from[i];
    from = flat;
  }
  const Vec<T> part[3] = {load(from), load(from + kL), load(from + 2 * kL)};
  v[0] = shuffle<PickHigh<kL, 0>>(shuffle<PickLow<kL, 0>>(part[0], part[1]), part[2]);
  v[1] = shuffle<PickHigh<kL, 1>>(shuffle<PickLow<kL, 1>>(part[0], part[1]), part[2]);
  v[2] = shuffle<PickHigh<kL, 2>>(shuffle<PickLow<kL, 2>>(part[0], part[1]), part[2]);
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
