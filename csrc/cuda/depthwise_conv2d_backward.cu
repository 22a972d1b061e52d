// Gradients of the depthwise 2-D convolution with its epilogue.
//
// Where nothing follows the convolution, grad_v is grad_y, and the kernels of the convolution's own gradients
// (depthwise_backward.cuh) run on it directly. Otherwise there are two steps:
//   1. a kernel of the forward direction computes v again, tile by tile, writes grad_v to the workspace and sums g and
//      g * v into partials, which a second pass adds up;
//   2. the kernels of the convolution's own gradients run on grad_v.
// grad_v is stored as T, which halves its traffic where T has 16 bits and rounds each of its values once, as torch does
// with the gradient that it hands from one op to the next. The sums are of unrounded values.
//   traffic: step 1 reads x and grad_y and writes grad_v; step 2 reads grad_v and writes grad_x, and reads grad_v and x
#include "cuda/depthwise_backward.cuh"
#include "cuda/depthwise_direct.cuh"
#include "cuda/depthwise_output.cuh"
#include "cuda/reduce.cuh"
#include "frnet/depthwise_conv2d.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {
namespace {

// Writes grad_v where it is not null, and the sums where one of them is not.
template <typename T>
void backward_through_epilogue(const ConvGradient<T>& gradient, T* grad_v, accumulator_t<T>* sum_g,
                               accumulator_t<T>* sum_gv, const DepthwiseConv2dShape& shape, void* partials,
                               void* stream) {
  using A = accumulator_t<T>;
  const SlideTensors<T> tensors{gradient.input.x, gradient.input.addend, gradient.weight, gradient.bias,
                                grad_v,           shape.memory_channels, shape.channels};
  const bool wants_sums = sum_g || sum_gv;
  GradientOutput<T> output;
  output.grad_y = gradient.grad_y;
  output.grad_y_addend = gradient.grad_y_addend;
  output.epilogue = gradient.epilogue;
  output.constant = grad_v ? gradient.constant : nullptr;
  output.linear = grad_v ? gradient.linear : nullptr;
  output.partials = wants_sums ? static_cast<A*>(partials) : nullptr;
  output.channels = shape.channels;
  const int64_t rows = slide<T, false>(tensors, output, shape, stream);
  if (wants_sums) sum_partials<A>(partials, sum_g, sum_gv, rows, 2 * shape.channels, shape.channels, stream);
}

// Bytes of grad_v in the workspace, whole 16-byte units; the partials come behind it.
template <typename T>
size_t grad_v_bytes(const DepthwiseConv2dShape& s) {
  return (static_cast<size_t>(s.batch * s.channels * s.out_height * s.out_width) * sizeof(T) + 15) / 16 * 16;
}

}  // namespace

template <typename T>
void depthwise_conv2d_backward_sums(const ConvGradient<T>& gradient, accumulator_t<T>* sum_g, accumulator_t<T>* sum_gv,
                                    const DepthwiseConv2dShape& shape, void* workspace, void* stream) {
  backward_through_epilogue<T>(gradient, nullptr, sum_g, sum_gv, shape, workspace, stream);
}

template <typename T>
void depthwise_conv2d_backward(const ConvGradient<T>& gradient, const ConvGradientOutput<T>& output,
                               const DepthwiseConv2dShape& shape, void* workspace, void* stream) {
  const bool is_plain = is_identity(gradient.epilogue) && !gradient.constant && !gradient.linear && gradient.grad_y &&
                        !gradient.grad_y_addend;
  const bool wants_weight = output.grad_weight || output.grad_bias;
  const bool writes_grad_v = !is_plain && (output.grad_x || wants_weight);
  auto* const workspace_grad_v = static_cast<T*>(workspace);
  void* const partials = static_cast<char*>(workspace) + grad_v_bytes<T>(shape);
  if (writes_grad_v || output.grad_shift || output.grad_scale) {
    backward_through_epilogue<T>(gradient, writes_grad_v ? workspace_grad_v : nullptr, output.grad_shift,
                                 output.grad_scale, shape, partials, stream);
  }
  const T* const grad_v = is_plain ? gradient.grad_y : workspace_grad_v;
  const int64_t grad_channels = is_plain ? shape.memory_channels : shape.channels;
  if (output.grad_x) {
    depthwise_conv2d_backward_input(grad_v, grad_channels, gradient.weight, output.grad_x, shape, stream);
  }
  if (wants_weight) {
    depthwise_conv2d_backward_weight(grad_v, grad_channels, gradient.input, output.grad_weight, output.grad_bias, shape,
                                     partials, stream);
  }
}

template <typename T>
size_t depthwise_conv2d_backward_workspace(const DepthwiseConv2dShape& shape) {
  const int64_t rows = max_rows<T, GradientOutput<T>>(shape);
  const size_t sums = static_cast<size_t>(rows * 2 * shape.channels) * sizeof(accumulator_t<T>);
  const size_t weights = depthwise_conv2d_backward_weight_workspace<T>(shape);
  return grad_v_bytes<T>(shape) + (sums > weights ? sums : weights);
}

#define FRNET_INSTANTIATE(T)                                                                                    \
  template void depthwise_conv2d_backward_sums<T>(const ConvGradient<T>&, accumulator_t<T>*, accumulator_t<T>*, \
                                                  const DepthwiseConv2dShape&, void*, void*);                   \
  template void depthwise_conv2d_backward<T>(const ConvGradient<T>&, const ConvGradientOutput<T>&,              \
                                             const DepthwiseConv2dShape&, void*, void*);                        \
  template size_t depthwise_conv2d_backward_workspace<T>(const DepthwiseConv2dShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
