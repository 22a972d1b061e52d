// A loss on the vertices of face pairs: which kernel computes it, and the sums over the kernel's blocks.
#pragma once

#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/vertex_loss_kernel.cuh"
#include "cuda/vertex_loss_matrix.cuh"

namespace frnet {
namespace cuda {

// ------------------------------------------------------------------------------------------------- second pass

// loss[b] = scale * sum of the parts, slope[b,i] = param_std[i] * scale * sum of the parts.
//   block  : 32 columns of one sample x 16 rows of threads; row r adds the parts r, r + 16, ...
//   shared : two sums per thread
//   traffic: reads the partials once, and the losses again for every 32 columns
constexpr int kResultColumns = 32;
constexpr int kResultRows = 16;

// Where the results go; slope may be null.
template <typename T>
struct VertexLossResult {
  T* loss;   // [batch]
  T* slope;  // [batch, row_size - 1]
};

template <typename T>
__global__ void __launch_bounds__(kResultColumns* kResultRows)
    sum_vertex_loss_kernel(const T* __restrict__ partials,   // [parts, batch, row_size]
                           const T* __restrict__ param_std,  // [row_size - 1]
                           VertexLossResult<T> result, int64_t batch, int64_t parts, int row_size, double scale,
                           bool target_tz) {
  double* const sums = shared_memory<double>();
  double* const losses = sums + kResultColumns * kResultRows;
  const int blocks_per_sample = (row_size + kResultColumns - 1) / kResultColumns;
  const int64_t sample = blockIdx.x / blocks_per_sample;
  const int column = static_cast<int>(blockIdx.x % blocks_per_sample) * kResultColumns + threadIdx.x % kResultColumns;
  double sum = 0, loss = 0;
  if (column < row_size) {
#pragma unroll 8
    for (int64_t part = threadIdx.x / kResultColumns; part < parts; part += kResultRows) {
      const T* const row = partials + (part * batch + sample) * row_size;
      sum += row[column];
      loss += row[0];
    }
  }
  sums[threadIdx.x] = sum;
  losses[threadIdx.x] = loss;
  __syncthreads();
  if (threadIdx.x >= kResultColumns || column >= row_size) return;
  for (int row = 1; row < kResultRows; ++row) {
    sum += sums[row * kResultColumns + threadIdx.x];
    loss += losses[row * kResultColumns + threadIdx.x];
  }
  loss *= scale;
  if (column == 0) {
    result.loss[sample] = static_cast<T>(loss);
    return;
  }
  const int p = column - 1;
  T slope = static_cast<T>(sum * scale * param_std[p]);
  if (target_tz && p == math::kTz) slope = 0;
  result.slope[sample * (row_size - 1) + p] = loss == loss ? slope : kNan<T>;
}

// ------------------------------------------------------------------------------------------------------- plan

// Of batches that are not small: as many samples per thread as registers allow.
template <typename T>
using LossTiling = std::conditional_t<std::is_same<T, float>::value, Tiling<4, 8>, Tiling<8, 2>>;

// Code for less than compute capability 8.0 has no products on matrix units, whatever the device.
inline bool have_matrix_units() {
#if defined(FRNET_HOST_EMULATION)
  return true;
#else
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, sum_vertex_loss_kernel<float>) == cudaSuccess) {
    return attributes.ptxVersion >= 80;
  }
  cudaGetLastError();  // the launch will say what is wrong
  return false;
#endif
}

// What runs for a comparison. One of the grids is in use.
template <typename T>
struct VertexLossPlan {
  ProductPrecision precision;  // what the products are computed in
  VertexGrid grid;             // full
  MatrixGrid matrix_grid;      // else
  int64_t parts;
  int row_size;
};

template <typename T>
VertexLossPlan<T> make_vertex_loss_plan(const VertexComparison<T>& comparison, bool slopes, const MorphableShape& shape,
                                        const char* op) {
  VertexLossPlan<T> plan{};
  plan.row_size = slopes ? 1 + math::kPoseSize + static_cast<int>(shape.coefficients) : 1;
  const bool matrix = std::is_same<T, float>::value && comparison.precision != ProductPrecision::full &&
                      shape.coefficients <= kMatrixCoefficients && have_matrix_units();
  plan.precision = matrix ? comparison.precision : ProductPrecision::full;
  if (matrix) {
    plan.matrix_grid = plan.precision == ProductPrecision::tf32 ? make_matrix_grid<Tf32>(shape, comparison.set)
                                                                : make_matrix_grid<Bfloat16>(shape, comparison.set);
    plan.parts = plan.matrix_grid.vertex_chunks * plan.matrix_grid.vertex_warps();
  } else {
    const auto make_grid =
        is_small_batch(shape.batch) ? make_vertex_grid<SmallTiling, T> : make_vertex_grid<LossTiling<T>, T>;
    plan.grid = make_grid(shape, comparison.set, false, op);
    plan.parts = plan.grid.vertex_chunks;
  }
  return plan;
}

template <typename T>
int64_t partial_rows_size(const VertexLossPlan<T>& plan, const MorphableShape& shape) {
  return plan.parts * shape.batch * plan.row_size;
}

// --------------------------------------------------------------------------------------------------- launchers

template <typename T, typename Loss, typename Tiling, Slopes kWanted>
void launch_vertex_loss_kernel(const FacePair<T>& faces, const VertexComparison<T>& comparison, const Loss& loss,
                               const VertexLossPartials<T>& partials, const VertexGrid& grid, const char* op,
                               void* stream) {
  constexpr int kValuesPerSample = kPosePairSize + (kWanted != Slopes::none ? kTileRows : 0);
  const size_t values = tile_values<Tiling>(grid, 2) + Tiling::kBlockSamples * kValuesPerSample;
  launch(vertex_loss_kernel<T, Loss, Tiling, kWanted>, grid_of_blocks(grid.vertex_chunks * grid.sample_tiles, op),
         dim3(Tiling::kThreads), values * sizeof(T), stream, faces, comparison, loss, partials, grid);
}

template <typename T, typename Loss, typename Tiling>
void launch_vertex_loss_kernel(const FacePair<T>& faces, const VertexComparison<T>& comparison, const Loss& loss,
                               const VertexLossPartials<T>& partials, bool slopes, const VertexGrid& grid,
                               const char* op, void* stream) {
  const auto launch_it = !slopes              ? launch_vertex_loss_kernel<T, Loss, Tiling, Slopes::none>
                         : grid.k_chunks <= 1 ? launch_vertex_loss_kernel<T, Loss, Tiling, Slopes::one_chunk>
                                              : launch_vertex_loss_kernel<T, Loss, Tiling, Slopes::several_chunks>;
  launch_it(faces, comparison, loss, partials, grid, op, stream);
}

template <typename Format, typename Loss>
void launch_vertex_loss_matrix_kernel(const FacePair<float>& faces, const VertexComparison<float>& comparison,
                                      const Loss& loss, float* partials, bool slopes, const MatrixGrid& grid,
                                      const char* op, void* stream) {
  const auto kernel =
      slopes ? vertex_loss_matrix_kernel<Format, Loss, true> : vertex_loss_matrix_kernel<Format, Loss, false>;
  launch(kernel, grid_of_blocks(grid.vertex_chunks * grid.sample_tiles, op), dim3(kMatrixThreads),
         matrix_shared_bytes<Format>(grid), stream, faces, comparison, loss, partials, grid);
}

// Whether the pass can sum squares on its way: see VertexLossPartials.
template <typename T>
bool can_sum_squares(const VertexLossPlan<T>& plan) {
  return plan.precision == ProductPrecision::full && plan.grid.k_chunks <= 1;
}

// The kernel that the plan names.
template <typename T, typename Loss>
void launch_vertex_loss_pass(const FacePair<T>& faces, const VertexComparison<T>& comparison, const Loss& loss,
                             const VertexLossPartials<T>& partials, bool slopes, const VertexLossPlan<T>& plan,
                             const char* op, void* stream) {
  if constexpr (std::is_same<T, float>::value) {
    if (plan.precision != ProductPrecision::full) {
      const auto launch_it = plan.precision == ProductPrecision::tf32
                                 ? launch_vertex_loss_matrix_kernel<Tf32, Loss>
                                 : launch_vertex_loss_matrix_kernel<Bfloat16, Loss>;
      launch_it(faces, comparison, loss, partials.rows, slopes, plan.matrix_grid, op, stream);
      return;
    }
  }
  const auto launch_it = is_small_batch(plan.grid.batch) ? launch_vertex_loss_kernel<T, Loss, SmallTiling>
                                                         : launch_vertex_loss_kernel<T, Loss, LossTiling<T>>;
  launch_it(faces, comparison, loss, partials, slopes, plan.grid, op, stream);
}

// result: slopes where the plan has them. The batch must not be empty.
template <typename T, typename Loss>
void launch_vertex_loss(const FacePair<T>& faces, const VertexComparison<T>& comparison, const Loss& loss,
                        const VertexLossPartials<T>& partials, const VertexLossResult<T>& result,
                        const VertexLossPlan<T>& plan, const MorphableShape& shape, const char* op, void* stream) {
  if (plan.parts > 0) {
    launch_vertex_loss_pass(faces, comparison, loss, partials, result.slope != nullptr, plan, op, stream);
  }
  // Of no vertices the mean is NaN, as 0/0.
  const double scale = 1.0 / 3 / (comparison.weights != nullptr ? 1 : static_cast<double>(comparison.set.count));
  const int64_t blocks = shape.batch * math::ceil_div(plan.row_size, kResultColumns);
  launch(sum_vertex_loss_kernel<T>, grid_of_blocks(blocks, op), dim3(kResultColumns * kResultRows),
         2 * kResultColumns * kResultRows * sizeof(double), stream, partials.rows, faces.param_std, result, shape.batch,
         plan.parts, plan.row_size, scale, comparison.target_tz);
}

}  // namespace cuda
}  // namespace frnet
