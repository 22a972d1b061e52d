// Vertices of a 3D morphable model for the samples of a block: what reconstruct_vertices.cu and the losses on vertices
// share. A sample has one or more shapes, each with coefficients a of its own:
//   s[shape,n,:] = mean[n,:] + sum_k basis[n,:,k] * a[shape,k]
// (the mean is in shape 0 alone, the others being differences).
//   block  : 32 vertices x kWarps*kSamples samples at a time
//   thread : one vertex (its lane) of kSamples samples (its warp's)
//   shared : the vertices' rows of the basis and the samples' coefficients, kMaxChunk of them at a time
//   traffic: the tile's mean and basis once per kWarps*kSamples samples
#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "cuda/launch.cuh"
#include "cuda/reduce.cuh"
#include "frnet/morphable.h"
#include "math/conv_index.h"
#include "math/pose_transform.h"

namespace frnet {
namespace cuda {

constexpr int kLanes = 32;
constexpr int kTileVertices = kLanes;
constexpr int kTileRows = 3 * kTileVertices;
// About four blocks for each of 132 multiprocessors. Few in the emulation, so that in small tests too a block goes
// along several tiles.
#if defined(FRNET_HOST_EMULATION)
constexpr int64_t kWantedBlocks = 5;
#else
constexpr int64_t kWantedBlocks = 528;
#endif

// The warps of a block and the samples of each.
template <int kWarps_, int kSamples_>
struct Tiling {
  static constexpr int kWarps = kWarps_;
  static constexpr int kSamples = kSamples_;
  static constexpr int kThreads = kWarps * kLanes;
  static constexpr int kBlockSamples = kWarps * kSamples;
  static constexpr int kBlocks = 16 / kWarps;  // that a multiprocessor should hold, which leaves a thread 128 registers
};

// One sample per warp, for batches that more would leave warps idle with.
using SmallTiling = Tiling<8, 1>;
inline bool is_small_batch(int64_t batch) { return batch <= SmallTiling::kBlockSamples; }

// So many coefficients of float or double make 256 bytes; with them a block of reconstruct_vertices stays within 48 KB.
template <typename T>
constexpr int kMaxChunk = 256 / static_cast<int>(sizeof(T));
// Coefficients of a chunk per lane: lane, lane + 32, ...
template <typename T>
constexpr int kColumns = kMaxChunk<T> / kLanes;

template <typename T>
constexpr T kNan = std::numeric_limits<T>::quiet_NaN();

// How samples and the vertices of a set are dealt out to blocks.
struct VertexWalk {
  int64_t batch;
  int64_t model_vertices;
  VertexSet set;
  int coefficients;
  int64_t sample_tiles;
  int64_t vertex_tiles;
  int64_t vertex_chunks;  // of kernels that sum over vertices: each block sums over one chunk of the tiles

  FRNET_HD int params_size() const { return math::kPoseSize + coefficients; }
  FRNET_HD int64_t first_tile(int64_t vertex_chunk) const { return vertex_chunk * vertex_tiles / vertex_chunks; }
};

struct VertexGrid : VertexWalk {
  int k_chunks;    // the coefficients are taken in so many chunks
  int chunk_size;  // of so many
  int pitch;       // values between rows of the basis tile; odd, so that lanes read different banks

  // Of kernels with a block for each chunk of coefficients: blocks that share a tile.
  FRNET_HD int own_chunks() const { return k_chunks > 0 ? k_chunks : 1; }
};

// Coefficients [first, first + count).
struct CoefficientChunk {
  int first;
  int count;

  // The lane's q-th coefficient, or where there is none the last one: values that nobody will look at are cheaper to
  // compute than to leave out.
  __device__ __forceinline__ int column(int q) const {
    const int k = q * kLanes + threadIdx.x % kLanes;
    return k < count ? k : count - 1;
  }
};

__device__ __forceinline__ CoefficientChunk chunk_of(const VertexGrid& grid, int chunk) {
  const int first = chunk * grid.chunk_size;
  const int left = grid.coefficients - first;
  return {first, left < grid.chunk_size ? left : grid.chunk_size};
}

// ------------------------------------------------------------------------------------------------- vertices

constexpr int64_t kPastTheSet = -1;
constexpr int64_t kOutOfRange = -2;

// Which vertex of the model stands at place n of the set, or one of the above.
__device__ __forceinline__ int64_t vertex_at(const VertexSet& set, int64_t model_vertices, int64_t n) {
  if (n >= set.count) return kPastTheSet;
  const int64_t vertex = set.indices == nullptr ? n : set.indices[n];
  return vertex >= 0 && vertex < model_vertices ? vertex : kOutOfRange;
}

// What stands for the mean and the basis of a vertex that is none.
template <typename T>
__device__ __forceinline__ T absent(int64_t vertex) {
  return vertex == kPastTheSet ? T(0) : kNan<T>;
}

// -------------------------------------------------------------------------------------------------- staging

// The basis of places first_vertex to first_vertex + 31 of the set -> tile[row * pitch + k], row = 3 * place + axis.
template <typename Tiling, typename T>
__device__ __forceinline__ void stage_basis(const T* __restrict__ basis, const VertexGrid& grid, int64_t first_vertex,
                                            const CoefficientChunk& chunk, T* tile) {
  // Vertices of a warp that are loaded before any is stored; more where bandwidth is all, fewer where registers are.
  constexpr int kBatch = (Tiling::kSamples == 1 ? 16 : 8) / static_cast<int>(sizeof(T));
  const int lane = threadIdx.x % kLanes;
#pragma unroll 1
  for (int first = threadIdx.x / kLanes; first < kTileVertices; first += kBatch * Tiling::kWarps) {
    T values[kBatch][3][kColumns<T>];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t vertex = vertex_at(grid.set, grid.model_vertices, first_vertex + first + i * Tiling::kWarps);
      const T* const from = basis + 3 * vertex * grid.coefficients + chunk.first + lane;
#pragma unroll
      for (int j = 0; j < 3; ++j) {
#pragma unroll
        for (int q = 0; q < kColumns<T>; ++q) {
          const bool exists = vertex >= 0 && q * kLanes + lane < chunk.count;
          values[i][j][q] = exists ? from[j * grid.coefficients + q * kLanes] : absent<T>(vertex);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      T* const to = tile + 3 * (first + i * Tiling::kWarps) * grid.pitch + lane;
#pragma unroll
      for (int j = 0; j < 3; ++j) {
#pragma unroll
        for (int q = 0; q < kColumns<T>; ++q) {
          if (q * kLanes + lane < chunk.count) to[j * grid.pitch + q * kLanes] = values[i][j][q];
        }
      }
    }
  }
}

// The coefficients of the block's samples, transposed: tile[(k * kShapes + shape) * kBlockSamples + i]; samples past
// the end are zero. source(shape, sample, k) is a coefficient.
template <typename Tiling, int kShapes, typename T, typename Source>
__device__ __forceinline__ void stage_coefficients(const Source& source, const VertexGrid& grid, int64_t first_sample,
                                                   const CoefficientChunk& chunk, T* tile) {
  constexpr int kBatch = Tiling::kSamples < 4 ? Tiling::kSamples : 4;  // samples loaded before any is stored
  const int lane = threadIdx.x % kLanes;
#pragma unroll 1
  for (int first = threadIdx.x / kLanes; first < Tiling::kBlockSamples; first += kBatch * Tiling::kWarps) {
    T values[kBatch][kShapes][kColumns<T>];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t sample = first_sample + first + i * Tiling::kWarps;
#pragma unroll
      for (int q = 0; q < kColumns<T>; ++q) {
        const int k = q * kLanes + lane;
#pragma unroll
        for (int shape = 0; shape < kShapes; ++shape) {
          const bool exists = sample < grid.batch && k < chunk.count;
          values[i][shape][q] = exists ? source(shape, sample, chunk.first + k) : T(0);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
#pragma unroll
      for (int q = 0; q < kColumns<T>; ++q) {
        const int k = q * kLanes + lane;
        if (k >= chunk.count) continue;
#pragma unroll
        for (int shape = 0; shape < kShapes; ++shape) {
          tile[(k * kShapes + shape) * Tiling::kBlockSamples + first + i * Tiling::kWarps] = values[i][shape][q];
        }
      }
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

template <int kSamples, typename T>
__device__ __forceinline__ void store_samples(T* to, const T (&values)[kSamples]) {
  constexpr int kSize = Pack<T>::kSize;
  if constexpr (kSamples % kSize == 0) {
#pragma unroll
    for (int i = 0; i < kSamples; i += kSize) {
      Pack<T> pack;
#pragma unroll
      for (int j = 0; j < kSize; ++j) pack.set(j, values[i + j]);
      store_pack(to + i, pack);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSamples; ++i) to[i] = values[i];
  }
}

// -------------------------------------------------------------------------------------------------- products

// Adds one chunk of basis * coefficients to the thread's vertex, for each shape of its warp's samples.
template <typename Tiling, int kShapes, typename T>
__device__ __forceinline__ void add_chunk(const T* basis_tile, const T* coefficient_tile, int pitch, int count,
                                          T (&s)[kShapes][Tiling::kSamples][3]) {
  constexpr int kSamples = Tiling::kSamples;
  const T* const row = basis_tile + 3 * (threadIdx.x % kLanes) * pitch;
  const T* const mine = coefficient_tile + threadIdx.x / kLanes * kSamples;
#pragma unroll 2
  for (int k = 0; k < count; ++k) {
    const T b0 = row[k];
    const T b1 = row[pitch + k];
    const T b2 = row[2 * pitch + k];
#pragma unroll
    for (int shape = 0; shape < kShapes; ++shape) {
      T a[kSamples];
      load_samples(mine + (k * kShapes + shape) * Tiling::kBlockSamples, a);
#pragma unroll
      for (int i = 0; i < kSamples; ++i) {
        s[shape][i][0] += b0 * a[i];
        s[shape][i][1] += b1 * a[i];
        s[shape][i][2] += b2 * a[i];
      }
    }
  }
}

// s of the thread's vertex for each shape of its warp's samples. On return the last chunk is still staged. The tiles
// must be free to overwrite once every thread has arrived here, but for the coefficients, which stay from tile to tile
// where they make one chunk: stage_all tells that they are not there yet.
template <typename Tiling, int kShapes, typename T, typename Source>
__device__ __forceinline__ void compute_shapes(const Source& source, const T* __restrict__ mean,
                                               const T* __restrict__ basis, const VertexGrid& grid,
                                               int64_t first_vertex, int64_t first_sample, bool stage_all,
                                               T* basis_tile, T* coefficient_tile,
                                               T (&s)[kShapes][Tiling::kSamples][3]) {
  const int64_t vertex = vertex_at(grid.set, grid.model_vertices, first_vertex + threadIdx.x % kLanes);
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    const T value = vertex >= 0 ? mean[3 * vertex + j] : absent<T>(vertex);
#pragma unroll
    for (int i = 0; i < Tiling::kSamples; ++i) {
      s[0][i][j] = value;
#pragma unroll
      for (int shape = 1; shape < kShapes; ++shape) s[shape][i][j] = 0;
    }
  }
  for (int c = 0; c < grid.k_chunks; ++c) {
    const CoefficientChunk chunk = chunk_of(grid, c);
    __syncthreads();
    stage_basis<Tiling>(basis, grid, first_vertex, chunk, basis_tile);
    if (stage_all || grid.k_chunks > 1) {
      stage_coefficients<Tiling, kShapes>(source, grid, first_sample, chunk, coefficient_tile);
    }
    __syncthreads();
    if (first_sample + threadIdx.x / kLanes * Tiling::kSamples < grid.batch) {
      add_chunk<Tiling, kShapes>(basis_tile, coefficient_tile, grid.pitch, chunk.count, s);
    }
  }
}

// ------------------------------------------------------------------------------------------------- gradients

// The gradients u with respect to the lanes' s -> u_tile[row * kSamples + i]; the tile is the warp's own.
template <int kSamples, typename T>
__device__ __forceinline__ void stage_gradients(const T (&u)[3][kSamples], T* u_tile) {
  __syncwarp();  // what the tile held before has been read
#pragma unroll
  for (int j = 0; j < 3; ++j) store_samples(u_tile + (3 * (threadIdx.x % kLanes) + j) * kSamples, u[j]);
  __syncwarp();
}

// The gradient with respect to one chunk of the coefficients of a warp's samples.
template <int kSamples, typename T>
struct CoefficientGradient {
  T values[kSamples][kColumns<T>] = {};

  // Adds basis^T u.
  __device__ __forceinline__ void add(const T* u_tile, const T* basis_tile, int pitch, const CoefficientChunk& chunk) {
    if (chunk.count == 0) return;
    const T* columns[kColumns<T>];
#pragma unroll
    for (int q = 0; q < kColumns<T>; ++q) columns[q] = basis_tile + chunk.column(q);
#pragma unroll 4
    for (int r = 0; r < kTileRows; ++r) {
      T row[kSamples];
      load_samples(u_tile + r * kSamples, row);
#pragma unroll
      for (int q = 0; q < kColumns<T>; ++q) {
        const T b = columns[q][r * pitch];
#pragma unroll
        for (int i = 0; i < kSamples; ++i) values[i][q] += b * row[i];
      }
    }
  }

  // Sample i's to to[coefficients], or added to what is there.
  __device__ __forceinline__ void store(int i, const CoefficientChunk& chunk, bool add_to, T* to) const {
#pragma unroll
    for (int q = 0; q < kColumns<T>; ++q) {
      const int k = q * kLanes + threadIdx.x % kLanes;
      if (k < chunk.count) to[chunk.first + k] = add_to ? to[chunk.first + k] + values[i][q] : values[i][q];
    }
  }
};

// ------------------------------------------------------------------------------------------------- launchers

// Tiles of so many samples and vertices, and as many chunks of them as make about wanted_blocks.
inline VertexWalk make_vertex_walk(const MorphableShape& shape, const VertexSet& set, int64_t tile_samples,
                                   int64_t tile_vertices, int64_t wanted_blocks) {
  VertexWalk walk;
  walk.batch = shape.batch;
  walk.model_vertices = shape.vertices;
  walk.set = set;
  walk.coefficients = static_cast<int>(shape.coefficients);
  walk.sample_tiles = math::ceil_div(shape.batch, tile_samples);
  walk.vertex_tiles = math::ceil_div(set.count, tile_vertices);
  const int64_t wanted_chunks = math::ceil_div(wanted_blocks, walk.sample_tiles);
  walk.vertex_chunks = wanted_chunks < walk.vertex_tiles ? wanted_chunks : walk.vertex_tiles;
  return walk;
}

// Of a batch that is not empty. own_chunks: there will be a block for each chunk of coefficients.
template <typename Tiling, typename T>
VertexGrid make_vertex_grid(const MorphableShape& shape, const VertexSet& set, bool own_chunks, const char* op) {
  if (shape.coefficients > (1 << 20)) throw std::invalid_argument(std::string(op) + ": more than 2^20 coefficients");
  VertexGrid grid;
  const int coefficients = static_cast<int>(shape.coefficients);
  grid.k_chunks = math::ceil_div(coefficients, kMaxChunk<T>);
  grid.chunk_size = grid.k_chunks > 0 ? math::ceil_div(coefficients, grid.k_chunks) : 0;
  grid.pitch = grid.chunk_size | 1;
  const int64_t wanted_blocks = own_chunks ? math::ceil_div<int64_t>(kWantedBlocks, grid.own_chunks()) : kWantedBlocks;
  static_cast<VertexWalk&>(grid) = make_vertex_walk(shape, set, Tiling::kBlockSamples, kTileVertices, wanted_blocks);
  return grid;
}

// Values of the basis and coefficient tiles.
template <typename Tiling>
size_t tile_values(const VertexGrid& grid, int shapes) {
  return kTileRows * static_cast<size_t>(grid.pitch) +
         static_cast<size_t>(shapes * Tiling::kBlockSamples) * static_cast<size_t>(grid.chunk_size);
}

}  // namespace cuda
}  // namespace frnet
