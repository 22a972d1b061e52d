// The multi-scale stage as torch ops: the fused one, the chain's backward, and both with batch statistics, split by
// split.

#include "torch/gates.h"
#include "torch/normalization.h"

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::hierarchical_depthwise_conv2d";

// One split of the channels after the other, as slices of the whole tensors.
struct Splits {
  const Convolution& conv;
  int64_t count;
  bool chained;
  DepthwiseConv2dShape shape;  // of one split

  Splits(const char* op, const Convolution& conv, int64_t splits) : conv(conv), count(splits), shape(conv.shape) {
    const DepthwiseConv2dShape& s = conv.shape;
    STD_TORCH_CHECK(splits > 0 && s.channels % splits == 0, op, ": splits must divide the channels");
    chained = s.stride_h == 1 && s.stride_w == 1;
    STD_TORCH_CHECK(!chained || (s.out_height == s.in_height && s.out_width == s.in_width), op,
                    ": with stride 1 the padding must keep the size of x");
    shape.channels = s.channels / splits;
  }

  int64_t first(int64_t split) const { return split * shape.channels; }

  template <typename T>
  T* input_slice(T* tensor, int64_t split) const {
    return slice(tensor, split, shape.in_height * shape.in_width);
  }
  template <typename T>
  T* result_slice(T* tensor, int64_t split) const {
    return slice(tensor, split, shape.out_height * shape.out_width);
  }
  // x's slice, and where chained the results of the split before.
  template <typename T>
  ConvInput<T> input(const T* u, int64_t split) const {
    return {input_slice(data<T>(conv.x), split), chained && split > 0 ? result_slice(u, split - 1) : nullptr};
  }
  template <typename T>
  const T* weight(int64_t split) const {
    return conv.weights<T>() + first(split) * shape.kernel_h * shape.kernel_w;
  }
  template <typename T>
  const T* bias(int64_t split) const {
    return conv.bias ? conv.biases<T>() + first(split) : nullptr;
  }
  // Everything but epilogue and statistics. grad_x: the gradients of the splits behind this one are there already.
  template <typename T>
  ConvGradient<T> gradient(const T* grad_u, const T* u, const T* grad_x, int64_t split) const {
    ConvGradient<T> g;
    g.grad_y = result_slice(grad_u, split);
    if (chained && split + 1 < count) g.grad_y_addend = input_slice(grad_x, split + 1);
    g.input = input(u, split);
    g.weight = weight<T>(split);
    g.bias = bias<T>(split);
    return g;
  }
  template <typename T>
  ConvGradientOutput<T> output(const ConvolutionGradients& gradients, T* grad_x, int64_t split) const {
    ConvGradientOutput<T> o;
    o.grad_x = input_slice(grad_x, split);
    if (T* weight = wanted<T>(gradients.weight)) {
      o.grad_weight = weight + first(split) * shape.kernel_h * shape.kernel_w;
    }
    if (T* bias = wanted<T>(gradients.bias)) o.grad_bias = bias + first(split);
    return o;
  }

 private:
  template <typename T>
  T* slice(T* tensor, int64_t split, int64_t pixels) const {
    return tensor + first(split) * (shape.layout == Layout::channels_last ? 1 : pixels);
  }
};

template <typename A>
A* from(A* values, int64_t first) {
  return values == nullptr ? nullptr : values + first;
}

template <typename Device>
Tensor forward(FRNET_CONV_PARAMETERS, FRNET_EPILOGUE_PARAMETERS, int64_t splits, std::optional<Tensor> out_scale,
               std::optional<Tensor> out_shift, std::optional<Tensor> sge_weight, std::optional<Tensor> sge_bias,
               int64_t groups) {
  const Convolution conv(kOp, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kOp, conv, scale, shift, activation);
  const Splits split(kOp, conv, splits);
  out_scale = check_values(kOp, "out_scale", out_scale, conv.shape.channels, conv.x);
  out_shift = check_values(kOp, "out_shift", out_shift, conv.shape.channels, conv.x);
  STD_TORCH_CHECK(groups >= 0 && (groups == 0 || conv.shape.channels % groups == 0), kOp,
                  ": groups must divide the channels");
  STD_TORCH_CHECK(groups == 0 || (sge_weight && sge_bias), kOp, ": a gate needs sge_weight and sge_bias");
  std::optional<SgeArguments> gate;
  if (groups > 0) gate.emplace(kOp, *sge_weight, *sge_bias, groups, conv.x);
  Tensor y = conv.empty_result();
  const HierarchicalShape shape{conv.shape, splits, split.chained, groups};
  const Device device(conv.x);
  for_floating_type(kOp, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const HierarchicalConv<T> stage{data<T>(conv.x),
                                    conv.weights<T>(),
                                    conv.biases<T>(),
                                    epilogue.get<A>(),
                                    data_or_null<A>(out_scale),
                                    data_or_null<A>(out_shift),
                                    gate ? gate->get<A>() : SgeGate<A>{nullptr, nullptr}};
    const Workspace scratch = device.template hierarchical_depthwise_conv2d_workspace<T>(conv.x, shape);
    device.template hierarchical_depthwise_conv2d<T>(stage, mutable_data<T>(y), shape, scratch.get());
  });
  return y;
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(Tensor grad_u, Tensor u, FRNET_CONV_PARAMETERS,
                                                            FRNET_EPILOGUE_PARAMETERS, int64_t splits, bool needs_x,
                                                            bool needs_weight, bool needs_bias, bool needs_scale,
                                                            bool needs_shift) {
  constexpr const char* kBackward = "frnet::hierarchical_depthwise_conv2d_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  const EpilogueArguments epilogue(kBackward, conv, scale, shift, activation);
  const Splits split(kBackward, conv, splits);
  grad_u = conv.check_gradient(kBackward, grad_u);
  u = conv.check_gradient(kBackward, u);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_scale, needs_shift);
  const Tensor grad_x = needs_x ? gradients.x : torch::stable::empty_like(conv.x);  // the chain needs it
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_backward_workspace<T>(conv.x, split.shape);
    const Epilogue<A> all = epilogue.get<A>();
    for (int64_t i = splits - 1; i >= 0; --i) {
      ConvGradient<T> gradient = split.gradient(data<T>(grad_u), data<T>(u), data<T>(grad_x), i);
      gradient.epilogue = {from(all.scale, split.first(i)), from(all.shift, split.first(i)), all.activation};
      ConvGradientOutput<T> output = split.output(gradients, mutable_data<T>(grad_x), i);
      output.grad_scale = from(wanted<A>(gradients.first), split.first(i));
      output.grad_shift = from(wanted<A>(gradients.second), split.first(i));
      device.template depthwise_conv2d_backward<T>(gradient, output, split.shape, scratch.get());
    }
  });
  return gradients.tuple();
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor> forward_with_statistics(FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS,
                                                           int64_t splits) {
  constexpr const char* kTraining = "frnet::hierarchical_depthwise_conv2d_bn_act";
  const Convolution conv(kTraining, FRNET_CONV_ARGUMENTS);
  const Normalization norm(kTraining, conv.x, FRNET_NORM_ARGUMENTS);
  const Splits split(kTraining, conv, splits);
  Tensor u = conv.empty_result();
  const Device device(conv.x);
  for_floating_type(kTraining, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_bn_act_workspace<T>(conv.x, split.shape);
    for (int64_t i = 0; i < splits; ++i) {
      const int64_t first = split.first(i);
      device.template depthwise_conv2d_bn_act<T>(
          split.input(data<T>(u), i), split.weight<T>(i), split.bias<T>(i), norm.get<A>(first), norm.activation,
          mutable_data<A>(norm.mean) + first, mutable_data<A>(norm.variance) + first,
          split.result_slice(mutable_data<T>(u), i), split.shape, scratch.get());
    }
  });
  return {u, norm.mean, norm.variance};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward_with_statistics(
    Tensor grad_u, Tensor u, FRNET_CONV_PARAMETERS, FRNET_NORM_PARAMETERS, Tensor mean, Tensor variance, int64_t splits,
    bool needs_x, bool needs_weight, bool needs_bias, bool needs_gamma, bool needs_beta) {
  constexpr const char* kBackward = "frnet::hierarchical_depthwise_conv2d_bn_act_backward";
  const Convolution conv(kBackward, FRNET_CONV_ARGUMENTS);
  Normalization norm(kBackward, conv.x, FRNET_NORM_ARGUMENTS);
  norm.take(kBackward, conv.x, mean, variance);
  const Splits split(kBackward, conv, splits);
  grad_u = conv.check_gradient(kBackward, grad_u);
  u = conv.check_gradient(kBackward, u);
  const ConvolutionGradients gradients(conv, needs_x, needs_weight, needs_bias, needs_gamma, needs_beta);
  const Tensor grad_x = needs_x ? gradients.x : torch::stable::empty_like(conv.x);  // the chain needs it
  const Device device(conv.x);
  for_floating_type(kBackward, conv.x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using A = accumulator_t<T>;
    const Workspace scratch = device.template depthwise_conv2d_bn_act_backward_workspace<T>(conv.x, split.shape);
    for (int64_t i = splits - 1; i >= 0; --i) {
      const int64_t first = split.first(i);
      ConvGradient<T> gradient = split.gradient(data<T>(grad_u), data<T>(u), data<T>(grad_x), i);
      gradient.epilogue.activation = norm.activation;
      ConvGradientOutput<T> output = split.output(gradients, mutable_data<T>(grad_x), i);
      output.grad_scale = from(wanted<A>(gradients.first), first);
      output.grad_shift = from(wanted<A>(gradients.second), first);
      device.template depthwise_conv2d_bn_act_backward<T>(gradient, norm.get<A>(first), output, split.shape,
                                                          scratch.get());
    }
  });
  return gradients.tuple();
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def("hierarchical_depthwise_conv2d(" FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA
        ", int splits, Tensor? out_scale, Tensor? out_shift, Tensor? sge_weight, Tensor? sge_bias, int groups) "
        "-> Tensor");
  m.def("hierarchical_depthwise_conv2d_backward(Tensor grad_u, Tensor u, " FRNET_CONV_SCHEMA ", " FRNET_EPILOGUE_SCHEMA
        ", int splits, bool needs_x, bool needs_weight, bool needs_bias, bool needs_scale, bool needs_shift) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("hierarchical_depthwise_conv2d_bn_act(" FRNET_CONV_SCHEMA ", " FRNET_NORM_SCHEMA
        ", int splits) -> (Tensor, Tensor, Tensor)");
  m.def("hierarchical_depthwise_conv2d_bn_act_backward(Tensor grad_u, Tensor u, " FRNET_CONV_SCHEMA
        ", " FRNET_NORM_SCHEMA
        ", Tensor mean, Tensor variance, int splits, bool needs_x, bool needs_weight, bool needs_bias, "
        "bool needs_gamma, bool needs_beta) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("hierarchical_depthwise_conv2d", TORCH_BOX(&forward<OnCpu>));
  m.impl("hierarchical_depthwise_conv2d_backward", TORCH_BOX(&backward<OnCpu>));
  m.impl("hierarchical_depthwise_conv2d_bn_act", TORCH_BOX(&forward_with_statistics<OnCpu>));
  m.impl("hierarchical_depthwise_conv2d_bn_act_backward", TORCH_BOX(&backward_with_statistics<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("hierarchical_depthwise_conv2d", TORCH_BOX(&forward<OnCuda>));
  m.impl("hierarchical_depthwise_conv2d_backward", TORCH_BOX(&backward<OnCuda>));
  m.impl("hierarchical_depthwise_conv2d_bn_act", TORCH_BOX(&forward_with_statistics<OnCuda>));
  m.impl("hierarchical_depthwise_conv2d_bn_act_backward", TORCH_BOX(&backward_with_statistics<OnCuda>));
}
#endif

}  // namespace frnet::binding
