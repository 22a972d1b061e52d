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

// to[r] = the dot product of `in` and row r of a matrix: of as many rows at a time as a vector has lanes, whose
// products are added up side by side.
template <typename A>
void multiply_rows(const A* matrix, const A* in, A* to, int64_t rows, int64_t columns) {
  constexpr int64_t kL = kLanes<A>;
  int64_t r = 0;
  for (; r + kL <= rows; r += kL) {
    Vec<A> sums[kL] = {};
    for (int64_t i = 0; i < columns; i += kL) {
      const int64_t lanes = min(kL, columns - i);
      const Vec<A> value = load_some(in + i, lanes);
#pragma GCC unroll 16
      for (int64_t k = 0; k < kL; ++k) sums[k] += value * load_some(matrix + (r + k) * columns + i, lanes);
    }
    transpose<A>(sums);
    Vec<A> sum = sums[0];
#pragma GCC unroll 16
    for (int64_t k = 1; k < kL; ++k) sum += sums[k];
    store(to + r, sum);
  }
  for (; r < rows; ++r) to[r] = dot(matrix + r * columns, in, columns);
}

// to[i] = the sum over k in [0, terms) of factor(k) * row(k)[i], in registers.
template <typename A, typename Factor, typename Row>
void add_rows(A* to, int64_t count, int64_t terms, const Factor& factor, const Row& row) {
  constexpr int64_t kL = kLanes<A>;
  constexpr int64_t kVectors = 4;
  int64_t i = 0;
  for (; i + kVectors * kL <= count; i += kVectors * kL) {
    Vec<A> sums[kVectors] = {};
    for (int64_t k = 0; k < terms; ++k) {
      const A* from = row(k) + i;
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) sums[v] += factor(k) * load(from + v * kL);
    }
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) store(to + i + v * kL, sums[v]);
  }
  for (; i < count; i += kL) {
    const int64_t lanes = min(kL, count - i);
    Vec<A> sum = {};
    for (int64_t k = 0; k < terms; ++k) sum += factor(k) * load_some(row(k) + i, lanes);
    store_some(to + i, sum, lanes);
  }
}

// What is kept of one image, in arrays over all of them: [batch, channels] of what a channel has, then [batch,
// squeezed]. The backward pass needs all of it, the forward pass the pooled values, the hidden ones and the gate.
template <typename A>
struct Excitation {
  A* pooled;       // [channels]
  A* gate;         // [channels]
  A* grad_gate;    // [channels], of what goes into the gate function
  A* grad_pooled;  // [channels]
  A* hidden;       // [squeezed], after the activation
  A* grad_hidden;  // [squeezed], of what goes into the activation
  A* sums;         // [squeezed], of the activation's result

  static int64_t values(const SeGateShape& s) { return s.batch * (4 * s.channels + 3 * s.squeezed); }

  Excitation(A* data, int64_t n, const SeGateShape& s) {
    A* hiddens = data + 4 * s.batch * s.channels;
    A** const of_channels[] = {&pooled, &gate, &grad_gate, &grad_pooled};
    A** const of_squeezed[] = {&hidden, &grad_hidden, &sums};
    for (int64_t k = 0; k < 4; ++k) *of_channels[k] = data + (k * s.batch + n) * s.channels;
    for (int64_t k = 0; k < 3; ++k) *of_squeezed[k] = hiddens + (k * s.batch + n) * s.squeezed;
  }
};

// pooled -> hidden, gate. The inputs of activation and gate function are kept in grad_hidden and grad_gate.
template <typename A>
void excite(const SeGate<A>& se, const Excitation<A>& e, const SeGateShape& s) {
  multiply_rows(se.w1, e.pooled, e.grad_hidden, s.squeezed, s.channels);
  for (int64_t j = 0; j < s.squeezed; ++j) {
    if (se.b1 != nullptr) e.grad_hidden[j] += se.b1[j];
    e.hidden[j] = math::activate<A>(se.activation, e.grad_hidden[j], math::ScalarExp{});
  }
  multiply_rows(se.w2, e.hidden, e.grad_gate, s.channels, s.squeezed);
  for (int64_t c = 0; se.b2 != nullptr && c < s.channels; ++c) e.grad_gate[c] += se.b2[c];
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
  add_rows(
      e.sums, s.squeezed, s.channels, [&](int64_t c) { return e.grad_gate[c]; },
      [&](int64_t c) { return se.w2 + c * s.squeezed; });
  for (int64_t j = 0; j < s.squeezed; ++j) {
    e.grad_hidden[j] = math::activation_gradient<A>(se.activation, e.grad_hidden[j], e.sums[j], math::ScalarExp{});
  }
  add_rows(
      e.grad_pooled, s.channels, s.squeezed, [&](int64_t j) { return e.grad_hidden[j]; },
      [&](int64_t j) { return se.w1 + j * s.channels; });
}

}  // namespace frnet::cpu::FRNET_ISA
