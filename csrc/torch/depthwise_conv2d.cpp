// frnet::depthwise_conv2d and its backward as torch ops.

#include "frnet/depthwise_conv2d.h"

#include "math/conv_index.h"
#include "torch/tensors.h"
#if defined(FRNET_WITH_CUDA)
#include "torch/current_stream.h"
#endif

namespace frnet::binding {

namespace {

constexpr const char* kOp = "frnet::depthwise_conv2d";

DepthwiseConv2dShape make_shape(const Tensor& x, const Tensor& weight, int64_t stride_h, int64_t stride_w,
                                int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w) {
  STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4, kOp, ": wanted x [n, c, h, w] and weight [c, 1, kh, kw]");
  STD_TORCH_CHECK(weight.size(0) == x.size(1) && weight.size(1) == 1, kOp, ": weight does not fit x's channels");
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type(), kOp, ": x and weight differ in dtype");
  STD_TORCH_CHECK(weight.device() == x.device(), kOp, ": x and weight are on different devices");
  STD_TORCH_CHECK(stride_h > 0 && stride_w > 0 && dilation_h > 0 && dilation_w > 0 && padding_h >= 0 && padding_w >= 0,
                  kOp, ": stride and dilation must be positive, padding not negative");
  const int64_t kernel_h = weight.size(2), kernel_w = weight.size(3);
  const int64_t out_h = math::conv_output_size(x.size(2), kernel_h, stride_h, padding_h, dilation_h);
  const int64_t out_w = math::conv_output_size(x.size(3), kernel_w, stride_w, padding_w, dilation_w);
  STD_TORCH_CHECK(kernel_h > 0 && kernel_w > 0 && out_h > 0 && out_w > 0, kOp,
                  ": the kernel is larger than the padded input");
  return {x.size(0), x.size(1), x.size(2), x.size(3), out_h,      out_w,      kernel_h,    kernel_w,
          stride_h,  stride_w,  padding_h, padding_w, dilation_h, dilation_w, layout_of(x)};
}

void check_bias(const Tensor& bias, const Tensor& x) {
  STD_TORCH_CHECK(bias.dim() == 1 && bias.size(0) == x.size(1), kOp, ": wanted a bias of one value per channel");
  STD_TORCH_CHECK(bias.scalar_type() == x.scalar_type(), kOp, ": x and bias differ in dtype");
  STD_TORCH_CHECK(bias.device() == x.device(), kOp, ": x and bias are on different devices");
}

struct OnCpu {
  explicit OnCpu(const Tensor&) {}

  template <typename T>
  void forward(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape) const {
    cpu::depthwise_conv2d(x, weight, bias, y, shape, torch_threads);
  }
  template <typename T>
  void backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape) const {
    cpu::depthwise_conv2d_backward_input(grad_y, weight, grad_x, shape, torch_threads);
  }
  template <typename T>
  size_t workspace_bytes(const DepthwiseConv2dShape& shape) const {
    return cpu::depthwise_conv2d_backward_weight_workspace<T>(shape);
  }
  template <typename T>
  void backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias, const DepthwiseConv2dShape& shape,
                       void* scratch) const {
    cpu::depthwise_conv2d_backward_weight(grad_y, x, grad_weight, grad_bias, shape, scratch, torch_threads);
  }
};

#if defined(FRNET_WITH_CUDA)
struct OnCuda {
  explicit OnCuda(const Tensor& x) : stream(x) {}

  template <typename T>
  void forward(const T* x, const T* weight, const T* bias, T* y, const DepthwiseConv2dShape& shape) const {
    cuda::depthwise_conv2d(x, weight, bias, y, shape, stream.get());
  }
  template <typename T>
  void backward_input(const T* grad_y, const T* weight, T* grad_x, const DepthwiseConv2dShape& shape) const {
    cuda::depthwise_conv2d_backward_input(grad_y, weight, grad_x, shape, stream.get());
  }
  template <typename T>
  size_t workspace_bytes(const DepthwiseConv2dShape& shape) const {
    return cuda::depthwise_conv2d_backward_weight_workspace<T>(shape);
  }
  template <typename T>
  void backward_weight(const T* grad_y, const T* x, T* grad_weight, T* grad_bias, const DepthwiseConv2dShape& shape,
                       void* scratch) const {
    cuda::depthwise_conv2d_backward_weight(grad_y, x, grad_weight, grad_bias, shape, scratch, stream.get());
  }

  CurrentStream stream;
};
#endif

template <typename Device>
Tensor forward(Tensor x, Tensor weight, std::optional<Tensor> bias, int64_t stride_h, int64_t stride_w,
               int64_t padding_h, int64_t padding_w, int64_t dilation_h, int64_t dilation_w) {
  const DepthwiseConv2dShape s =
      make_shape(x, weight, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w);
  if (bias) check_bias(*bias, x);
  const int64_t size[] = {s.batch, s.channels, s.out_height, s.out_width};
  Tensor y = empty(size, x.scalar_type(), x, s.layout);
  x = dense(x, s.layout);
  weight = torch::stable::contiguous(weight);
  if (bias) bias = torch::stable::contiguous(*bias);
  const Device device(x);
  for_floating_type(kOp, x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    device.forward(data<T>(x), data<T>(weight), bias ? data<T>(*bias) : nullptr, mutable_data<T>(y), s);
  });
  return y;
}

// Gradients that were not asked for come back as empty tensors.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> backward(Tensor grad_y, Tensor x, Tensor weight, int64_t stride_h, int64_t stride_w,
                                            int64_t padding_h, int64_t padding_w, int64_t dilation_h,
                                            int64_t dilation_w, bool needs_x, bool needs_weight, bool needs_bias) {
  const DepthwiseConv2dShape s =
      make_shape(x, weight, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w);
  STD_TORCH_CHECK(grad_y.dim() == 4 && grad_y.size(0) == s.batch && grad_y.size(1) == s.channels &&
                      grad_y.size(2) == s.out_height && grad_y.size(3) == s.out_width,
                  kOp, "_backward: the gradient does not fit the output");
  STD_TORCH_CHECK(grad_y.scalar_type() == x.scalar_type() && grad_y.device() == x.device(), kOp,
                  "_backward: the gradient differs from x in dtype or device");
  const int64_t none[] = {0};
  const int64_t x_size[] = {s.batch, s.channels, s.in_height, s.in_width};
  const int64_t weight_size[] = {s.channels, 1, s.kernel_h, s.kernel_w};
  const int64_t bias_size[] = {s.channels};
  const ScalarType dtype = x.scalar_type();
  Tensor grad_x = needs_x ? empty(x_size, dtype, x, s.layout) : empty(none, dtype, x);
  Tensor grad_weight = needs_weight || needs_bias ? empty(weight_size, dtype, x) : empty(none, dtype, x);
  Tensor grad_bias = needs_bias ? empty(bias_size, dtype, x) : empty(none, dtype, x);
  grad_y = dense(grad_y, s.layout);
  const Device device(x);
  for_floating_type(kOp, dtype, [&](auto type) {
    using T = decltype(type);
    if (needs_x) {
      weight = torch::stable::contiguous(weight);
      device.backward_input(data<T>(grad_y), data<T>(weight), mutable_data<T>(grad_x), s);
    }
    if (needs_weight || needs_bias) {
      x = dense(x, s.layout);
      const Tensor scratch = workspace(device.template workspace_bytes<T>(s), x);
      device.backward_weight(data<T>(grad_y), data<T>(x), mutable_data<T>(grad_weight),
                             needs_bias ? mutable_data<T>(grad_bias) : nullptr, s, scratch.mutable_data_ptr());
    }
  });
  return {grad_x, grad_weight, grad_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(frnet, m) {
  m.def(
      "depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, int stride_h, int stride_w, int padding_h, "
      "int padding_w, int dilation_h, int dilation_w) -> Tensor");
  m.def(
      "depthwise_conv2d_backward(Tensor grad_y, Tensor x, Tensor weight, int stride_h, int stride_w, int padding_h, "
      "int padding_w, int dilation_h, int dilation_w, bool needs_x, bool needs_weight, bool needs_bias) "
      "-> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(frnet, CPU, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&forward<OnCpu>));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&backward<OnCpu>));
}

#if defined(FRNET_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(frnet, CUDA, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&forward<OnCuda>));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&backward<OnCuda>));
}
#endif

}  // namespace frnet::binding
