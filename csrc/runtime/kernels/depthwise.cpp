// A depthwise convolution of any size, for small planes.

#include <algorithm>

#include "runtime/kernels/table.h"
#include "runtime/kernels/tile.h"

namespace frnet::cpu::FRNET_ISA {

void runtime_depthwise(const runtime::DepthwiseArgs& a, int64_t first_row, int64_t last_row) {
  const int64_t reach = a.kernel / 2, width = a.width;
  const Bounds bounds(a.activation);
  for (int64_t block = 0; block < a.blocks; ++block) {
    const float* x = a.x + block * a.x_block_stride;
    const float* filters = a.filters + block * a.kernel * a.kernel * kLane;
    const Vec<float> shift = load(a.shift + block * kLane);
    for (int64_t row = first_row; row < last_row; ++row) {
      const int64_t top = std::max<int64_t>(0, row - reach), bottom = std::min<int64_t>(a.height - 1, row + reach);
      for (int64_t column = 0; column < width; ++column) {
        const int64_t left = std::max<int64_t>(0, column - reach), right = std::min<int64_t>(width - 1, column + reach);
        Vec<float> sum = shift;
        for (int64_t y = top; y <= bottom; ++y) {
          const float* taps = filters + ((y - row + reach) * a.kernel - column + reach) * kLane;
          for (int64_t at = left; at <= right; ++at)
            sum += load(x + (y * width + at) * kLane) * load(taps + at * kLane);
        }
        store(a.y + block * a.y_block_stride + (row * width + column) * kLane, bounds(sum));
      }
    }
  }
}

}  // namespace frnet::cpu::FRNET_ISA
