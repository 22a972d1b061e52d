// The arguments that every op with a convolution begins with, and the epilogue's.
#pragma once

#include <optional>

#include "frnet/depthwise_conv2d.h"
#include "math/conv_index.h"
#include "torch/tensors.h"

// As they stand in the schemas.
#define FRNET_CONV_SCHEMA                                                                                             \
  "Tensor x, Tensor weight, Tensor? bias, int stride_h, int stride_w, int padding_h, int padding_w, int dilation_h, " \
  "int dilation_w"
#define FRNET_CONV_PARAMETERS                                                                                 \
  Tensor x, Tensor weight, std::optional<Tensor> bias, int64_t stride_h, int64_t stride_w, int64_t padding_h, \
      int64_t padding_w, int64_t dilation_h, int64_t dilation_w
#define FRNET_CONV_ARGUMENTS x, weight, bias, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w
#define FRNET_EPILOGUE_SCHEMA "Tensor? scale, Tensor? shift, int activation"
#define FRNET_EPILOGUE_PARAMETERS std::optional<Tensor> scale, std::optional<Tensor> shift, int64_t activation

namespace frnet::binding {

// The type that everything per channel but weight and bias has.
inline ScalarType accumulation_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// [size], of x's accumulation type.
inline Tensor empty_values(int64_t size, const Tensor& x) {
  const int64_t sizes[] = {size};
  return empty(sizes, accumulation_dtype(x.scalar_type()), x);
}

// A contiguous [size] tensor of x's accumulation type.
inline Tensor check_values(const char* op, const char* name, const Tensor& values, int64_t size, const Tensor& x) {
  STD_TORCH_CHECK(values.dim() == 1 && values.size(0) == size, op, ": wanted ", name, " of ", size, " values");
  STD_TORCH_CHECK(values.scalar_type() == accumulation_dtype(x.scalar_type()), op, ": ", name,
                  " must be of the accumulation type: float32, or float64 where x is");
  STD_TORCH_CHECK(values.device() == x.device(), op, ": x and ", name, " are on different devices");
  return torch::stable::contiguous(values);
}

inline std::optional<Tensor> check_values(const char* op, const char* name, const std::optional<Tensor>& values,
                                          int64_t size, const Tensor& x) {
  return values ? std::optional<Tensor>(check_values(op, name, *values, size, x)) : std::nullopt;
}

inline Activation check_activation(const char* op, int64_t activation) {
  STD_TORCH_CHECK(activation >= 0 && activation <= static_cast<int64_t>(Activation::silu), op, ": no activation ",
                  activation);
  return static_cast<Activation>(activation);
}

// Checked, and dense in x's layout.
struct Convolution {
  Tensor x, weight;
  std::optional<Tensor> bias;
  DepthwiseConv2dShape shape;

  Convolution(const char* op, FRNET_CONV_PARAMETERS) : x(x), weight(weight), bias(bias) {
    STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4, op, ": wanted x [n, c, h, w] and weight [c, 1, kh, kw]");
    STD_TORCH_CHECK(weight.size(0) == x.size(1) && weight.size(1) == 1, op, ": weight does not fit x's channels");
    STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type(), op, ": x and weight differ in dtype");
    STD_TORCH_CHECK(weight.device() == x.device(), op, ": x and weight are on different devices");
    STD_TORCH_CHECK(
        stride_h > 0 && stride_w > 0 && dilation_h > 0 && dilation_w > 0 && padding_h >= 0 && padding_w >= 0, op,
        ": stride and dilation must be positive, padding not negative");
    const int64_t kernel_h = weight.size(2), kernel_w = weight.size(3);
    const int64_t out_h = math::conv_output_size(x.size(2), kernel_h, stride_h, padding_h, dilation_h);
    const int64_t out_w = math::conv_output_size(x.size(3), kernel_w, stride_w, padding_w, dilation_w);
    STD_TORCH_CHECK(kernel_h > 0 && kernel_w > 0 && out_h > 0 && out_w > 0, op,
                    ": the kernel is larger than the padded input");
    if (bias) {
      STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == x.size(1), op, ": wanted a bias of one value per channel");
      STD_TORCH_CHECK(bias->scalar_type() == x.scalar_type(), op, ": x and bias differ in dtype");
      STD_TORCH_CHECK(bias->device() == x.device(), op, ": x and bias are on different devices");
      this->bias = torch::stable::contiguous(*bias);
    }
    const Layout layout = layout_of(x);
    shape = {x.size(0), x.size(1), x.size(2), x.size(3), out_h,      out_w,      kernel_h, kernel_w,
             stride_h,  stride_w,  padding_h, padding_w, dilation_h, dilation_w, layout,   x.size(1)};
    this->x = dense(x, layout);
    this->weight = torch::stable::contiguous(weight);
  }

  Tensor empty_result() const {
    const int64_t size[] = {shape.batch, shape.channels, shape.out_height, shape.out_width};
    return empty(size, x.scalar_type(), x, shape.layout);
  }
  Tensor empty_values(int64_t size) const { return binding::empty_values(size, x); }
  // A gradient of the result, dense in x's layout.
  Tensor check_gradient(const char* op, const Tensor& gradient) const {
    STD_TORCH_CHECK(gradient.dim() == 4 && gradient.size(0) == shape.batch && gradient.size(1) == shape.channels &&
                        gradient.size(2) == shape.out_height && gradient.size(3) == shape.out_width,
                    op, ": the gradient does not fit the output");
    STD_TORCH_CHECK(gradient.scalar_type() == x.scalar_type() && gradient.device() == x.device(), op,
                    ": the gradient differs from x in dtype or device");
    return dense(gradient, shape.layout);
  }
  // Values per channel behind statistics.
  int64_t count() const { return shape.batch * shape.out_height * shape.out_width; }

  // What the gradients are taken of.
  template <typename T>
  ConvGradient<T> gradient(const Tensor& grad_y, const Epilogue<accumulator_t<T>>& epilogue) const {
    ConvGradient<T> g;
    g.grad_y = data<T>(grad_y);
    g.input.x = data<T>(x);
    g.weight = weights<T>();
    g.bias = biases<T>();
    g.epilogue = epilogue;
    return g;
  }

  template <typename T>
  const T* weights() const {
    return data<T>(weight);
  }
  template <typename T>
  const T* biases() const {
    return data_or_null<T>(bias);
  }
};

struct EpilogueArguments {
  std::optional<Tensor> scale, shift;
  Activation activation;

  EpilogueArguments(const char* op, const Convolution& conv, FRNET_EPILOGUE_PARAMETERS)
      : scale(check_values(op, "scale", scale, conv.shape.channels, conv.x)),
        shift(check_values(op, "shift", shift, conv.shape.channels, conv.x)),
        activation(check_activation(op, activation)) {}

  template <typename A>
  Epilogue<A> get() const {
    return {data_or_null<A>(scale), data_or_null<A>(shift), activation};
  }
};

// The gradients of an op with a convolution that were asked for; the others stay empty tensors. `first` and `second`
// are scale and shift, or gamma and beta.
struct ConvolutionGradients {
  Tensor x, weight, bias, first, second;

  ConvolutionGradients(const Convolution& conv, bool needs_x, bool needs_weight, bool needs_bias, bool needs_first,
                       bool needs_second)
      : x(needs_x ? torch::stable::empty_like(conv.x) : conv.empty_values(0)),
        weight(needs_weight ? torch::stable::empty_like(conv.weight) : conv.empty_values(0)),
        bias(conv.empty_values(0)),
        first(conv.empty_values(needs_first ? conv.shape.channels : 0)),
        second(conv.empty_values(needs_second ? conv.shape.channels : 0)) {
    const int64_t channels[] = {conv.shape.channels};
    if (needs_bias) bias = empty(channels, conv.x.scalar_type(), conv.x);
  }

  // Where those of the convolution itself go.
  template <typename T>
  ConvGradientOutput<T> output() const {
    ConvGradientOutput<T> o;
    o.grad_x = wanted<T>(x);
    o.grad_weight = wanted<T>(weight);
    o.grad_bias = wanted<T>(bias);
    return o;
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> tuple() const { return {x, weight, bias, first, second}; }
};

}  // namespace frnet::binding
