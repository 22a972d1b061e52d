// Batch normalisation with the statistics of a convolution's own result: the arguments of the ops in training mode.
#pragma once

#include "torch/convolution.h"
#include "torch/devices.h"

#define FRNET_NORM_SCHEMA "Tensor? gamma, Tensor? beta, float epsilon, int activation"
#define FRNET_NORM_PARAMETERS \
  std::optional<Tensor> gamma, std::optional<Tensor> beta, double epsilon, int64_t activation
#define FRNET_NORM_ARGUMENTS gamma, beta, epsilon, activation

namespace frnet::binding {

// gamma and beta as given, mean and variance to be filled or as given, scale and shift computed from them.
struct Normalization {
  std::optional<Tensor> gamma, beta;
  Tensor mean, variance, scale, shift;
  double epsilon;
  Activation activation;

  Normalization(const char* op, const Convolution& conv, FRNET_NORM_PARAMETERS)
      : gamma(check_values(op, "gamma", gamma, conv.shape.channels, conv.x)),
        beta(check_values(op, "beta", beta, conv.shape.channels, conv.x)),
        mean(conv.empty_values(conv.shape.channels)),
        variance(conv.empty_values(conv.shape.channels)),
        scale(conv.empty_values(conv.shape.channels)),
        shift(conv.empty_values(conv.shape.channels)),
        epsilon(epsilon),
        activation(check_activation(op, activation)) {}

  // The parameters of channels from `first` on.
  template <typename A>
  BatchNorm<A> get(int64_t first) const {
    const auto from = [first](const std::optional<Tensor>& values) {
      return values ? data<A>(*values) + first : nullptr;
    };
    return {from(gamma), from(beta), data<A>(mean) + first, data<A>(variance) + first, static_cast<A>(epsilon)};
  }
  template <typename A>
  Epilogue<A> epilogue(int64_t first) const {
    return {data<A>(scale) + first, data<A>(shift) + first, activation};
  }

  // Statistics of `count` channels from `first` on, and what they make of scale and shift. shape: that slice.
  template <typename T, typename Device>
  void measure(const Device& device, const ConvInput<T>& input, const T* weight, const T* bias,
               const DepthwiseConv2dShape& shape, int64_t first, void* scratch) const {
    using A = accumulator_t<T>;
    device.template depthwise_conv2d_statistics<T>(input, weight, bias, mutable_data<A>(mean) + first,
                                                   mutable_data<A>(variance) + first, shape, scratch);
    fold<A>(device, shape.channels, first);
  }
  template <typename A, typename Device>
  void fold(const Device& device, int64_t channels, int64_t first) const {
    device.template fold_batch_norm<A>(get<A>(first), mutable_data<A>(scale) + first, mutable_data<A>(shift) + first,
                                       channels);
  }
};

// Both passes of the backward over a slice of channels from `first` on: `gradient` and `output` point at the slice;
// sums are [4, channels] of scratch: sum_g, sum_gv, constant, linear.
template <typename T, typename Device>
void backward_through_statistics(const Device& device, ConvGradient<T> gradient, ConvGradientOutput<T> output,
                                 const Normalization& norm, const DepthwiseConv2dShape& shape, int64_t first,
                                 int64_t count, accumulator_t<T>* grad_gamma, accumulator_t<T>* grad_beta,
                                 accumulator_t<T>* sums, void* scratch) {
  using A = accumulator_t<T>;
  const int64_t channels = shape.channels;
  A* sum_g = grad_beta != nullptr ? grad_beta : sums;
  A *sum_gv = sums + channels, *constant = sums + 2 * channels, *linear = sums + 3 * channels;
  device.template depthwise_conv2d_backward_sums<T>(gradient, sum_g, sum_gv, shape, scratch);
  device.template batch_norm_terms<A>(norm.get<A>(first), sum_g, sum_gv, count, constant, linear, grad_gamma, channels);
  gradient.constant = constant;
  gradient.linear = linear;
  device.template depthwise_conv2d_backward<T>(gradient, output, shape, scratch);
}

}  // namespace frnet::binding
