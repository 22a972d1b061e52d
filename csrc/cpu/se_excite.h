// The excitation of one image: two small fully connected layers, and their gradients.
#pragma once

#include <cstdint>

#include "cpu/plane_sums.h"
#include "frnet/se_gate.h"
#include "math/activation.h"

namespace frnet::cpu::FRNET_ISA {

template <typename A>
FRNET_HD A dot(const A* a, const A* b, int64_t count) {
  return sum_vectors<A>(count,
                        [&](int64_t i, int64_t lanes) { return load_some(a + i, lanes) * load_some(b + i, lanes); });
}

// to += factor * from
template <typename A>
FRNET_HD void add_scaled(A* to, A factor, const A* from, int64_t count) {
  for_vectors<A>(count, [&](int64_t i, int64_t lanes, int) {
    store_some(to + i, load_some(to + i, lanes) + factor * load_some(from + i, lanes), lanes);
  });
}

// What is kept of one image. The backward pass needs all of it, the forward pass the first three.
template <typename A>
struct Excitation {
  A* pooled;       // [channels]
  A* hidden;       // [squeezed], after the activation
  A* gate;         // [channels]
  A* grad_hidden;  // [squeezed], of what goes into the activation
  A* sums;         // [squeezed], of the activation's result
  A* grad_gate;    // [channels], of what goes into the gate function
  A* grad_pooled;  // [channels]

  static int64_t values(const SeGateShape& s) { return 4 * s.channels + 3 * s.squeezed; }

  Excitation(A* data, int64_t n, const SeGateShape& s) {
    pooled = data + n * values(s);
    gate = pooled + s.channels;
    grad_gate = gate + s.channels;
    grad_pooled = grad_gate + s.channels;
    hidden = grad_pooled + s.channels;
    grad_hidden = hidden + s.squeezed;
    sums = grad_hidden + s.squeezed;
  }
};

// pooled -> hidden, gate. The inputs of activation and gate function are kept in grad_hidden and grad_gate.
template <typename A>
void excite(const SeGate<A>& se, const Excitation<A>& e, const SeGateShape& s) {
  for (int64_t j = 0; j < s.squeezed; ++j) {
    e.grad_hidden[j] = dot(se.w1 + j * s.channels, e.pooled, s.channels) + (se.b1 == nullptr ? A(0) : se.b1[j]);
    e.hidden[j] = math::activate<A>(se.activation, e.grad_hidden[j], math::ScalarExp{});
  }
  for (int64_t c = 0; c < s.channels; ++c) {
    e.grad_gate[c] = dot(se.w2 + c * s.squeezed, e.hidden, s.squeezed) + (se.b2 == nullptr ? A(0) : se.b2[c]);
  }
  for_vectors<A>(s.channels, [&](int64_t i, int64_t lanes, int) {
    store_some(e.gate + i, math::gate_value<A>(se.gate, load_some(e.grad_gate + i, lanes), VecExp{}), lanes);
  });
}

// From products[c] = sum over the plane of grad_y * x, after excite: grad_gate, grad_hidden and grad_pooled.
template <typename A>
void excite_backward(const SeGate<A>& se, const A* products, const Excitation<A>& e, const SeGateShape& s) {
  for_vectors<A>(s.channels, [&](int64_t i, int64_t lanes, int) {
    store_some(
        e.grad_gate + i,
        math::gate_gradient<A>(se.gate, load_some(e.grad_gate + i, lanes), load_some(products + i, lanes), VecExp{}),
        lanes);
  });
  zero(e.sums, s.squeezed);
  for (int64_t c = 0; c < s.channels; ++c) add_scaled(e.sums, e.grad_gate[c], se.w2 + c * s.squeezed, s.squeezed);
  for (int64_t j = 0; j < s.squeezed; ++j) {
    e.grad_hidden[j] = math::activation_gradient<A>(se.activation, e.grad_hidden[j], e.sums[j], math::ScalarExp{});
  }
  zero(e.grad_pooled, s.channels);
  for (int64_t j = 0; j < s.squeezed; ++j)
    add_scaled(e.grad_pooled, e.grad_hidden[j], se.w1 + j * s.channels, s.channels);
}

}  // namespace frnet::cpu::FRNET_ISA
