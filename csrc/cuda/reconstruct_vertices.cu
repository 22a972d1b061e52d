// Vertices of a 3D morphable model under a pose, and the gradient with respect to the parameters:
//   s[b,n,:] = mean[n,:] + sum_k basis[n,:,k] * a[b,k]        v[b,n,:] = (f R)[b] s[b,n,:] + t[b]
//   block  : 32 vertices x 8*kSamples samples at a time;  thread: one vertex (its lane) of kSamples samples
//            (its warp's)
//   shared : the tiles of vertex_tile.cuh, and one row of output per warp
//   traffic: forward reads mean and basis once per 8*kSamples samples and writes each vertex once -> bandwidth bound
//            for few samples, bound by FMAs for many. No [batch, 3*vertices] intermediate is stored.
#include "frnet/reconstruct_vertices.h"

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vertex_tile.cuh"
#include "math/pose_transform.h"

namespace frnet {
namespace cuda {

using ForwardTiling = Tiling<8, 8>;
// The backward pass keeps the 12 pose gradients of each of a thread's samples in registers.
template <typename T>
using BackwardTiling = Tiling<8, 16 / static_cast<int>(sizeof(T))>;

// The one shape of a sample.
template <typename T>
struct ParamsCoefficients {
  const T* params;  // [batch, 12 + coefficients]
  int size;         // 12 + coefficients

  __device__ __forceinline__ T operator()(int, int64_t sample, int k) const {
    return params[sample * size + math::kPoseSize + k];
  }
};

// ------------------------------------------------------------------------------------------- forward kernel

template <typename T, typename Tiling>
__global__ void __launch_bounds__(Tiling::kThreads, Tiling::kBlocks)
    reconstruct_vertices_kernel(const T* __restrict__ params,  // [batch, 12 + coefficients]
                                const T* __restrict__ mean,    // [vertices, 3]
                                const T* __restrict__ basis,   // [vertices, 3, coefficients]
                                T* __restrict__ vertices_out,  // [batch, set.count, 3]
                                VertexGrid grid) {
  constexpr int kSamples = Tiling::kSamples;
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  // One row of output per warp, so that its lanes can write consecutive values.
  T* const row = coefficient_tile + Tiling::kBlockSamples * grid.chunk_size + threadIdx.x / kLanes * kTileRows;

  // Blocks of one vertex tile follow each other: the later ones find its basis in the L2 cache.
  const int64_t vertex_tile = blockIdx.x / grid.sample_tiles;
  const int64_t first_vertex = vertex_tile * kTileVertices;
  const int64_t first_sample = (blockIdx.x - vertex_tile * grid.sample_tiles) * Tiling::kBlockSamples;
  T s[1][kSamples][3];
  compute_shapes<Tiling, 1>(ParamsCoefficients<T>{params, grid.params_size()}, mean, basis, grid, first_vertex,
                            first_sample, true, basis_tile, coefficient_tile, s);

  const int lane = threadIdx.x % kLanes;
  const int64_t warp_sample = first_sample + threadIdx.x / kLanes * kSamples;
  const int64_t values_left = 3 * (grid.set.count - first_vertex);
#pragma unroll
  for (int i = 0; i < kSamples; ++i) {
    const int64_t sample = warp_sample + i;
    if (sample >= grid.batch) break;  // the same for the whole warp
    T v[3];
    math::pose_transform(params + sample * grid.params_size(), s[0][i], v);
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 3; ++j) row[3 * lane + j] = v[j];
    __syncwarp();
    T* const to = vertices_out + 3 * (sample * grid.set.count + first_vertex);
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      const int at = j * kLanes + lane;
      if (at < values_left) to[at] = row[at];
    }
  }
}

// ------------------------------------------------------------------------------------------ backward kernel

// With u = (f R)^T grad_v:  grad_a[b,k] = sum_{n,j} basis[n,j,k] u[b,n,j],  grad_(f R) = sum_n grad_v s^T,
// grad_t = sum_n grad_v. s is computed again. A block sums over its chunk of vertex tiles for its samples and one chunk
// of coefficients; chunk 0 also does the pose. A warp sees all of a sample, so nothing crosses warps.
//   shared : as forward, but u of the tile for every sample instead of the row
//   traffic: reads grad_v once, and mean and basis once, per 8*kSamples samples and chunk of coefficients
template <typename T, typename Tiling>
__global__ void __launch_bounds__(Tiling::kThreads, Tiling::kBlocks)
    reconstruct_vertices_backward_kernel(const T* __restrict__ grad_vertices,  // [batch, set.count, 3]
                                         const T* __restrict__ params,         // [batch, 12 + coefficients]
                                         const T* __restrict__ mean,           // [vertices, 3]
                                         const T* __restrict__ basis,          // [vertices, 3, coefficients]
                                         T* __restrict__ partials,  // [vertex_chunks, batch, 12 + coefficients]
                                         VertexGrid grid) {
  constexpr int kSamples = Tiling::kSamples;
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  const int warp = threadIdx.x / kLanes;
  T* const u_tile = coefficient_tile + Tiling::kBlockSamples * grid.chunk_size + warp * kTileRows * kSamples;

  const int own_chunk = static_cast<int>(blockIdx.x % grid.own_chunks());
  const int64_t block = blockIdx.x / grid.own_chunks();
  const int64_t vertex_chunk = block / grid.sample_tiles;
  const int64_t first_sample = (block - vertex_chunk * grid.sample_tiles) * Tiling::kBlockSamples;
  const int64_t warp_sample = first_sample + warp * kSamples;
  const CoefficientChunk chunk = chunk_of(grid, own_chunk);
  const ParamsCoefficients<T> source{params, grid.params_size()};

  T grad_pose[kSamples][math::kPoseSize] = {};
  CoefficientGradient<kSamples, T> grad_a;
  const int64_t begin = grid.first_tile(vertex_chunk);
  const int64_t end = grid.first_tile(vertex_chunk + 1);
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t first_vertex = tile * kTileVertices;
    const int64_t n = first_vertex + threadIdx.x % kLanes;
    T s[1][kSamples][3];
    compute_shapes<Tiling, 1>(source, mean, basis, grid, first_vertex, first_sample, tile == begin, basis_tile,
                              coefficient_tile, s);
    if (own_chunk + 1 < grid.k_chunks) {  // compute_shapes left the last chunk there
      __syncthreads();
      stage_basis<Tiling>(basis, grid, first_vertex, chunk, basis_tile);
      __syncthreads();
    }
    if (warp_sample >= grid.batch) continue;  // the same for the whole warp
    T u[3][kSamples] = {};
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      const int64_t sample = warp_sample + i;
      if (sample >= grid.batch || n >= grid.set.count) continue;
      const T* const g = grad_vertices + 3 * (sample * grid.set.count + n);
      const T g_n[3] = {g[0], g[1], g[2]};
      T u_n[3];
      math::pose_transform_backward_point(params + sample * source.size, g_n, u_n);
      math::pose_transform_backward_pose(g_n, s[0][i], grad_pose[i]);
#pragma unroll
      for (int j = 0; j < 3; ++j) u[j][i] = u_n[j];
    }
    stage_gradients(u, u_tile);
    grad_a.add(u_tile, basis_tile, grid.pitch, chunk);
  }

  T* const rows = partials + vertex_chunk * grid.batch * source.size;
#pragma unroll
  for (int i = 0; i < kSamples; ++i) {
    const int64_t sample = warp_sample + i;
    T* const to = rows + sample * source.size;
#pragma unroll
    for (int p = 0; p < math::kPoseSize; ++p) {
      const T sum = warp_sum<kLanes>(grad_pose[i][p]);
      if (own_chunk == 0 && threadIdx.x % kLanes == 0 && sample < grid.batch) to[p] = sum;
    }
    if (sample < grid.batch) grad_a.store(i, chunk, false, to + math::kPoseSize);
  }
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

constexpr const char* kOp = "reconstruct_vertices";

template <typename T, typename Tiling>
void launch_forward(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                    const MorphableShape& shape, void* stream) {
  const VertexGrid grid = make_vertex_grid<Tiling, T>(shape, set, false, kOp);
  const size_t values = tile_values<Tiling>(grid, 1) + Tiling::kWarps * kTileRows;
  launch(reconstruct_vertices_kernel<T, Tiling>, grid_of_blocks(grid.vertex_tiles * grid.sample_tiles, kOp),
         dim3(Tiling::kThreads), values * sizeof(T), stream, params, mean, basis, vertices_out, grid);
}

template <typename T, typename Tiling>
int64_t launch_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis, const VertexSet& set,
                        T* partials, const MorphableShape& shape, void* stream) {
  const VertexGrid grid = make_vertex_grid<Tiling, T>(shape, set, true, kOp);
  const size_t values = tile_values<Tiling>(grid, 1) + Tiling::kBlockSamples * kTileRows;
  launch(reconstruct_vertices_backward_kernel<T, Tiling>,
         grid_of_blocks(grid.vertex_chunks * grid.sample_tiles * grid.own_chunks(), kOp), dim3(Tiling::kThreads),
         values * sizeof(T), stream, grad_vertices, params, mean, basis, partials, grid);
  return grid.vertex_chunks;
}

}  // namespace

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                          const MorphableShape& shape, void* stream) {
  if (shape.batch * set.count == 0) return;
  const auto launch_it =
      is_small_batch(shape.batch) ? launch_forward<T, SmallTiling> : launch_forward<T, ForwardTiling>;
  launch_it(params, mean, basis, set, vertices_out, shape, stream);
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const MorphableShape& shape) {
  if (shape.batch * set.count == 0) return 0;
  const auto make_grid =
      is_small_batch(shape.batch) ? make_vertex_grid<SmallTiling, T> : make_vertex_grid<BackwardTiling<T>, T>;
  const VertexGrid grid = make_grid(shape, set, true, kOp);
  return static_cast<size_t>(grid.vertex_chunks * shape.batch * grid.params_size()) * sizeof(T);
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   const VertexSet& set, T* grad_params, const MorphableShape& shape, void* workspace,
                                   void* stream) {
  T* const partials = static_cast<T*>(workspace);
  int64_t chunks = 0;
  if (shape.batch * set.count != 0) {
    const auto launch_it =
        is_small_batch(shape.batch) ? launch_backward<T, SmallTiling> : launch_backward<T, BackwardTiling<T>>;
    chunks = launch_it(grad_vertices, params, mean, basis, set, partials, shape, stream);
  }
  const int64_t columns = shape.batch * (math::kPoseSize + shape.coefficients);
  sum_partials<T>(partials, grad_params, nullptr, chunks, columns, columns, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                       \
  template void reconstruct_vertices<T>(const T*, const T*, const T*, const VertexSet&, T*, const MorphableShape&, \
                                        void*);                                                                    \
  template size_t reconstruct_vertices_backward_workspace<T>(const VertexSet&, const MorphableShape&);             \
  template void reconstruct_vertices_backward<T>(const T*, const T*, const T*, const T*, const VertexSet&, T*,     \
                                                 const MorphableShape&, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
