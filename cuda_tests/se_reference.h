// Squeeze and excitation and its gradient in double, each value with a bound of the error that the arithmetic of the
// kernels may bring to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "frnet/se_gate.h"
#include "gate_reference.h"

namespace test {

// Empty biases: none.
template <typename A>
struct SeLayers {
  std::vector<A> w1, b1, w2, b2;
  frnet::Activation activation;
  frnet::GateFunction gate;
};

inline double gate_value(frnet::GateFunction gate, double v) {
  return gate == frnet::GateFunction::sigmoid ? 1 / (1 + std::exp(-v)) : std::min(std::max(v + 3, 0.0), 6.0) / 6;
}

inline double gate_slope(frnet::GateFunction gate, double v) {
  const double s = gate_value(frnet::GateFunction::sigmoid, v);
  return gate == frnet::GateFunction::sigmoid ? s * (1 - s) : v > -3 && v < 3 ? 1.0 / 6 : 0;
}

// One image's gate, and everything on the way to it.
struct Excited {
  std::vector<Bounded> before, hidden, logits, gates;
};

template <typename T>
Excited excite(const SeLayers<frnet::accumulator_t<T>>& layers, const std::vector<Bounded>& pooled, size_t squeezed) {
  const auto layer = [](const auto& weights, const auto& bias, const std::vector<Bounded>& in, size_t rows) {
    std::vector<Bounded> out(rows);
    for (size_t i = 0; i < rows; ++i) {
      if (!bias.empty()) out[i] = {bias[i], kSumError<T> * std::fabs(bias[i])};
      for (size_t j = 0; j < in.size(); ++j) {
        const double w = weights[i * in.size() + j];
        out[i].value += w * in[j].value;
        out[i].error += std::fabs(w) * (in[j].error + kSumError<T> * std::fabs(in[j].value));
      }
    }
    return out;
  };
  Excited result;
  result.before = layer(layers.w1, layers.b1, pooled, squeezed);
  for (const Bounded& v : result.before) {
    const double value = activate(layers.activation, v.value);
    result.hidden.push_back({value, kSteepest * v.error + kSumError<T> * std::fabs(value)});
  }
  result.logits = layer(layers.w2, layers.b2, result.hidden, pooled.size());
  for (const Bounded& v : result.logits) {
    result.gates.push_back({gate_value(layers.gate, v.value), v.error / 4 + kSumError<T>});
  }
  return result;
}

template <typename T>
std::vector<Bounded> pool(const frnet::SeGateShape& s, const std::vector<Bounded>& x, int64_t n) {
  std::vector<Bounded> pooled(static_cast<size_t>(s.channels));
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t p = 0; p < s.pixels; ++p) {
      const Bounded& v = x[element(s.layout, s.channels, s.pixels, n, c, p)];
      pooled[static_cast<size_t>(c)].value += v.value / static_cast<double>(s.pixels);
      pooled[static_cast<size_t>(c)].error +=
          (v.error + kSumError<T> * std::fabs(v.value)) / static_cast<double>(s.pixels);
    }
  return pooled;
}

// pooled_of: what the squeeze sees; x: what is scaled.
template <typename T>
std::vector<Bounded> se_gated(const frnet::SeGateShape& s, const std::vector<Bounded>& pooled_of,
                              const std::vector<Bounded>& x, const SeLayers<frnet::accumulator_t<T>>& layers) {
  std::vector<Bounded> y(x.size());
  for (int64_t n = 0; n < s.batch; ++n) {
    const Excited all = excite<T>(layers, pool<T>(s, pooled_of, n), static_cast<size_t>(s.squeezed));
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t p = 0; p < s.pixels; ++p) {
        const size_t i = element(s.layout, s.channels, s.pixels, n, c, p);
        const Bounded& gate = all.gates[static_cast<size_t>(c)];
        y[i] = {x[i].value * gate.value, x[i].error + std::fabs(x[i].value) * (gate.error + kSumError<T> * gate.value)};
      }
  }
  return y;
}

struct SeGradients {
  std::vector<Bounded> x, w1, b1, w2, b2;
};

// Backwards through the definition; error: from the magnitudes of the same terms.
template <typename T>
SeGradients se_gradients(const frnet::SeGateShape& s, const std::vector<T>& grad_y, const std::vector<T>& x,
                         const SeLayers<frnet::accumulator_t<T>>& layers) {
  const auto channels = static_cast<size_t>(s.channels);
  const auto squeezed = static_cast<size_t>(s.squeezed);
  SeGradients result{std::vector<Bounded>(x.size()), std::vector<Bounded>(layers.w1.size()),
                     std::vector<Bounded>(squeezed), std::vector<Bounded>(layers.w2.size()),
                     std::vector<Bounded>(channels)};
  const auto add = [](Bounded& to, double value, double error) {
    to.value += value;
    to.error += error;
  };
  const std::vector<Bounded> exact = exactly(x);
  for (int64_t n = 0; n < s.batch; ++n) {
    const std::vector<Bounded> pooled = pool<T>(s, exact, n);
    const Excited all = excite<T>(layers, pooled, squeezed);
    std::vector<Bounded> grad_logits(channels), grad_before(squeezed), grad_pooled(channels);
    for (int64_t c = 0; c < s.channels; ++c) {
      Bounded slope;
      for (int64_t p = 0; p < s.pixels; ++p) {
        const size_t i = element(s.layout, s.channels, s.pixels, n, c, p);
        const double product = frnet::math::widen(grad_y[i]) * static_cast<double>(frnet::math::widen(x[i]));
        add(slope, product, kSumError<T> * std::fabs(product));
      }
      const Bounded& logit = all.logits[static_cast<size_t>(c)];
      const double factor = gate_slope(layers.gate, logit.value);
      grad_logits[static_cast<size_t>(c)] = {
          slope.value * factor, slope.error * factor + std::fabs(slope.value) * (logit.error + kSumError<T>) / 4};
    }
    for (size_t r = 0; r < squeezed; ++r) {
      Bounded sum;
      for (size_t c = 0; c < channels; ++c) {
        const double w = layers.w2[c * squeezed + r];
        const Bounded& g = grad_logits[c];
        add(sum, w * g.value, std::fabs(w) * (g.error + kSumError<T> * std::fabs(g.value)));
        add(result.w2[c * squeezed + r], g.value * all.hidden[r].value,
            g.error * std::fabs(all.hidden[r].value) +
                std::fabs(g.value) * (all.hidden[r].error + kSumError<T> * std::fabs(all.hidden[r].value)));
      }
      const double factor = slope(layers.activation, all.before[r].value);
      grad_before[r] = {sum.value * factor,
                        kSteepest * sum.error + std::fabs(sum.value) * (all.before[r].error + kSumError<T>)};
      add(result.b1[r], grad_before[r].value, grad_before[r].error + kSumError<T> * std::fabs(grad_before[r].value));
      for (size_t c = 0; c < channels; ++c) {
        const double w = layers.w1[r * channels + c];
        const Bounded& g = grad_before[r];
        add(grad_pooled[c], w * g.value, std::fabs(w) * (g.error + kSumError<T> * std::fabs(g.value)));
        add(result.w1[r * channels + c], g.value * pooled[c].value,
            (g.error + kSumError<T> * std::fabs(g.value)) * std::fabs(pooled[c].value) +
                std::fabs(g.value) * pooled[c].error);
      }
    }
    for (int64_t c = 0; c < s.channels; ++c) {
      const auto at = static_cast<size_t>(c);
      add(result.b2[at], grad_logits[at].value,
          grad_logits[at].error + kSumError<T> * std::fabs(grad_logits[at].value));
      for (int64_t p = 0; p < s.pixels; ++p) {
        const size_t i = element(s.layout, s.channels, s.pixels, n, c, p);
        const double g = frnet::math::widen(grad_y[i]);
        const Bounded& term = grad_pooled[at];
        result.x[i] = {g * all.gates[at].value + term.value / static_cast<double>(s.pixels),
                       std::fabs(g) *
                           (all.gates[at].error + kSumError<T>)+(term.error + kSumError<T> * std::fabs(term.value)) /
                           static_cast<double>(s.pixels)};
      }
    }
  }
  return result;
}

}  // namespace test
