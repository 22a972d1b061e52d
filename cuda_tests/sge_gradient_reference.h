// The gradient of the SGE gate in double, and bounds of its error: for test_sge_gate.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "frnet/sge_gate.h"
#include "gate_reference.h"

namespace test {

struct SgeGradients {
  std::vector<Bounded> x, weight, bias;
};

// Step by step backwards through the definition. The bounds come from the same steps on magnitudes.
template <typename T>
SgeGradients sge_gradients(const frnet::SgeGateShape& s, const std::vector<T>& grad_y, const std::vector<T>& x,
                           const std::vector<frnet::accumulator_t<T>>& weight,
                           const std::vector<frnet::accumulator_t<T>>& bias) {
  const auto value = [](T v) { return static_cast<double>(frnet::math::widen(v)); };
  SgeGradients result{std::vector<Bounded>(x.size()), std::vector<Bounded>(weight.size()),
                      std::vector<Bounded>(bias.size())};
  const int64_t per_group = s.channels / s.groups;
  const auto pixels = static_cast<double>(s.pixels);
  const size_t count = static_cast<size_t>(s.pixels);
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t g = 0; g < s.groups; ++g) {
      const auto at = [&](int64_t c, int64_t p) {
        return element(s.layout, s.channels, s.pixels, n, g * per_group + c, p);
      };
      const auto each = [&](const auto& f) {
        for (int64_t c = 0; c < per_group; ++c)
          for (int64_t p = 0; p < s.pixels; ++p) f(static_cast<size_t>(c), static_cast<size_t>(p), at(c, p));
      };
      std::vector<double> m(static_cast<size_t>(per_group)), size_m(m.size()), grad_m(m.size()), size_grad_m(m.size());
      std::vector<double> t(count), size_t_(count), gate(count), grad_gate(count), size_gate(count), grad_t(count);
      each([&](size_t c, size_t, size_t i) {
        m[c] += value(x[i]) / pixels;
        size_m[c] += std::fabs(value(x[i])) / pixels;
      });
      each([&](size_t c, size_t p, size_t i) {
        t[p] += m[c] * value(x[i]);
        size_t_[p] += size_m[c] * std::fabs(value(x[i]));
        grad_gate[p] += value(grad_y[i]) * value(x[i]);
        size_gate[p] += std::fabs(value(grad_y[i]) * value(x[i]));
      });
      double mean = 0, largest_t = 0;
      for (size_t p = 0; p < count; ++p) {
        mean += t[p] / pixels;
        largest_t = std::max(largest_t, size_t_[p]);
      }
      double squares = 0;
      for (const double v : t) squares += (v - mean) * (v - mean);
      const double std = std::sqrt(squares / (pixels - 1));
      const double below = std + 1e-5;  // what t - mean is divided by
      const double w = weight[static_cast<size_t>(g)];
      const double b = bias[static_cast<size_t>(g)];

      // The relative size of the error that cancellation in t leaves in h.
      const double worse = 1 + 2 * std::fabs(w) * largest_t / below;
      std::vector<double> grad_h(count);
      double grad_below = 0, size_h_sum = 0;
      for (size_t p = 0; p < count; ++p) {
        const double h = (t[p] - mean) / below;
        gate[p] = 1 / (1 + std::exp(-(w * h + b)));
        const double grad_logit = grad_gate[p] * gate[p] * (1 - gate[p]);
        const double size = kSumError<T> * worse * size_gate[p] * 0.25;
        result.weight[static_cast<size_t>(g)].value += grad_logit * h;
        result.weight[static_cast<size_t>(g)].error += size * (std::fabs(h) + 2 * largest_t / below);
        result.bias[static_cast<size_t>(g)].value += grad_logit;
        result.bias[static_cast<size_t>(g)].error += size;
        grad_h[p] = grad_logit * w;
        grad_below -= grad_h[p] * h / below;
        size_h_sum += std::fabs(w) * size_gate[p] * 0.25;
      }
      double mean_deviation_gradient = 0;
      for (size_t p = 0; p < count; ++p) {
        const double grad_std = std == 0 ? 0 : grad_below * (t[p] - mean) / (std * (pixels - 1));
        grad_t[p] = grad_h[p] / below + grad_std;
        mean_deviation_gradient += grad_t[p] / pixels;
      }
      for (double& v : grad_t) v -= mean_deviation_gradient;
      const auto size_grad_t = [&](size_t p) {
        const double h = std::fabs(t[p] - mean) / below;
        return worse * (std::fabs(w) * size_gate[p] * 0.25 + size_h_sum / pixels * (1 + h) * (1 + largest_t / below)) /
               below;
      };
      each([&](size_t c, size_t p, size_t i) {
        grad_m[c] += grad_t[p] * value(x[i]);
        size_grad_m[c] += size_grad_t(p) * std::fabs(value(x[i]));
      });
      each([&](size_t c, size_t p, size_t i) {
        result.x[i].value = value(grad_y[i]) * gate[p] + grad_t[p] * m[c] + grad_m[c] / pixels;
        result.x[i].error =
            kSumError<T> * (worse * std::fabs(value(grad_y[i])) + size_grad_t(p) * size_m[c] + size_grad_m[c] / pixels);
      });
    }
  return result;
}

}  // namespace test
