// Folding of batch statistics and the terms of their gradient, against Ioffe and Szegedy's formulas over the values
// themselves rather than over their sums.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "device_buffer.h"
#include "frnet/batch_norm.h"

namespace {

using test::DeviceBuffer;
using test::Expected;

// Per channel: values v of a batch, the gradients g that reach the normalised ones, and what follows from them.
template <typename A>
void check_channels(size_t channels, size_t count, bool with_gamma, bool with_beta, bool with_grad_gamma) {
  const A epsilon = A(1e-3);
  const auto gamma = test::random_values<A>(channels, 1);
  const auto beta = test::random_values<A>(channels, 2);
  const auto values = test::random_values<A>(channels * count, 3);
  const auto grads = test::random_values<A>(channels * count, 4);
  std::vector<A> mean(channels), variance(channels), sum_g(channels), sum_gv(channels);
  for (size_t c = 0; c < channels; ++c) {
    double v_sum = 0, squares = 0, g_sum = 0, gv_sum = 0;
    for (size_t i = c * count; i < (c + 1) * count; ++i) {
      v_sum += values[i];
      g_sum += grads[i];
      gv_sum += static_cast<double>(grads[i]) * values[i];
    }
    for (size_t i = c * count; i < (c + 1) * count; ++i) {
      squares += std::pow(values[i] - v_sum / static_cast<double>(count), 2);
    }
    mean[c] = static_cast<A>(v_sum / static_cast<double>(count));
    variance[c] = static_cast<A>(squares / static_cast<double>(count));
    sum_g[c] = static_cast<A>(g_sum);
    sum_gv[c] = static_cast<A>(gv_sum);
  }

  DeviceBuffer<A> d_gamma(gamma), d_beta(beta), d_mean(mean), d_variance(variance), d_sum_g(sum_g), d_sum_gv(sum_gv);
  DeviceBuffer<A> scale(channels), shift(channels), constant(channels), linear(channels), grad_gamma(channels);
  const frnet::BatchNorm<A> norm{with_gamma ? d_gamma.data() : nullptr, with_beta ? d_beta.data() : nullptr,
                                 d_mean.data(), d_variance.data(), epsilon};
  const auto c64 = static_cast<int64_t>(channels);
  launchers::fold_batch_norm(norm, scale.data(), shift.data(), c64, test::kExecution);
  launchers::batch_norm_terms<A>(norm, d_sum_g.data(), d_sum_gv.data(), static_cast<int64_t>(count), constant.data(),
                                 linear.data(), with_grad_gamma ? grad_gamma.data() : nullptr, c64, test::kExecution);

  std::vector<Expected> want_scale(channels), want_shift(channels), want_grad_gamma(channels);
  std::vector<Expected> grad_v(channels * count), want_grad_v(channels * count);
  const std::vector<A> got_scale = scale.download(), got_constant = constant.download(), got_linear = linear.download();
  for (size_t c = 0; c < channels; ++c) {
    const double inv_std = 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    const double g = with_gamma ? gamma[c] : A(1);
    want_scale[c].add(g * inv_std);
    want_shift[c].add(with_beta ? beta[c] : A(0));
    want_shift[c].add(-g * inv_std * mean[c]);
    const double n = static_cast<double>(count);
    Expected dot;  // sum of g times the normalised value
    for (size_t i = c * count; i < (c + 1) * count; ++i) {
      dot.add(grads[i] * (values[i] - static_cast<double>(mean[c])) * inv_std);
    }
    want_grad_gamma[c] = dot;
    want_grad_gamma[c].magnitude += inv_std * n;  // the rounding of the sums that the kernel was given
    for (size_t i = c * count; i < (c + 1) * count; ++i) {
      const double normalised = (values[i] - static_cast<double>(mean[c])) * inv_std;
      Expected& want = want_grad_v[i];
      want.add(g * inv_std * grads[i]);
      want.add(-g * inv_std * sum_g[c] / n);
      want.add(-g * inv_std * normalised * dot.value / n);
      want.magnitude += std::fabs(g) * inv_std * inv_std * (1 + std::fabs(normalised));
      grad_v[i].value = static_cast<double>(got_scale[c]) * grads[i] + got_constant[c] +
                        static_cast<double>(got_linear[c]) * values[i];
    }
  }
  test::require_close(got_scale, want_scale, "scale");
  test::require_close(shift.download(), want_shift, "shift");
  if (with_grad_gamma) test::require_close(grad_gamma.download(), want_grad_gamma, "grad_gamma");
  std::vector<A> rounded(grad_v.size());
  for (size_t i = 0; i < rounded.size(); ++i) rounded[i] = static_cast<A>(grad_v[i].value);
  test::require_close(rounded, want_grad_v, "scale * g + constant + linear * v");
}

template <typename A>
void check_type(const char* type) {
  for (const size_t channels : {0, 1, 7, 256, 301}) {
    for (const int nulls : {0, 1, 2, 4, 7}) {
      test::run(std::string(type) + " " + std::to_string(channels) + " channels, nulls " + std::to_string(nulls) + ": ",
                [&] { check_channels<A>(channels, 41, !(nulls & 1), !(nulls & 2), !(nulls & 4)); });
    }
  }
}

}  // namespace

int main() {
  if (!test::have_device()) {
    std::printf("skipped: this machine cannot run these kernels\n");
    return test::kSkipped;
  }
  check_type<float>("float");
  check_type<double>("double");
  return test::finish();
}
