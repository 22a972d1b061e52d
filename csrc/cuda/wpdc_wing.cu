// WPDC and the Wing loss on vertices. The Wing loss is one of vertex_loss_kernel.cuh and vertex_loss_matrix.cuh; the
// sums of squares that WPDC's weights are made of come from the former on its way, where both look at the same vertices
// in full precision, and else from a pass of their own.
#include "frnet/wpdc_wing.h"

#include <cmath>

#include "cuda/reduce.cuh"
#include "cuda/vertex_loss.cuh"
#include "math/wing.h"
#include "math/wpdc.h"
#include "workspace_layout.h"

namespace frnet {
namespace cuda {

// Of the pass over squares.
template <typename T>
using SquaresTiling = Tiling<8, 32 / static_cast<int>(sizeof(T))>;

// The sum over the three coordinates; g is its derivative.
template <typename T>
struct WingLoss {
  math::WingConstants<T> constants;

  __device__ __forceinline__ T operator()(const T (&d)[3], T (&g)[3]) const {
    return math::wing(constants, d, g, math::ScalarLog1p{});
  }
};

// The one shape whose lengths are wanted.
template <typename T>
struct ShapeCoefficients {
  const T* params;  // [batch, 12 + coefficients], whitened
  const T* param_mean;
  const T* param_std;
  int64_t params_size;

  __device__ __forceinline__ T operator()(int, int64_t sample, int k) const {
    const int i = math::kPoseSize + k;
    return math::dewhiten(params[sample * params_size + i], param_mean[i], param_std[i]);
  }
};

// -------------------------------------------------------------------------------------------- sums of squares

// Of each sample's shape along each axis, and of each column of the basis, over the vertices of a set.
//   block  : one chunk of the vertex tiles; as in vertex_tile.cuh for 8*kSamples samples, the first such block also for
//            the chunk of coefficients that it has staged last, further blocks for one of the others alone
//   shared : the tiles of vertex_tile.cuh
//   traffic: reads mean and basis once per 8*kSamples samples and once more for all chunks of coefficients but one
template <typename T, typename Tiling>
__global__ void __launch_bounds__(Tiling::kThreads, Tiling::kBlocks)
    wpdc_squares_kernel(ShapeCoefficients<T> source,
                        const T* __restrict__ mean,   // [vertices, 3]
                        const T* __restrict__ basis,  // [vertices, 3, coefficients]
                        T* __restrict__ partials,     // [vertex_chunks, 3 * batch + coefficients]
                        VertexGrid grid) {
  constexpr int kSamples = Tiling::kSamples;
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  const int64_t blocks_per_chunk = grid.sample_tiles + grid.own_chunks() - 1;
  const int64_t vertex_chunk = blockIdx.x / blocks_per_chunk;
  const int64_t part = blockIdx.x - vertex_chunk * blocks_per_chunk;
  const bool with_shapes = part < grid.sample_tiles;
  const bool with_columns = part == 0 || !with_shapes;
  const CoefficientChunk chunk =
      chunk_of(grid, with_shapes ? grid.own_chunks() - 1 : static_cast<int>(part - grid.sample_tiles));
  const int64_t first_sample = with_shapes ? part * Tiling::kBlockSamples : grid.batch;
  const int64_t warp_sample = first_sample + threadIdx.x / kLanes * kSamples;

  T squares[4 * kSamples] = {};  // of x, y and z, and one more, since warp_reduce_scatter wants a power of two
  ColumnSquares<Tiling, T> columns;
  const int64_t begin = grid.first_tile(vertex_chunk);
  const int64_t end = grid.first_tile(vertex_chunk + 1);
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first_vertex = tile * kTileVertices;
    if (with_shapes) {
      T s[1][kSamples][3];
      compute_shapes<Tiling, 1>(source, mean, basis, grid, first_vertex, first_sample, tile == begin, basis_tile,
                                coefficient_tile, s);
#pragma unroll
      for (int i = 0; i < kSamples; ++i) {
#pragma unroll
        for (int j = 0; j < 3; ++j) squares[4 * i + j] += s[0][i][j] * s[0][i][j];
      }
    } else {
      __syncthreads();
      stage_basis<Tiling>(basis, grid, first_vertex, chunk, basis_tile);
      __syncthreads();
    }
    if (with_columns) columns.add(basis_tile, grid.pitch, chunk);
  }

  T* const sums = partials + vertex_chunk * (3 * grid.batch + grid.coefficients);
  if (warp_sample < grid.batch) {  // the same for the whole warp
    const T sum = warp_reduce_scatter(squares);
    constexpr int kLanesPerSlot = kLanes / (4 * kSamples);
    const int slot = threadIdx.x % kLanes / kLanesPerSlot;
    const int64_t sample = warp_sample + slot / 4;
    const bool first = threadIdx.x % kLanesPerSlot == 0;
    if (first && slot % 4 < 3 && sample < grid.batch) sums[3 * sample + slot % 4] = sum;
  }
  if (with_columns) columns.store(chunk, basis_tile, sums + 3 * grid.batch);
}

// ------------------------------------------------------------------------------------------------------- WPDC

constexpr int kWpdcWarps = 8;

// Each may be null.
template <typename T>
struct WpdcResult {
  T* wpdc;     // [batch]
  T* slope;    // [batch, 12 + coefficients]
  T* weights;  // [batch, 12 + coefficients]
};

//   warp   : one sample, its lanes striding over the parameters
//   shared : none
//   traffic: reads both parameter vectors and writes what is wanted of that size
template <typename T>
__global__ void __launch_bounds__(kWpdcWarps* kLanes)
    wpdc_kernel(FacePair<T> faces, const T* __restrict__ squares,  // [3 * batch + coefficients]
                WpdcResult<T> result, int64_t batch, int params_size, T root_of_points, bool by_sum) {
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * kWpdcWarps + threadIdx.x / kLanes;
  if (sample >= batch) return;  // the same for the whole warp
  const int lane = threadIdx.x % kLanes;
  const int64_t row = sample * params_size;
  T shape_length[3];
#pragma unroll
  for (int j = 0; j < 3; ++j) shape_length[j] = std::sqrt(squares[3 * sample + j]);
  const T* const basis_squares = squares + 3 * batch - math::kPoseSize;
  const auto raw_weight = [&](int i) {
    const T change = math::dewhiten_difference(faces.pred[row + i], faces.target[row + i], faces.param_std[i]);
    const T basis_length = i < math::kPoseSize ? T(0) : std::sqrt(basis_squares[i]);
    return math::wpdc_raw_weight(i, change < 0 ? -change : change, shape_length, root_of_points, basis_length);
  };

  T sum = 0, largest = 0;
  for (int i = lane; i < params_size; i += kLanes) {
    const T raw = raw_weight(i);
    sum += raw;
    largest = raw > largest ? raw : largest;
  }
  sum = warp_sum<kLanes>(sum);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, largest, distance);
    largest = other > largest ? other : largest;
  }
  // A NaN is in the sum, but no maximum.
  const T whole = by_sum || sum != sum ? sum : largest;

  T loss = 0;
  for (int i = lane; i < params_size; i += kLanes) {
    const T weight = raw_weight(i) / whole;
    const T difference = faces.pred[row + i] - faces.target[row + i];
    loss += weight * difference * difference;
    if (result.weights != nullptr) result.weights[row + i] = weight;
    if (result.slope != nullptr) result.slope[row + i] = 2 * weight * difference / params_size;
  }
  loss = warp_sum<kLanes>(loss) / params_size;
  if (result.wpdc != nullptr && lane == 0) result.wpdc[sample] = loss;
  if (result.slope == nullptr || loss == loss) return;
  for (int i = lane; i < params_size; i += kLanes) result.slope[row + i] = kNan<T>;
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

constexpr const char* kOp = "wpdc_wing";

int64_t squares_size(const MorphableShape& shape) { return 3 * shape.batch + shape.coefficients; }

template <typename T>
VertexGrid make_squares_grid(const Wpdc& wpdc, const MorphableShape& shape) {
  const auto make_grid =
      is_small_batch(shape.batch) ? make_vertex_grid<SmallTiling, T> : make_vertex_grid<SquaresTiling<T>, T>;
  return make_grid(shape, wpdc.set, true, kOp);
}

template <typename T, typename Tiling>
void launch_squares_kernel(const ShapeCoefficients<T>& source, const FacePair<T>& faces, T* partials,
                           const VertexGrid& grid, void* stream) {
  const int64_t blocks = grid.vertex_chunks * (grid.sample_tiles + grid.own_chunks() - 1);
  launch(wpdc_squares_kernel<T, Tiling>, grid_of_blocks(blocks, kOp), dim3(Tiling::kThreads),
         tile_values<Tiling>(grid, 1) * sizeof(T), stream, source, faces.mean, faces.basis, partials, grid);
}

template <typename T>
void launch_squares(const FacePair<T>& faces, const Wpdc& wpdc, T* partials, const VertexGrid& grid, void* stream) {
  if (grid.vertex_chunks == 0) return;
  const ShapeCoefficients<T> source{wpdc.predicted_shape ? faces.pred : faces.target, faces.param_mean, faces.param_std,
                                    grid.params_size()};
  const auto launch_it =
      is_small_batch(grid.batch) ? launch_squares_kernel<T, SmallTiling> : launch_squares_kernel<T, SquaresTiling<T>>;
  launch_it(source, faces, partials, grid, stream);
}

// From partial sums of squares to the results.
template <typename T>
void launch_wpdc(const FacePair<T>& faces, const Wpdc& wpdc, const T* partials, int64_t parts, T* squares,
                 const WpdcResult<T>& result, const MorphableShape& shape, void* stream) {
  sum_partials<T>(partials, squares, nullptr, parts, squares_size(shape), squares_size(shape), stream);
  launch(wpdc_kernel<T>, grid_of_blocks(math::ceil_div<int64_t>(shape.batch, kWpdcWarps), kOp),
         dim3(kWpdcWarps * kLanes), 0, stream, faces, squares, result, shape.batch,
         math::kPoseSize + static_cast<int>(shape.coefficients),
         static_cast<T>(std::sqrt(static_cast<double>(wpdc.set.count))), wpdc.by_sum);
}

template <typename T>
struct WpdcWingPlan {
  VertexLossPlan<T> loss;
  bool squares_with_loss;
  VertexGrid squares_grid;  // where they have a pass of their own
  T* rows;
  T* squares_partials;
  T* squares;
  int64_t squares_parts;
  size_t bytes;
};

template <typename T>
WpdcWingPlan<T> make_wpdc_wing_plan(const Wpdc& wpdc, const VertexComparison<T>& comparison, bool slopes,
                                    const MorphableShape& shape, void* workspace) {
  WpdcWingPlan<T> plan{};
  plan.loss = make_vertex_loss_plan(comparison, slopes, shape, kOp);
  const bool same_set = wpdc.set.indices == comparison.set.indices && wpdc.set.count == comparison.set.count;
  plan.squares_with_loss = same_set && can_sum_squares(plan.loss);
  if (plan.squares_with_loss) {
    plan.squares_parts = plan.loss.parts;
  } else {
    plan.squares_grid = make_squares_grid<T>(wpdc, shape);
    plan.squares_parts = plan.squares_grid.vertex_chunks;
  }
  WorkspaceLayout layout(workspace);
  plan.rows = layout.take<T>(partial_rows_size(plan.loss, shape));
  plan.squares_partials = layout.take<T>(plan.squares_parts * squares_size(shape));
  plan.squares = layout.take<T>(squares_size(shape));
  plan.bytes = layout.bytes();
  return plan;
}

}  // namespace

template <typename T>
void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing, const VertexComparison<T>& comparison,
               const WpdcWingOutput<T>& output, const MorphableShape& shape, void* workspace, void* stream) {
  if (shape.batch == 0) return;
  const WpdcWingPlan<T> plan = make_wpdc_wing_plan(wpdc, comparison, output.slope_wing != nullptr, shape, workspace);
  const WingLoss<T> loss{math::wing_constants(wing.width, wing.curvature)};
  const VertexLossPartials<T> partials{plan.rows, plan.squares_with_loss ? plan.squares_partials : nullptr,
                                       wpdc.predicted_shape};
  launch_vertex_loss(faces, comparison, loss, partials, VertexLossResult<T>{output.wing, output.slope_wing}, plan.loss,
                     shape, kOp, stream);
  if (!plan.squares_with_loss) launch_squares(faces, wpdc, plan.squares_partials, plan.squares_grid, stream);
  launch_wpdc(faces, wpdc, plan.squares_partials, plan.squares_parts, plan.squares,
              WpdcResult<T>{output.wpdc, output.slope_wpdc, nullptr}, shape, stream);
}

template <typename T>
size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const MorphableShape& shape) {
  if (shape.batch == 0) return 0;
  const size_t with_slopes = make_wpdc_wing_plan(wpdc, comparison, true, shape, nullptr).bytes;
  const size_t without = make_wpdc_wing_plan(wpdc, comparison, false, shape, nullptr).bytes;
  return with_slopes > without ? with_slopes : without;
}

template <typename T>
void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights, const MorphableShape& shape, void* workspace,
                  void* stream) {
  if (shape.batch == 0) return;
  const VertexGrid grid = make_squares_grid<T>(wpdc, shape);
  T* const squares = static_cast<T*>(workspace);
  T* const partials = squares + squares_size(shape);
  launch_squares(faces, wpdc, partials, grid, stream);
  launch_wpdc(faces, wpdc, partials, grid.vertex_chunks, squares, WpdcResult<T>{nullptr, nullptr, weights}, shape,
              stream);
}

template <typename T>
size_t wpdc_weights_workspace(const Wpdc& wpdc, const MorphableShape& shape) {
  if (shape.batch == 0) return 0;
  const int64_t parts = make_squares_grid<T>(wpdc, shape).vertex_chunks;
  return static_cast<size_t>((1 + parts) * squares_size(shape)) * sizeof(T);
}

#define FRNET_INSTANTIATE(T)                                                                               \
  template void wpdc_wing<T>(const FacePair<T>&, const Wpdc&, const Wing<T>&, const VertexComparison<T>&,  \
                             const WpdcWingOutput<T>&, const MorphableShape&, void*, void*);               \
  template size_t wpdc_wing_workspace<T>(const Wpdc&, const VertexComparison<T>&, const MorphableShape&);  \
  template void wpdc_weights<T>(const FacePair<T>&, const Wpdc&, T*, const MorphableShape&, void*, void*); \
  template size_t wpdc_weights_workspace<T>(const Wpdc&, const MorphableShape&);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
