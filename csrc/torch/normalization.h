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

  // Statistics of an earlier forward pass.
  void take(const char* op, const Convolution& conv, const Tensor& given_mean, const Tensor& given_variance) {
    mean = check_values(op, "mean", given_mean, conv.shape.channels, conv.x);
    variance = check_values(op, "variance", given_variance, conv.shape.channels, conv.x);
  }

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
  // The same of the whole convolution.
  template <typename T, typename Device>
  void measure(const Device& device, const Convolution& conv) const {
    const Workspace scratch = device.template depthwise_conv2d_statistics_workspace<T>(conv.x, conv.shape);
    measure<T>(device, ConvInput<T>{data<T>(conv.x)}, conv.weights<T>(), conv.biases<T>(), conv.shape, 0,
               scratch.get());
  }
  template <typename A, typename Device>
  void fold(const Device& device, int64_t channels, int64_t first) const {
    device.template fold_batch_norm<A>(get<A>(first), mutable_data<A>(scale) + first, mutable_data<A>(shift) + first,
                                       channels);
  }
};

// Both passes of a backward with batch statistics over `channels` channels from `first` on: sums(sum_g, sum_gv), then
// gradients(constant, linear). scratch: [4, channels].
template <typename A, typename Device, typename Sums, typename Gradients>
void in_two_passes(const Device& device, const Normalization& norm, int64_t first, int64_t channels, int64_t count,
                   A* grad_gamma, A* grad_beta, A* scratch, const Sums& sums, const Gradients& gradients) {
  A* sum_g = grad_beta != nullptr ? grad_beta : scratch;
  A *sum_gv = scratch + channels, *constant = scratch + 2 * channels, *linear = scratch + 3 * channels;
  sums(sum_g, sum_gv);
  device.template batch_norm_terms<A>(norm.get<A>(first), sum_g, sum_gv, count, constant, linear, grad_gamma, channels);
  gradients(constant, linear);
}

// The same of the convolution alone; `gradient` and `output` point at the slice.
template <typename T, typename Device>
void backward_through_statistics(const Device& device, ConvGradient<T> gradient, ConvGradientOutput<T> output,
                                 const Normalization& norm, const DepthwiseConv2dShape& shape, int64_t first,
                                 int64_t count, accumulator_t<T>* grad_gamma, accumulator_t<T>* grad_beta,
                                 accumulator_t<T>* sums, void* scratch) {
  using A = accumulator_t<T>;
  in_two_passes<A>(
      device, norm, first, shape.channels, count, grad_gamma, grad_beta, sums,
      [&](A* sum_g, A* sum_gv) {
        device.template depthwise_conv2d_backward_sums<T>(gradient, sum_g, sum_gv, shape, scratch);
      },
      [&](A* constant, A* linear) {
        gradient.constant = constant;
        gradient.linear = linear;
        device.template depthwise_conv2d_backward<T>(gradient, output, shape, scratch);
      });
}

}  // namespace frnet::binding
