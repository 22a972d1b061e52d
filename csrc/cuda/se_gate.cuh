// The parts of squeeze and excitation that se_gate and depthwise_conv2d_se are put together from:
//   pooled = mean(x)   hidden = activation(w1 pooled + b1)   gates = gate_function(w2 hidden + b2)   y = x gates
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/se_gate.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

// What the parts hand to each other, in the workspace.
template <typename A>
struct SeArrays {
  A* pooled;  // [batch, channels]
  A* gates;   // [batch, channels]
  A* hidden;  // [batch, squeezed]
  // Backward.
  A* slopes;       // [batch, channels]: sum of grad_y x, then the gradient of what the gate function is applied to
  A* before;       // [batch, squeezed]: what the activation is applied to
  A* grad_before;  // [batch, squeezed]
  A* grad_pooled;  // [batch, channels]
};

template <typename A>
SeArrays<A> se_arrays(const SeGateShape& s, void* workspace) {
  int64_t at = 0;
  const auto next = [&](int64_t width) {
    A* const array = static_cast<A*>(workspace) + at;
    at += s.batch * width;
    return array;
  };
  SeArrays<A> arrays;
  arrays.pooled = next(s.channels);
  arrays.gates = next(s.channels);
  arrays.hidden = next(s.squeezed);
  arrays.slopes = next(s.channels);
  arrays.before = next(s.squeezed);
  arrays.grad_before = next(s.squeezed);
  arrays.grad_pooled = next(s.channels);
  return arrays;
}

template <typename A>
size_t se_arrays_bytes(const SeGateShape& s) {
  return static_cast<size_t>(s.batch * (4 * s.channels + 3 * s.squeezed)) * sizeof(A);
}

// gates from pooled.
template <typename A>
void se_excite(const SeGate<A>& gate, const SeArrays<A>& arrays, const SeGateShape& shape, void* stream);

// The same, then grad_before and grad_pooled from slopes, and what the parameters' gradients are. With a batch of 0
// these are zero.
template <typename A>
void se_excite_backward(const SeGate<A>& gate, const SeArrays<A>& arrays, const SeGateGradient<A>& gradient,
                        const SeGateShape& shape, void* stream);

// to = from * gates, plus where terms is not null terms / pixels; gates and terms [batch, channels]. to may be from.
template <typename T>
void se_scale(const T* from, const accumulator_t<T>* gates, const accumulator_t<T>* terms, T* to,
              const SeGateShape& shape, void* stream);

// Sizes that every index in the kernels fits.
void check_se_sizes(const SeGateShape& shape, const char* op);

}  // namespace cuda
}  // namespace frnet
