// A loss on the vertices of face pairs and its gradient, in full precision; with it, on demand, the sums of squares
// that WPDC's weights are made of.
//   d = (f R)_pred (s + change) + t_pred - (f R)_target s - t_target      s, change: face_pair.cuh, vertex_tile.cuh
//   g = dloss/dd,  q = (f R)_pred^T g:  slope of f R = sum_n g (s + change)^T,  of t = sum_n g,  of a = basis^T q
//   block  : as in vertex_tile.cuh, along one chunk of the vertex tiles. A warp sees all of a sample. The slopes of
//            more coefficients than make one chunk are summed where they are written, for want of registers.
//   thread : one vertex (its lane) of kSamples samples (its warp's), both shapes
//   shared : the tiles of vertex_tile.cuh for two shapes, pose pairs, and q of the tile for every sample
//   traffic: reads mean and basis once per kWarps*kSamples samples -> bound by FMAs for more than a few samples: 9 per
//            vertex, coefficient and sample. More chunks than one: the basis twice, and reads and writes the slopes
//            once per tile. Nothing of [batch, vertices] is stored.
#pragma once

#include "cuda/face_pair.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vertex_tile.cuh"

namespace frnet {
namespace cuda {

// Where blocks write their sums.
template <typename T>
struct VertexLossPartials {
  T* rows;               // [parts, batch, row_size]: the loss, then, where slopes are wanted, 12 + coefficients
  T* squares;            // [parts, 3 * batch + coefficients]: of shapes along each axis, of columns; null: not wanted,
                         // which it must be where the coefficients make several chunks
  bool predicted_shape;  // whose squares
};

// ----------------------------------------------------------------------------------------- squares of the basis

// Sums of squares of the columns of one chunk; the warps take turns with the rows.
template <typename Tiling, typename T>
struct ColumnSquares {
  T values[kColumns<T>] = {};

  __device__ __forceinline__ void add(const T* basis_tile, int pitch, const CoefficientChunk& chunk) {
    if (chunk.count == 0) return;
#pragma unroll 4
    for (int r = threadIdx.x / kLanes; r < kTileRows; r += Tiling::kWarps) {
#pragma unroll
      for (int q = 0; q < kColumns<T>; ++q) {
        const T b = basis_tile[r * pitch + chunk.column(q)];
        values[q] += b * b;
      }
    }
  }

  // The block's sums to to[coefficients]. Every thread must call it; staged, count values of each warp, is free to
  // overwrite once all have.
  __device__ __forceinline__ void store(const CoefficientChunk& chunk, T* staged, T* to) const {
    __syncthreads();
#pragma unroll
    for (int q = 0; q < kColumns<T>; ++q) {
      const int k = q * kLanes + threadIdx.x % kLanes;
      if (k < chunk.count) staged[threadIdx.x / kLanes * chunk.count + k] = values[q];
    }
    __syncthreads();
    const int k = threadIdx.x;
    if (k >= chunk.count) return;
    T sum = 0;
#pragma unroll
    for (int warp = 0; warp < Tiling::kWarps; ++warp) sum += staged[warp * chunk.count + k];
    to[chunk.first + k] = sum;
  }
};

// --------------------------------------------------------------------------------------------------- the kernel

// What is summed over vertices for each sample, in the order of warp_reduce_scatter: the loss, three squares and, where
// slopes are wanted, the gradient of the pose.
constexpr int kSquaresSlot = 1;
constexpr int kPoseSlot = 4;
template <bool kSlopes>
constexpr int kSlots = kSlopes ? kPoseSlot + math::kPoseSize : kPoseSlot;

// Which slopes are wanted. Of several chunks of coefficients they take more registers.
enum class Slopes { none, one_chunk, several_chunks };

template <typename T, typename Loss, typename Tiling, Slopes kWanted>
__global__ void __launch_bounds__(Tiling::kThreads, sizeof(T) == 4 ? Tiling::kBlocks : 1)
    vertex_loss_kernel(FacePair<T> faces, VertexComparison<T> comparison, Loss loss, VertexLossPartials<T> partials,
                       VertexGrid grid) {
  constexpr int kSamples = Tiling::kSamples;
  constexpr bool kSlopes = kWanted != Slopes::none;
  constexpr bool kSeveral = kWanted == Slopes::several_chunks;
  const int warp = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  T* const pose_tile = coefficient_tile + 2 * Tiling::kBlockSamples * grid.chunk_size;
  T* const q_tile = pose_tile + Tiling::kBlockSamples * kPosePairSize + warp * kTileRows * kSamples;

  const int64_t vertex_chunk = blockIdx.x / grid.sample_tiles;
  const int64_t sample_tile = blockIdx.x - vertex_chunk * grid.sample_tiles;
  const int64_t first_sample = sample_tile * Tiling::kBlockSamples;
  const int64_t warp_sample = first_sample + warp * kSamples;
  const bool active = warp_sample < grid.batch;  // the same for the whole warp
  const PairCoefficients<T> source{faces, grid.params_size()};
  const bool with_squares = partials.squares != nullptr;
  const bool with_columns = with_squares && sample_tile == 0;

  stage_poses(faces, source.params_size, comparison.target_tz, first_sample, grid.batch, Tiling::kBlockSamples,
              pose_tile);
  __syncthreads();

  // The lanes of a slot would all have the same; each keeps those of other samples.
  constexpr int kLanesPerSlot = kLanes / kSlots<kSlopes>;
  constexpr int kSharing = kLanesPerSlot < kSamples ? kLanesPerSlot : kSamples;
  const int sharer = lane % kLanesPerSlot;
  T sums[kSamples / kSharing] = {};
  CoefficientGradient<kSamples, T> grad_a;
  ColumnSquares<Tiling, T> columns;
  int64_t first_vertex = grid.first_tile(vertex_chunk) * kTileVertices;
  const int tiles = static_cast<int>(grid.first_tile(vertex_chunk + 1) - grid.first_tile(vertex_chunk));
  for (int tile = 0; tile < tiles; ++tile, first_vertex += kTileVertices) {
    const int64_t n = first_vertex + lane;
    T s[2][kSamples][3];
    compute_shapes<Tiling, 2>(source, faces.mean, faces.basis, grid, first_vertex, first_sample, tile == 0, basis_tile,
                              coefficient_tile, s);
    if (with_columns) columns.add(basis_tile, grid.pitch, chunk_of(grid, 0));

    if (active) {
      const bool exists = n < grid.set.count;
      const T weight = exists && comparison.weights != nullptr ? comparison.weights[n] : T(1);
      T q[3][kSamples];
#pragma unroll
      for (int i = 0; i < kSamples; ++i) {
        T poses[kPosePairSize];
        load_window(pose_tile + (warp * kSamples + i) * kPosePairSize, poses);
        T slots[kSlots<kSlopes>] = {};
        T g[3];
        slots[0] = compare_vertex(loss, poses, s[0][i], s[1][i], exists, weight, g);
        T s_pred[3];
#pragma unroll
        for (int j = 0; j < 3; ++j) s_pred[j] = s[0][i][j] + s[1][i][j];
        if (with_squares) {
#pragma unroll
          for (int j = 0; j < 3; ++j) {
            const T length = partials.predicted_shape ? s_pred[j] : s[0][i][j];
            slots[kSquaresSlot + j] = length * length;
          }
        }
        if constexpr (kSlopes) {
          T q_n[3];
          math::pose_transform_backward_point(poses, g, q_n);
          math::pose_transform_backward_pose(g, s_pred, slots + kPoseSlot);
#pragma unroll
          for (int j = 0; j < 3; ++j) q[j][i] = q_n[j];
        }
        const T sum = warp_reduce_scatter(slots);
        if (sharer == i % kSharing) sums[i / kSharing] += sum;
      }
      if constexpr (kSlopes) stage_gradients(q, q_tile);
    }

    if constexpr (kSlopes) {
      for (int c = kSeveral ? grid.k_chunks - 1 : 0; c >= 0; --c) {
        const CoefficientChunk chunk = chunk_of(grid, c);
        if (kSeveral && c + 1 < grid.k_chunks) {  // compute_shapes left the last chunk there
          __syncthreads();
          stage_basis<Tiling>(faces.basis, grid, first_vertex, chunk, basis_tile);
          __syncthreads();
        }
        if (!active) continue;
        grad_a.add(q_tile, basis_tile, grid.pitch, chunk);
        if constexpr (kSeveral) {
          const int64_t row_size = 1 + source.params_size;
          T* const rows = partials.rows + (vertex_chunk * grid.batch + warp_sample) * row_size;
#pragma unroll
          for (int i = 0; i < kSamples; ++i) {
            if (warp_sample + i >= grid.batch) break;
            grad_a.store(i, chunk, tile != 0, rows + i * row_size + 1 + math::kPoseSize);
          }
          grad_a = {};
        }
      }
    }
  }

  const int64_t row_size = kSlopes ? 1 + source.params_size : 1;
  T* const rows = partials.rows + (vertex_chunk * grid.batch + warp_sample) * row_size;
  const int slot = lane / kLanesPerSlot;
  T* const squares = with_squares ? partials.squares + vertex_chunk * (3 * grid.batch + grid.coefficients) : nullptr;
#pragma unroll
  for (int i = 0; i < kSamples; ++i) {
    const int64_t sample = warp_sample + i;
    if (sample >= grid.batch) break;
    T* const row = rows + i * row_size;
    if (sharer == i % kSharing) {
      const T sum = sums[i / kSharing];
      if (slot == 0) row[0] = sum;
      if (slot >= kPoseSlot) row[1 + slot - kPoseSlot] = sum;
      if (with_squares && slot >= kSquaresSlot && slot < kPoseSlot) squares[3 * sample + slot - kSquaresSlot] = sum;
    }
    if (kWanted == Slopes::one_chunk) grad_a.store(i, chunk_of(grid, 0), false, row + 1 + math::kPoseSize);
  }
  if (with_columns) columns.store(chunk_of(grid, 0), basis_tile, squares + 3 * grid.batch);
}

}  // namespace cuda
}  // namespace frnet
