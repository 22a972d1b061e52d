// The storage types of the kernels and their accumulation types.
//
// float16 and bfloat16 are storage only: every kernel converts on load, computes in float and rounds to
// nearest even on store.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "math/host_device.h"

namespace frnet {

struct float16 {
  uint16_t bits;
};

struct bfloat16 {
  uint16_t bits;
};

template <typename T>
struct accumulator {
  using type = float;
};
template <>
struct accumulator<double> {
  using type = double;
};
template <typename T>
using accumulator_t = typename accumulator<T>::type;

namespace math {

template <typename To, typename From>
FRNET_HD To reinterpret(From from) {
  static_assert(sizeof(To) == sizeof(From), "reinterpret keeps every bit");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

// The conversions proper, on bits in 32-bit words. F is float and U uint32_t, or vectors of them: the same formulas
// serve single values and whole vectors.

template <typename F, typename U>
FRNET_HD F widen_bits(bfloat16, U bits) {
  return reinterpret<F>(bits << 16);
}

template <typename F, typename U>
FRNET_HD F widen_bits(float16, U bits) {
  // Shifted into place, a float16 is a float whose exponent is 112 too small; multiplying by 2^112 mends
  // that and renormalises subnormals in one step. An all-ones exponent (Inf, NaN) is set by hand.
  const U magnitude = (bits & 0x7fffu) << 13;
  const U finite = reinterpret<U>(reinterpret<F>(magnitude) * 5.192296858534828e33f);
  const U value = magnitude >= 0x0f800000u ? (finite | 0x7f800000u) : finite;
  return reinterpret<F>(value | ((bits & 0x8000u) << 16));
}

template <typename U, typename F>
FRNET_HD U narrow_bits(bfloat16, F value) {
  const U bits = reinterpret<U>(value);
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U quiet_nan = (bits >> 16) | 0x40u;
  return (bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded;
}

template <typename U, typename F>
FRNET_HD U narrow_bits(float16, F value) {
  const U bits = reinterpret<U>(value);
  const U magnitude = bits & 0x7fffffffu;
  // Normal range: rebias the exponent by -112 and round the 13 dropped bits to nearest even. A carry out
  // of the mantissa moves into the exponent, which is what rounding up to the next power of two means.
  const U normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 0.5 aligns the mantissa so that the float adder itself rounds to nearest even.
  const U subnormal = reinterpret<U>(reinterpret<F>(magnitude) + 0.5f) - 0x3f000000u;
  const U finite = magnitude < 0x38800000u ? subnormal : normal;
  const U infinity = (magnitude & 0u) | 0x7c00u;
  const U special = magnitude > 0x7f800000u ? (infinity | 0x0200u) : infinity;
  // 0x477ff000 is 65520, the smallest float that rounds to infinity.
  return (magnitude >= 0x477ff000u ? special : finite) | ((bits >> 16) & 0x8000u);
}

FRNET_HD float widen(float value) { return value; }
FRNET_HD double widen(double value) { return value; }

FRNET_HD float widen(bfloat16 value) { return widen_bits<float>(value, static_cast<uint32_t>(value.bits)); }

FRNET_HD float widen(float16 value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  return widen_bits<float>(value, static_cast<uint32_t>(value.bits));
#endif
}

template <typename T>
FRNET_HD T narrow(accumulator_t<T> value);

template <>
FRNET_HD float narrow<float>(float value) {
  return value;
}

template <>
FRNET_HD double narrow<double>(double value) {
  return value;
}

template <>
FRNET_HD bfloat16 narrow<bfloat16>(float value) {
  return bfloat16{static_cast<uint16_t>(narrow_bits<uint32_t>(bfloat16{}, value))};
}

template <>
FRNET_HD float16 narrow<float16>(float value) {
#if defined(__CUDA_ARCH__)
  return float16{__half_as_ushort(__float2half_rn(value))};
#else
  return float16{static_cast<uint16_t>(narrow_bits<uint32_t>(float16{}, value))};
#endif
}

}  // namespace math
}  // namespace frnet
