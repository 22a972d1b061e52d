// Mean and biased variance of a depthwise 2-D convolution's result, which is computed tile by tile and not stored.
//
// Each block merges the moments of its values; a second kernel merges those of the blocks in a fixed order.
//   traffic: reads x (and the addend) once -> bandwidth bound
#include "cuda/depthwise_direct.cuh"
#include "cuda/depthwise_output.cuh"
#include "cuda/reduce.cuh"
#include "frnet/depthwise_conv2d.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

template <typename T>
void depthwise_conv2d_statistics(const ConvInput<T>& input, const T* weight, const T* bias, accumulator_t<T>* mean,
                                 accumulator_t<T>* variance, const DepthwiseConv2dShape& shape, void* workspace,
                                 void* stream) {
  const SlideTensors<T> tensors{
      input.x, input.addend, weight, bias, nullptr, shape.memory_channels, shape.memory_channels};
  StatisticsOutput<T> output;
  output.counts = static_cast<accumulator_t<T>*>(workspace);
  output.partials = output.counts + max_rows<T, StatisticsOutput<T>>(shape);
  output.channels = shape.channels;
  const int64_t rows = slide<T, false>(tensors, output, shape, stream);
  merge_moments(output.partials, output.counts, mean, variance, rows, shape.channels, stream);
}

template <typename T>
size_t depthwise_conv2d_statistics_workspace(const DepthwiseConv2dShape& shape) {
  const int64_t rows = max_rows<T, StatisticsOutput<T>>(shape);
  return static_cast<size_t>(rows * (1 + 2 * shape.channels)) * sizeof(accumulator_t<T>);
}

#define FRNET_INSTANTIATE(T)                                                                                  \
  template void depthwise_conv2d_statistics<T>(const ConvInput<T>&, const T*, const T*, accumulator_t<T>*,    \
                                               accumulator_t<T>*, const DepthwiseConv2dShape&, void*, void*); \
  template size_t depthwise_conv2d_statistics_workspace<T>(const DepthwiseConv2dShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
