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

FRNET_HD uint32_t float_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

FRNET_HD float float_from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

FRNET_HD float widen(float value) { return value; }
FRNET_HD double widen(double value) { return value; }

FRNET_HD float widen(bfloat16 value) { return float_from_bits(static_cast<uint32_t>(value.bits) << 16); }

FRNET_HD float widen(float16 value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  // Shifted into place, a float16 is a float whose exponent is 112 too small; multiplying by 2^112 mends
  // that and renormalises subnormals in one step. An all-ones exponent (Inf, NaN) is set by hand.
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  const float scaled = float_from_bits(magnitude) * 5.192296858534828e33f;  // 2^112
  return float_from_bits((float_bits(scaled) | special) | sign);
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
  const uint32_t bits = float_bits(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t quiet_nan = (bits >> 16) | 0x40u;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return bfloat16{static_cast<uint16_t>(is_nan ? quiet_nan : rounded >> 16)};
}

template <>
FRNET_HD float16 narrow<float16>(float value) {
#if defined(__CUDA_ARCH__)
  return float16{__half_as_ushort(__float2half_rn(value))};
#else
  const uint32_t bits = float_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal range: rebias the exponent by -112 and round the 13 dropped bits to nearest even. A carry out
  // of the mantissa moves into the exponent, which is what rounding up to the next power of two means.
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 0.5 aligns the mantissa so that the float adder itself rounds to nearest even.
  const uint32_t subnormal = float_bits(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  // 0x477ff000 is 65520, the smallest float that rounds to infinity.
  return float16{static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? special : finite))};
#endif
}

}  // namespace math
}  // namespace frnet
