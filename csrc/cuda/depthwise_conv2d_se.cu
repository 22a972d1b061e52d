// Depthwise convolution and squeeze and excitation: the convolution pools its results as it writes them, so that behind
// it there are only the two small layers and the scaling of y in place.
//   traffic: the convolution's, then reads and writes y once more
#include <stdexcept>

#include "cuda/se_gate.cuh"
#include "frnet/depthwise_conv2d.h"

namespace frnet {
namespace cuda {

namespace {

SeGateShape gate_shape(const DepthwiseConv2dShape& s, int64_t squeezed) {
  if (s.memory_channels != s.channels) {
    throw std::invalid_argument("depthwise_conv2d_se: not for a slice of wider tensors");
  }
  return SeGateShape{s.batch, s.channels, s.out_height * s.out_width, squeezed, s.layout};
}

// What the convolution's workspace begins behind.
template <typename A>
size_t gate_bytes(const SeGateShape& shape) {
  return (se_arrays_bytes<A>(shape) + 255) / 256 * 256;
}

}  // namespace

template <typename T>
size_t depthwise_conv2d_se_workspace(const DepthwiseConv2dShape& shape, int64_t squeezed) {
  return gate_bytes<accumulator_t<T>>(gate_shape(shape, squeezed)) + depthwise_conv2d_workspace<T>(shape, true);
}

template <typename T>
void depthwise_conv2d_se(const ConvInput<T>& input, const T* weight, const T* bias,
                         const Epilogue<accumulator_t<T>>& epilogue, const SeGate<accumulator_t<T>>& gate, T* y,
                         const DepthwiseConv2dShape& shape, int64_t squeezed, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const SeGateShape gated = gate_shape(shape, squeezed);
  if (gated.batch * gated.channels * gated.pixels == 0) return;
  check_se_sizes(gated, "depthwise_conv2d_se");
  const SeArrays<A> arrays = se_arrays<A>(gated, workspace);
  void* const conv_workspace = static_cast<unsigned char*>(workspace) + gate_bytes<A>(gated);
  depthwise_conv2d(input, weight, bias, epilogue, y, arrays.pooled, shape, conv_workspace, stream);
  se_excite(gate, arrays, gated, stream);
  se_scale<T>(y, arrays.gates, nullptr, y, gated, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                       \
  template size_t depthwise_conv2d_se_workspace<T>(const DepthwiseConv2dShape&, int64_t);                          \
  template void depthwise_conv2d_se<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&, \
                                       const SeGate<accumulator_t<T>>&, T*, const DepthwiseConv2dShape&, int64_t,  \
                                       void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
