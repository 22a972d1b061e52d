// Index arithmetic of a convolution along one axis: which taps, outputs and inputs meet.
//
// Output o reads input  o*stride - padding + k*dilation  through tap k, for k in [0, kernel). The functions
// below solve that line for the index that a loop runs over, so that the loop needs no test in its body.
// Int is a signed integer type: int64_t in general, int where a tile is known to be small.
#pragma once

#include <cstdint>

#include "math/host_device.h"

namespace frnet {
namespace math {

// A half-open range; empty when end <= begin.
template <typename Int>
struct IndexRange {
  Int begin;
  Int end;
};

// Both for divisor > 0 and value of either sign.
template <typename Int>
FRNET_HD Int floor_div(Int value, Int divisor) {
  return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

template <typename Int>
FRNET_HD Int ceil_div(Int value, Int divisor) {
  return value > 0 ? (value - 1) / divisor + 1 : -(-value / divisor);
}

// The number of outputs along an axis; 0 where the dilated kernel does not fit into the padded input.
template <typename Int>
FRNET_HD Int conv_output_size(Int input, Int kernel, Int stride, Int padding, Int dilation) {
  const Int slack = input + 2 * padding - dilation * (kernel - 1) - 1;
  return slack < 0 ? 0 : slack / stride + 1;
}

// The taps k in [0, kernel) for which 0 <= origin + k*dilation < size. With origin = o*stride - padding and
// size = input these are the taps of output o that fall inside x.
template <typename Int>
FRNET_HD IndexRange<Int> valid_taps(Int origin, Int size, Int kernel, Int dilation) {
  const Int begin = origin < 0 ? ceil_div<Int>(-origin, dilation) : 0;
  const Int end = ceil_div<Int>(size - origin, dilation);
  return IndexRange<Int>{begin, end < kernel ? end : kernel};
}

// The outputs o in [0, output) for which 0 <= o*stride + offset < input. With offset = k*dilation - padding
// these are the outputs that tap k feeds from inside x.
template <typename Int>
FRNET_HD IndexRange<Int> valid_outputs(Int offset, Int input, Int output, Int stride) {
  const Int begin = offset < 0 ? ceil_div<Int>(-offset, stride) : 0;
  const Int end = ceil_div<Int>(input - offset, stride);
  return IndexRange<Int>{begin, end < output ? end : output};
}

// The output that reads input i through tap k, or -1 where there is none: the gather form of the input
// gradient. (No output may be negative, so -1 is free.)
template <typename Int>
FRNET_HD Int output_of(Int i, Int k, Int output, Int stride, Int padding, Int dilation) {
  const Int numerator = i + padding - k * dilation;
  if (numerator < 0) return -1;
  const Int o = numerator / stride;
  return o * stride == numerator && o < output ? o : -1;
}

}  // namespace math
}  // namespace frnet
