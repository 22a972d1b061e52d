// Sums and products that are each rounded by themselves.
//
// A compiler may make one fused multiply-add of a product and a sum, and CPU and CUDA then differ in the last bit. nvcc
// leaves these alone; a host file that uses them is compiled with -ffp-contract=off.
#pragma once

#include "math/host_device.h"

namespace frnet::math {

// Also of integers, and of vectors of the compiler's extension.
template <typename V>
FRNET_HD V mul(V a, V b) {
  return a * b;
}
template <typename V>
FRNET_HD V add(V a, V b) {
  return a + b;
}
template <typename V>
FRNET_HD V sub(V a, V b) {
  return a - b;
}
template <typename V>
FRNET_HD V div(V a, V b) {
  return a / b;
}

// As nvcc sees them, one function for host and device each.
#if defined(__CUDA_ARCH__)
#define FRNET_ROUNDED(name, op, T, intrinsic) \
  FRNET_HD T name(T a, T b) { return intrinsic(a, b); }
#else
#define FRNET_ROUNDED(name, op, T, intrinsic) \
  FRNET_HD T name(T a, T b) { return a op b; }
#endif
FRNET_ROUNDED(mul, *, float, __fmul_rn)
FRNET_ROUNDED(add, +, float, __fadd_rn)
FRNET_ROUNDED(sub, -, float, __fsub_rn)
FRNET_ROUNDED(div, /, float, __fdiv_rn)
FRNET_ROUNDED(mul, *, double, __dmul_rn)
FRNET_ROUNDED(add, +, double, __dadd_rn)
FRNET_ROUNDED(sub, -, double, __dsub_rn)
FRNET_ROUNDED(div, /, double, __ddiv_rn)
#undef FRNET_ROUNDED

}  // namespace frnet::math
