// Activations and their derivatives, as torch defines them; a NaN passes through.
//
// V is a floating type or a vector of one; Exp is a function object with the exponential of V, since the vectors of
// csrc/cpu have their own.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "math/host_device.h"

namespace frnet {

// What the torch ops and the modules call 0, 1, 2, ...
enum class Activation : int32_t { none, relu, relu6, hardswish, silu };

// The two gates of squeeze-and-excitation.
enum class GateFunction : int32_t { sigmoid, hardsigmoid };

namespace math {

// Calls run with the activation as an integral constant, so that a loop inside it has no choice left to make.
template <typename F>
FRNET_HD void with_activation(Activation activation, const F& run) {
  switch (activation) {
    case Activation::none:
      return run(std::integral_constant<Activation, Activation::none>{});
    case Activation::relu:
      return run(std::integral_constant<Activation, Activation::relu>{});
    case Activation::relu6:
      return run(std::integral_constant<Activation, Activation::relu6>{});
    case Activation::hardswish:
      return run(std::integral_constant<Activation, Activation::hardswish>{});
    case Activation::silu:
      return run(std::integral_constant<Activation, Activation::silu>{});
  }
}

// The exponential of single values.
struct ScalarExp {
  FRNET_HD float operator()(float value) const { return std::exp(value); }
  FRNET_HD double operator()(double value) const { return std::exp(value); }
};

// A is the type of V's elements.
template <typename A, typename V, typename Exp>
FRNET_HD V sigmoid(V v, const Exp& exp) {
  return A(1) / (A(1) + exp(-v));
}

template <typename A, typename V>
FRNET_HD V hardsigmoid(V v) {
  const V zero = {}, six = zero + A(6), shifted = v + A(3);
  const V above = shifted < A(0) ? zero : shifted;
  return (above > A(6) ? six : above) / A(6);
}

template <typename A, typename V, typename Exp>
FRNET_HD V activate(Activation activation, V v, const Exp& exp) {
  const V zero = {}, six = zero + A(6);
  switch (activation) {
    case Activation::none:
      return v;
    case Activation::relu:
      return v < A(0) ? zero : v;
    case Activation::relu6: {
      const V above = v < A(0) ? zero : v;
      return above > A(6) ? six : above;
    }
    case Activation::hardswish:
      return v * hardsigmoid<A>(v);
    case Activation::silu:
      return v * sigmoid<A>(v, exp);
  }
  return v;
}

// grad * activation'(v); zero, not 0 * grad, where the derivative is zero.
template <typename A, typename V, typename Exp>
FRNET_HD V activation_gradient(Activation activation, V v, V grad, const Exp& exp) {
  const V zero = {};
  switch (activation) {
    case Activation::none:
      return grad;
    case Activation::relu:
      return v <= A(0) ? zero : grad;
    case Activation::relu6: {
      const V below = v >= A(6) ? zero : grad;
      return v <= A(0) ? zero : below;
    }
    case Activation::hardswish: {
      const V slope = grad * (v / A(3) + A(0.5));
      const V inside = v >= A(3) ? grad : slope;
      return v <= A(-3) ? zero : inside;
    }
    case Activation::silu: {
      const V s = sigmoid<A>(v, exp);
      return grad * s * (A(1) + v * (A(1) - s));
    }
  }
  return grad;
}

template <typename A, typename V, typename Exp>
FRNET_HD V gate_value(GateFunction gate, V v, const Exp& exp) {
  return gate == GateFunction::sigmoid ? sigmoid<A>(v, exp) : hardsigmoid<A>(v);
}

template <typename A, typename V, typename Exp>
FRNET_HD V gate_gradient(GateFunction gate, V v, V grad, const Exp& exp) {
  if (gate == GateFunction::sigmoid) {
    const V s = sigmoid<A>(v, exp);
    return grad * s * (A(1) - s);
  }
  const V zero = {}, slope = grad / A(6);
  const V below = v >= A(3) ? zero : slope;
  return v <= A(-3) ? zero : below;
}

}  // namespace math
}  // namespace frnet
