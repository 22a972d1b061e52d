// Batch normalisation with the statistics of a convolution's own result: the arguments of the ops in training mode.
#pragma once

#include "torch/convolution.h"
#include "torch/devices.h"

#define FRNET_NORM_SCHEMA "Tensor? gamma, Tensor? beta, float epsilon, int activation"
#define FRNET_NORM_PARAMETERS \
  std::optional<Tensor> gamma, std::optional<Tensor> beta, double epsilon, int64_t activation
#define FRNET_NORM_ARGUMENTS gamma, beta, epsilon, activation

namespace frnet::binding {

// gamma and beta as given, mean and variance to be filled or as given.
struct Normalization {
  std::optional<Tensor> gamma, beta;
  Tensor mean, variance;
  double epsilon;
  Activation activation;

  // x: of what the statistics are, or what has as many channels.
  Normalization(const char* op, const Tensor& x, FRNET_NORM_PARAMETERS)
      : gamma(check_values(op, "gamma", gamma, x.size(1), x)),
        beta(check_values(op, "beta", beta, x.size(1), x)),
        mean(empty_values(x.size(1), x)),
        variance(empty_values(x.size(1), x)),
        epsilon(epsilon),
        activation(check_activation(op, activation)) {}

  // Statistics of an earlier forward pass.
  void take(const char* op, const Tensor& x, const Tensor& given_mean, const Tensor& given_variance) {
    mean = check_values(op, "mean", given_mean, x.size(1), x);
    variance = check_values(op, "variance", given_variance, x.size(1), x);
  }

  // The parameters of channels from `first` on.
  template <typename A>
  BatchNorm<A> get(int64_t first = 0) const {
    const auto from = [first](const std::optional<Tensor>& values) {
      return values ? data<A>(*values) + first : nullptr;
    };
    return {from(gamma), from(beta), data<A>(mean) + first, data<A>(variance) + first, static_cast<A>(epsilon)};
  }
};

// With the scale and the shift that given statistics make: for the gradient of a convolution with a gate behind it.
struct FoldedNormalization : Normalization {
  Tensor scale, shift;

  FoldedNormalization(const char* op, const Convolution& conv, FRNET_NORM_PARAMETERS)
      : Normalization(op, conv.x, FRNET_NORM_ARGUMENTS),
        scale(conv.empty_values(conv.shape.channels)),
        shift(conv.empty_values(conv.shape.channels)) {}

  template <typename A, typename Device>
  Epilogue<A> epilogue(const Device& device) const {
    device.template fold_batch_norm<A>(get<A>(), mutable_data<A>(scale), mutable_data<A>(shift), scale.size(0));
    return {data<A>(scale), data<A>(shift), activation};
  }
};

// Both passes of a backward with batch statistics: sums(sum_g, sum_gv), then gradients(constant, linear). first and
// second of the gradients are those of gamma and beta.
template <typename A, typename Device, typename Sums, typename Gradients>
void in_two_passes(const Device& device, const Convolution& conv, const Normalization& norm,
                   const ConvolutionGradients& wanted_gradients, const Sums& sums, const Gradients& gradients) {
  const int64_t channels = conv.shape.channels;
  const Tensor values = conv.empty_values(4 * channels);
  A* const scratch = mutable_data<A>(values);
  A* const grad_beta = wanted<A>(wanted_gradients.second);
  A* const sum_g = grad_beta != nullptr ? grad_beta : scratch;
  A *const sum_gv = scratch + channels, *const constant = scratch + 2 * channels,
           *const linear = scratch + 3 * channels;
  sums(sum_g, sum_gv);
  device.template batch_norm_terms<A>(norm.get<A>(), sum_g, sum_gv, conv.count(), constant, linear,
                                      wanted<A>(wanted_gradients.first), channels);
  gradients(constant, linear);
}

}  // namespace frnet::binding
