// The two fully connected layers of squeeze and excitation, and their gradients.
//   excite  : one block per image; rows of w1 and w2 shared out among lanes, so that both are read in order
//             backward: their columns among threads, likewise
//   weights : the gradients of w1 and w2 are products of two tall matrices; a block has 16 x 16 of their elements
//   shared  : partial sums (excite), 16 images' columns of both factors (weights)
//   traffic : excite reads w1 and w2 once per image (backward: twice), from the L2 cache; weights reads each array of
//             [batch, ...] once per 16 columns of the other, and writes the gradients once

#include "cuda/depthwise_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/se_gate.cuh"
#include "cuda/team.cuh"
#include "math/activation.h"
#include "math/conv_index.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kExciteThreads = 512;
constexpr int kWeightTile = 16;

// --------------------------------------------------------------------------------------------------- excite

struct ExciteSizes {
  int channels;
  int squeezed;
  int channel_lanes;   // lanes_for(channels)
  int squeezed_lanes;  // lanes_for(squeezed)
};

// gates of one image from pooled; with kBackward from slopes, which holds the gradient of the gates, also the gradients
// of what the two functions are applied to, and of pooled.
template <typename A, bool kBackward>
__global__ void __launch_bounds__(kExciteThreads) se_excite_kernel(SeGate<A> gate, SeArrays<A> all, ExciteSizes sizes) {
  A* const scratch = shared_memory<A>();
  const int64_t n = blockIdx.x;
  const int channels = sizes.channels;
  const int squeezed = sizes.squeezed;
  const Team team = make_team(1);
  const A* const pooled = all.pooled + n * channels;
  A* const gates = all.gates + n * channels;
  A* const hidden = all.hidden + n * squeezed;
  A* const slopes = kBackward ? all.slopes + n * channels : nullptr;
  A* const before = kBackward ? all.before + n * squeezed : nullptr;
  A* const grad_before = kBackward ? all.grad_before + n * squeezed : nullptr;
  A* const grad_pooled = kBackward ? all.grad_pooled + n * channels : nullptr;
  const math::ScalarExp exp;

  sum_rows<A>(
      team, true, squeezed, channels, sizes.channel_lanes,
      [&](int r, int c) { return gate.w1[static_cast<int64_t>(r) * channels + c] * pooled[c]; },
      [&](int r, A sum) {
        const A value = gate.b1 ? sum + gate.b1[r] : sum;
        if (kBackward) before[r] = value;
        hidden[r] = math::activate<A>(gate.activation, value, exp);
      });
  __syncthreads();
  sum_rows<A>(
      team, true, channels, squeezed, sizes.squeezed_lanes,
      [&](int c, int r) { return gate.w2[static_cast<int64_t>(c) * squeezed + r] * hidden[r]; },
      [&](int c, A sum) {
        const A value = gate.b2 ? sum + gate.b2[c] : sum;
        gates[c] = math::gate_value<A>(gate.gate, value, exp);
        if (kBackward) slopes[c] = math::gate_gradient<A>(gate.gate, value, slopes[c], exp);
      });
  if constexpr (kBackward) {
    __syncthreads();
    sum_columns(
        team, true, channels, squeezed, scratch,
        [&](int c, int r) { return gate.w2[static_cast<int64_t>(c) * squeezed + r] * slopes[c]; },
        [&](int r, A sum) { grad_before[r] = math::activation_gradient<A>(gate.activation, before[r], sum, exp); });
    __syncthreads();
    sum_columns(
        team, true, squeezed, channels, scratch,
        [&](int r, int c) { return gate.w1[static_cast<int64_t>(r) * channels + c] * grad_before[r]; },
        [&](int c, A sum) { grad_pooled[c] = sum; });
  }
}

// -------------------------------------------------------------------------------------------------- weights

// grad_weight[i, j] = sum over n of rows[n, i] columns[n, j] and grad_bias[i] = sum over n of rows[n, i], both in order
// of n; either may be null.
template <typename A>
__global__ void __launch_bounds__(kWeightTile* kWeightTile)
    se_weight_kernel(const A* __restrict__ rows,     // [batch, row_count]
                     const A* __restrict__ columns,  // [batch, column_count]
                     A* __restrict__ grad_weight,    // [row_count, column_count]
                     A* __restrict__ grad_bias,      // [row_count]
                     int64_t batch, int row_count, int column_count, int column_tiles) {
  A* const row_tile = shared_memory<A>();  // [n, i]
  A* const column_tile = row_tile + kWeightTile * kWeightTile;
  const int row = static_cast<int>(threadIdx.x) / kWeightTile;
  const int column = static_cast<int>(threadIdx.x) - row * kWeightTile;
  const int tile_row = static_cast<int>(blockIdx.x) / column_tiles;
  const int first_row = tile_row * kWeightTile;
  const int first_column = (static_cast<int>(blockIdx.x) - tile_row * column_tiles) * kWeightTile;
  A sum = 0;
  A bias = 0;
  for (int64_t first = 0; first < batch; first += kWeightTile) {
    // Here row counts images.
    const int64_t n = first + row;
    const bool inside = n < batch;
    __syncthreads();
    row_tile[threadIdx.x] = inside && first_row + column < row_count ? rows[n * row_count + first_row + column] : A(0);
    column_tile[threadIdx.x] =
        inside && first_column + column < column_count ? columns[n * column_count + first_column + column] : A(0);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kWeightTile; ++k) {
      const A factor = row_tile[k * kWeightTile + row];
      sum += factor * column_tile[k * kWeightTile + column];
      bias += factor;
    }
  }
  const int64_t i = first_row + row;
  const int64_t j = first_column + column;
  if (i >= row_count) return;
  if (grad_weight && j < column_count) grad_weight[i * column_count + j] = sum;
  if (grad_bias && j == 0) grad_bias[i] = bias;
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

template <typename A, bool kBackward>
void launch_excite(const SeGate<A>& gate, const SeArrays<A>& arrays, const SeGateShape& s, void* stream) {
  const ExciteSizes sizes{static_cast<int>(s.channels), static_cast<int>(s.squeezed), lanes_for(s.channels),
                          lanes_for(s.squeezed)};
  launch(se_excite_kernel<A, kBackward>, grid_of_blocks(s.batch, "se_gate"), dim3(kExciteThreads),
         kExciteThreads * sizeof(A), stream, gate, arrays, sizes);
}

template <typename A>
void weight_gradient(const A* rows, const A* columns, A* grad_weight, A* grad_bias, int64_t batch, int64_t row_count,
                     int64_t column_count, void* stream) {
  if ((!grad_weight && !grad_bias) || row_count == 0) return;
  const int64_t column_tiles = grad_weight && column_count > 0 ? math::ceil_div<int64_t>(column_count, kWeightTile) : 1;
  const int64_t blocks = math::ceil_div<int64_t>(row_count, kWeightTile) * column_tiles;
  launch(se_weight_kernel<A>, grid_of_blocks(blocks, "se_gate_backward"), dim3(kWeightTile * kWeightTile),
         2 * kWeightTile * kWeightTile * sizeof(A), stream, rows, columns, grad_weight, grad_bias, batch,
         static_cast<int>(row_count), static_cast<int>(column_count), static_cast<int>(column_tiles));
}

}  // namespace

template <typename A>
void se_excite(const SeGate<A>& gate, const SeArrays<A>& arrays, const SeGateShape& shape, void* stream) {
  launch_excite<A, false>(gate, arrays, shape, stream);
}

template <typename A>
void se_excite_backward(const SeGate<A>& gate, const SeArrays<A>& arrays, const SeGateGradient<A>& gradient,
                        const SeGateShape& shape, void* stream) {
  if (shape.batch > 0) launch_excite<A, true>(gate, arrays, shape, stream);
  weight_gradient(arrays.grad_before, arrays.pooled, gradient.grad_w1, gradient.grad_b1, shape.batch, shape.squeezed,
                  shape.channels, stream);
  weight_gradient(arrays.slopes, arrays.hidden, gradient.grad_w2, gradient.grad_b2, shape.batch, shape.channels,
                  shape.squeezed, stream);
}

#define FRNET_INSTANTIATE(A)                                                                          \
  template void se_excite<A>(const SeGate<A>&, const SeArrays<A>&, const SeGateShape&, void*);        \
  template void se_excite_backward<A>(const SeGate<A>&, const SeArrays<A>&, const SeGateGradient<A>&, \
                                      const SeGateShape&, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
