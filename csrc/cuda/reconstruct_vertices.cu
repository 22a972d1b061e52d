// Vertices of a 3D morphable model under a pose, and the gradient with respect to the parameters:
//   s[b,n,:] = mean[n,:] + sum_k basis[n,:,k] * a[b,k]        v[b,n,:] = (f R)[b] s[b,n,:] + t[b]
//   block  : 32 vertices x 8*kSamples samples at a time;  thread: one vertex (its lane) of kSamples samples
//            (its warp's)
//   shared : the vertices' rows of the basis and the samples' coefficients, kMaxChunk of them at a time
//   traffic: forward reads mean and basis once per 8*kSamples samples and writes each vertex once ->
//   bandwidth
//            bound for few samples, bound by FMAs for many. No [batch, 3*vertices] intermediate is stored.
#include "frnet/reconstruct_vertices.h"

#include <stdexcept>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "math/conv_index.h"
#include "math/pose_transform.h"
#include "math/scalar.h"

namespace frnet {
namespace cuda {

constexpr int kWarps = 8;
constexpr int kLanes = 32;
constexpr int kThreads = kWarps * kLanes;
constexpr int kTileVertices = kLanes;
constexpr int kTileRows = 3 * kTileVertices;
constexpr int kForwardSamples = 8;
// The backward pass keeps the 12 pose gradients of each of a thread's samples in registers.
template <typename T>
constexpr int kBackwardSamples = 16 / static_cast<int>(sizeof(T));
// About four blocks for each of 132 multiprocessors.
constexpr int64_t kWantedBlocks = 528;

// So many coefficients of float or double make 256 bytes; with them a block stays within 48 KB.
template <typename T>
constexpr int kMaxChunk = 256 / static_cast<int>(sizeof(T));

struct VertexGrid {
  int64_t batch;
  int64_t vertices;
  int coefficients;
  int k_chunks;    // the coefficients are taken in so many chunks
  int chunk_size;  // of so many
  int pitch;       // values between rows of the basis tile; odd, so that lanes read different banks
  int64_t sample_tiles;
  int64_t vertex_tiles;
  int64_t vertex_chunks;  // backward: each block sums over one chunk of the tiles
};

// --------------------------------------------------------------------------------------------- shared parts

// basis[first_row + r, first_k + k] -> tile[r * pitch + k]; rows past the end become zero.
template <typename T>
__device__ __forceinline__ void stage_basis(const T* __restrict__ basis, const VertexGrid& grid, int64_t first_row,
                                            int first_k, int count, T* tile) {
  const int64_t rows_left = 3 * grid.vertices - first_row;
  const int warp = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
#pragma unroll 4
  for (int r = warp; r < kTileRows; r += kWarps) {
    const T* from = basis + (first_row + r) * grid.coefficients + first_k;
#pragma unroll
    for (int k = lane; k < kMaxChunk<T>; k += kLanes) {
      if (k < count) tile[r * grid.pitch + k] = r < rows_left ? from[k] : T(0);
    }
  }
}

// One value for each of the warp's samples, from shared memory; in 16-byte packs where they fill some.
template <int kSamples, typename T>
__device__ __forceinline__ void load_samples(const T* from, T (&values)[kSamples]) {
  if constexpr (kSamples % Pack<T>::kSize == 0) {
    load_window(from, values);
  } else {
#pragma unroll
    for (int i = 0; i < kSamples; ++i) values[i] = from[i];
  }
}

// The coefficients of the block's samples, transposed: tile[k * samples + i]; samples past the end are zero.
template <typename T>
__device__ __forceinline__ void stage_coefficients(const T* __restrict__ params, const VertexGrid& grid,
                                                   int64_t first_sample, int samples, int first_k, int count, T* tile) {
  const int64_t samples_left = grid.batch - first_sample;
  const int warp = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
#pragma unroll 1
  for (int i = warp; i < samples; i += kWarps) {
    const T* from = params + (first_sample + i) * (math::kPoseSize + grid.coefficients) + math::kPoseSize + first_k;
#pragma unroll
    for (int k = lane; k < kMaxChunk<T>; k += kLanes) {
      if (k < count) tile[k * samples + i] = i < samples_left ? from[k] : T(0);
    }
  }
}

// Adds one chunk of basis * coefficients to the thread's vertex, for each of its warp's samples.
template <int kSamples, typename T>
__device__ __forceinline__ void add_chunk(const T* basis_tile, const T* coefficient_tile, int pitch, int count,
                                          T (&s)[kSamples][3]) {
  const T* const row = basis_tile + 3 * (threadIdx.x % kLanes) * pitch;
  const T* const mine = coefficient_tile + threadIdx.x / kLanes * kSamples;
#pragma unroll 2
  for (int k = 0; k < count; ++k) {
    const T b0 = row[k];
    const T b1 = row[pitch + k];
    const T b2 = row[2 * pitch + k];
    T a[kSamples];
    load_samples(mine + k * kWarps * kSamples, a);
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      s[i][0] += b0 * a[i];
      s[i][1] += b1 * a[i];
      s[i][2] += b2 * a[i];
    }
  }
}

// s of the thread's vertex for each of its warp's samples. On return the last chunk is still staged. The
// tiles must be free to overwrite once every thread has arrived here.
template <int kSamples, typename T>
__device__ __forceinline__ void compute_shape(const T* __restrict__ params, const T* __restrict__ mean,
                                              const T* __restrict__ basis, const VertexGrid& grid, int64_t first_vertex,
                                              int64_t first_sample, T* basis_tile, T* coefficient_tile,
                                              T (&s)[kSamples][3]) {
  const int64_t vertex = first_vertex + threadIdx.x % kLanes;
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    const T value = vertex < grid.vertices ? mean[3 * vertex + j] : T(0);
#pragma unroll
    for (int i = 0; i < kSamples; ++i) s[i][j] = value;
  }
  for (int chunk = 0; chunk < grid.k_chunks; ++chunk) {
    const int first_k = chunk * grid.chunk_size;
    const int left = grid.coefficients - first_k;
    const int count = left < grid.chunk_size ? left : grid.chunk_size;
    __syncthreads();
    stage_basis(basis, grid, 3 * first_vertex, first_k, count, basis_tile);
    stage_coefficients(params, grid, first_sample, kWarps * kSamples, first_k, count, coefficient_tile);
    __syncthreads();
    if (first_sample + threadIdx.x / kLanes * kSamples < grid.batch) {
      add_chunk<kSamples>(basis_tile, coefficient_tile, grid.pitch, count, s);
    }
  }
}

// ------------------------------------------------------------------------------------------- forward kernel

template <typename T, int kSamples>
__global__ void __launch_bounds__(kThreads, 2)
    reconstruct_vertices_kernel(const T* __restrict__ params,  // [batch, 12 + coefficients]
                                const T* __restrict__ mean,    // [vertices, 3]
                                const T* __restrict__ basis,   // [vertices, 3, coefficients]
                                T* __restrict__ vertices_out,  // [batch, vertices, 3]
                                VertexGrid grid) {
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  // One row of output per warp, so that its lanes can write consecutive values.
  T* const row = coefficient_tile + kWarps * kSamples * grid.chunk_size + threadIdx.x / kLanes * kTileRows;

  // Blocks of one vertex tile follow each other: the later ones find its basis in the L2 cache.
  const int64_t vertex_tile = blockIdx.x / grid.sample_tiles;
  const int64_t first_vertex = vertex_tile * kTileVertices;
  const int64_t first_sample = (blockIdx.x - vertex_tile * grid.sample_tiles) * (kWarps * kSamples);
  T s[kSamples][3];
  compute_shape<kSamples>(params, mean, basis, grid, first_vertex, first_sample, basis_tile, coefficient_tile, s);

  const int lane = threadIdx.x % kLanes;
  const int64_t warp_sample = first_sample + threadIdx.x / kLanes * kSamples;
  const int64_t values_left = 3 * (grid.vertices - first_vertex);
#pragma unroll
  for (int i = 0; i < kSamples; ++i) {
    const int64_t sample = warp_sample + i;
    if (sample >= grid.batch) break;  // the same for the whole warp
    T v[3];
    math::pose_transform(params + sample * (math::kPoseSize + grid.coefficients), s[i], v);
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 3; ++j) row[3 * lane + j] = v[j];
    __syncwarp();
    T* const to = vertices_out + 3 * (sample * grid.vertices + first_vertex);
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      const int at = j * kLanes + lane;
      if (at < values_left) to[at] = row[at];
    }
  }
}

// ------------------------------------------------------------------------------------------ backward kernel

// With u = (f R)^T grad_v:  grad_a[b,k] = sum_{n,j} basis[n,j,k] u[b,n,j],  grad_(f R) = sum_n grad_v s^T,
// grad_t = sum_n grad_v. s is computed again. A block sums over its chunk of vertex tiles for its samples and
// one chunk of coefficients; chunk 0 also does the pose. A warp sees all of a sample, so nothing crosses
// warps.
//   shared : as forward, and u of the tile for every sample
//   traffic: reads grad_v once, and mean and basis once, per 8*kSamples samples and chunk of coefficients
template <typename T, int kSamples>
__global__ void __launch_bounds__(kThreads, 2)
    reconstruct_vertices_backward_kernel(const T* __restrict__ grad_vertices,  // [batch, vertices, 3]
                                         const T* __restrict__ params,         // [batch, 12 + coefficients]
                                         const T* __restrict__ mean,           // [vertices, 3]
                                         const T* __restrict__ basis,          // [vertices, 3, coefficients]
                                         T* __restrict__ partials,  // [vertex_chunks, batch, 12 + coefficients]
                                         VertexGrid grid) {
  constexpr int kColumns = kMaxChunk<T> / kLanes;  // coefficients per lane
  T* const basis_tile = shared_memory<T>();
  T* const coefficient_tile = basis_tile + kTileRows * grid.pitch;
  const int warp = threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  T* const u_tile = coefficient_tile + kWarps * kSamples * grid.chunk_size + warp * kTileRows * kSamples;

  const int own_chunks = grid.k_chunks > 0 ? grid.k_chunks : 1;
  const int own_chunk = static_cast<int>(blockIdx.x % own_chunks);
  const int64_t block = blockIdx.x / own_chunks;
  const int64_t vertex_chunk = block / grid.sample_tiles;
  const int64_t first_sample = (block - vertex_chunk * grid.sample_tiles) * (kWarps * kSamples);
  const int64_t warp_sample = first_sample + warp * kSamples;
  const int first_k = own_chunk * grid.chunk_size;
  const int left = grid.coefficients - first_k;
  const int count = left < grid.chunk_size ? left : grid.chunk_size;
  const int params_size = math::kPoseSize + grid.coefficients;

  T grad_pose[kSamples][math::kPoseSize] = {};
  T grad_a[kSamples][kColumns] = {};
  const int64_t tile_end = (vertex_chunk + 1) * grid.vertex_tiles / grid.vertex_chunks;
  for (int64_t tile = vertex_chunk * grid.vertex_tiles / grid.vertex_chunks; tile < tile_end; ++tile) {
    const int64_t first_vertex = tile * kTileVertices;
    const int64_t vertex = first_vertex + lane;
    T s[kSamples][3];
    compute_shape<kSamples>(params, mean, basis, grid, first_vertex, first_sample, basis_tile, coefficient_tile, s);
    if (own_chunk != grid.k_chunks - 1 && grid.k_chunks > 0) {
      __syncthreads();
      stage_basis(basis, grid, 3 * first_vertex, first_k, count, basis_tile);
      __syncthreads();
    }
    if (warp_sample >= grid.batch) continue;  // the same for the whole warp
#pragma unroll
    for (int i = 0; i < kSamples; ++i) {
      const int64_t sample = warp_sample + i;
      T g[3] = {};
      T u[3] = {};
      if (sample < grid.batch && vertex < grid.vertices) {
        const T* from = grad_vertices + 3 * (sample * grid.vertices + vertex);
#pragma unroll
        for (int j = 0; j < 3; ++j) g[j] = from[j];
        math::pose_transform_backward_point(params + sample * params_size, g, u);
      }
      math::pose_transform_backward_pose(g, s[i], grad_pose[i]);
#pragma unroll
      for (int j = 0; j < 3; ++j) u_tile[(3 * lane + j) * kSamples + i] = u[j];
    }
    __syncwarp();
#pragma unroll 2
    for (int r = 0; r < kTileRows; ++r) {
      T u[kSamples];
      load_samples(u_tile + r * kSamples, u);
#pragma unroll
      for (int q = 0; q < kColumns; ++q) {
        const int k = q * kLanes + lane;
        const T b = k < count ? basis_tile[r * grid.pitch + k] : T(0);
#pragma unroll
        for (int i = 0; i < kSamples; ++i) grad_a[i][q] += b * u[i];
      }
    }
    __syncwarp();  // without coefficients compute_shape has no barrier before u_tile is written again
  }

  T* const rows = partials + vertex_chunk * grid.batch * params_size;
#pragma unroll
  for (int i = 0; i < kSamples; ++i) {
    const int64_t sample = warp_sample + i;
    T* const to = rows + sample * params_size;
#pragma unroll
    for (int p = 0; p < math::kPoseSize; ++p) {
      const T sum = warp_sum<kLanes>(grad_pose[i][p]);
      if (own_chunk == 0 && lane == 0 && sample < grid.batch) to[p] = sum;
    }
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
      const int k = q * kLanes + lane;
      if (k < count && sample < grid.batch) to[math::kPoseSize + first_k + k] = grad_a[i][q];
    }
  }
}

// ------------------------------------------------------------------------------------------------ launchers

namespace {

template <typename T>
VertexGrid make_grid(const ReconstructVerticesShape& shape, int samples) {
  if (shape.coefficients > (1 << 20)) throw std::invalid_argument("reconstruct_vertices: more than 2^20 coefficients");
  VertexGrid grid;
  grid.batch = shape.batch;
  grid.vertices = shape.vertices;
  grid.coefficients = static_cast<int>(shape.coefficients);
  grid.k_chunks = math::ceil_div(grid.coefficients, kMaxChunk<T>);
  grid.chunk_size = grid.k_chunks > 0 ? math::ceil_div(grid.coefficients, grid.k_chunks) : 0;
  grid.pitch = grid.chunk_size | 1;
  grid.sample_tiles = math::ceil_div<int64_t>(shape.batch, kWarps * samples);
  grid.vertex_tiles = math::ceil_div<int64_t>(shape.vertices, kTileVertices);
  const int64_t blocks_per_chunk = grid.sample_tiles * (grid.k_chunks > 0 ? grid.k_chunks : 1);
  const int64_t wanted = math::ceil_div<int64_t>(kWantedBlocks, blocks_per_chunk);
  grid.vertex_chunks = wanted < grid.vertex_tiles ? wanted : grid.vertex_tiles;
  return grid;
}

dim3 grid_of(int64_t blocks) {
  if (blocks > 0x7fffffff) throw std::invalid_argument("reconstruct_vertices: more work than one launch can name");
  return dim3(static_cast<unsigned>(blocks));
}

template <typename T>
size_t shared_bytes(const VertexGrid& grid, int samples, int rows_per_warp) {
  return (kTileRows * static_cast<size_t>(grid.pitch) + kWarps * samples * static_cast<size_t>(grid.chunk_size) +
          kWarps * static_cast<size_t>(kTileRows) * rows_per_warp) *
         sizeof(T);
}

template <typename T, int kSamples>
void launch_forward(const T* params, const T* mean, const T* basis, T* vertices_out,
                    const ReconstructVerticesShape& shape, void* stream) {
  const VertexGrid grid = make_grid<T>(shape, kSamples);
  launch(reconstruct_vertices_kernel<T, kSamples>, grid_of(grid.vertex_tiles * grid.sample_tiles), dim3(kThreads),
         shared_bytes<T>(grid, kSamples, 1), stream, params, mean, basis, vertices_out, grid);
}

template <typename T, int kSamples>
int64_t launch_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis, T* partials,
                        const ReconstructVerticesShape& shape, void* stream) {
  const VertexGrid grid = make_grid<T>(shape, kSamples);
  const int own_chunks = grid.k_chunks > 0 ? grid.k_chunks : 1;
  launch(reconstruct_vertices_backward_kernel<T, kSamples>,
         grid_of(grid.vertex_chunks * grid.sample_tiles * own_chunks), dim3(kThreads),
         shared_bytes<T>(grid, kSamples, kSamples), stream, grad_vertices, params, mean, basis, partials, grid);
  return grid.vertex_chunks;
}

// One sample per warp is enough: more would leave warps idle.
bool is_small(const ReconstructVerticesShape& shape) { return shape.batch <= kWarps; }

}  // namespace

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, T* vertices_out,
                          const ReconstructVerticesShape& shape, void* stream) {
  if (shape.batch * shape.vertices == 0) return;
  if (is_small(shape)) {
    launch_forward<T, 1>(params, mean, basis, vertices_out, shape, stream);
  } else {
    launch_forward<T, kForwardSamples>(params, mean, basis, vertices_out, shape, stream);
  }
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const ReconstructVerticesShape& shape) {
  if (shape.batch * shape.vertices == 0) return 0;
  const VertexGrid grid = make_grid<T>(shape, is_small(shape) ? 1 : kBackwardSamples<T>);
  return static_cast<size_t>(grid.vertex_chunks * shape.batch * (math::kPoseSize + shape.coefficients)) * sizeof(T);
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   T* grad_params, const ReconstructVerticesShape& shape, void* workspace,
                                   void* stream) {
  T* const partials = static_cast<T*>(workspace);
  int64_t chunks = 0;
  if (shape.batch * shape.vertices != 0) {
    chunks = is_small(shape)
                 ? launch_backward<T, 1>(grad_vertices, params, mean, basis, partials, shape, stream)
                 : launch_backward<T, kBackwardSamples<T>>(grad_vertices, params, mean, basis, partials, shape, stream);
  }
  const int64_t columns = shape.batch * (math::kPoseSize + shape.coefficients);
  sum_partials<T>(partials, grad_params, nullptr, chunks, columns, columns, stream);
}

#define FRNET_INSTANTIATE(T)                                                                                       \
  template void reconstruct_vertices<T>(const T*, const T*, const T*, T*, const ReconstructVerticesShape&, void*); \
  template size_t reconstruct_vertices_backward_workspace<T>(const ReconstructVerticesShape&);                     \
  template void reconstruct_vertices_backward<T>(const T*, const T*, const T*, const T*, T*,                       \
                                                 const ReconstructVerticesShape&, void*, void*);
FRNET_INSTANTIATE(float)
FRNET_INSTANTIATE(double)
#undef FRNET_INSTANTIATE

}  // namespace cuda
}  // namespace frnet
