// Depthwise 2-D convolution with its epilogue, and the mean of the result over each plane where that is wanted.
//
// The epilogue is applied in registers, before the value is rounded and stored. Pooled sums leave the blocks through
// the workspace and are added by a second, small kernel, unless one block sees all of a plane.
//   traffic: reads x (and the addend) once and writes y once -> bandwidth bound
#include "frnet/depthwise_conv2d.h"

#include "cuda/depthwise_direct.cuh"
#include "cuda/depthwise_output.cuh"
#include "cuda/reduce.cuh"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

template <typename T>
void depthwise_conv2d(const ConvInput<T>& input, const T* weight, const T* bias,
                      const Epilogue<accumulator_t<T>>& epilogue, T* y, accumulator_t<T>* pooled,
                      const DepthwiseConv2dShape& shape, void* workspace, void* stream) {
  using A = accumulator_t<T>;
  const SlideTensors<T> tensors{input.x, input.addend, weight, bias, y, shape.memory_channels, shape.memory_channels};
  if (!pooled && !input.addend && is_identity(epilogue)) {
    slide<T, false>(tensors, PlainOutput<T>(), shape, stream);
    return;
  }
  EpilogueOutput<T> output;
  output.epilogue = epilogue;
  output.pooled = pooled;
  output.partials = static_cast<A*>(workspace);
  output.planes = shape.batch * shape.channels;
  output.pixels = shape.out_height * shape.out_width;
  const int64_t rows = slide<T, false>(tensors, output, shape, stream);
  if (pooled && rows != 1) average_partials(workspace, pooled, rows, output.planes, output.pixels, stream);
}

template <typename T>
size_t depthwise_conv2d_workspace(const DepthwiseConv2dShape& shape, bool pooled) {
  if (!pooled) return 0;
  const int64_t rows = max_rows<T, EpilogueOutput<T>>(shape);
  return rows <= 1 ? 0 : static_cast<size_t>(rows * shape.batch * shape.channels) * sizeof(accumulator_t<T>);
}

#define FRNET_INSTANTIATE(T)                                                                                        \
  template void depthwise_conv2d<T>(const ConvInput<T>&, const T*, const T*, const Epilogue<accumulator_t<T>>&, T*, \
                                    accumulator_t<T>*, const DepthwiseConv2dShape&, void*, void*);                  \
  template size_t depthwise_conv2d_workspace<T>(const DepthwiseConv2dShape&, bool);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
FRNET_INSTANTIATE(float16)
FRNET_INSTANTIATE(bfloat16)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
