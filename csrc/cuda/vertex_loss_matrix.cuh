// vertex_loss_kernel.cuh with its products on the matrix units: samples x coefficients times coefficients x vertices,
// for each axis of both shapes, and for the gradient samples x vertices times vertices x coefficients.
//   warp   : 16 samples, whose coefficients it keeps in registers
//   thread : two of the samples and, at a time, two of eight vertices, all axes of both shapes: the losses need nobody
//            else's values
//   block  : 4 warps along one chunk of the vertex tiles, for 1, 2 or 4 times 16 samples; warps of the same samples
//            take different vertices of a tile and write partial results of their own
//   shared : the tile's rows of the basis, rounded, its means and weights, and the pose pairs of the samples
//   traffic: reads mean and basis once per 16, 32 or 64 samples
// Sums are float; so are the means and all that is done per vertex.
#pragma once

#include "cuda/face_pair.cuh"
#include "cuda/mma.cuh"
#include "cuda/reduce.cuh"
#include "cuda/vertex_tile.cuh"

namespace frnet {
namespace cuda {

constexpr int kMatrixWarps = 4;
constexpr int kMatrixThreads = kMatrixWarps * kLanes;
constexpr int kMatrixSamples = 16;
constexpr int kMatrixCoefficients = 64;  // fewer are filled up with zeros
// A multiprocessor's registers hold half as many blocks as those of vertex_loss_kernel.cuh.
constexpr int64_t kWantedMatrixBlocks = (kWantedBlocks + 1) / 2;

struct MatrixGrid : VertexWalk {
  int sample_warps;  // of a block's warps: 1, 2 or 4 with samples of their own

  FRNET_HD int vertex_warps() const { return kMatrixWarps / sample_warps; }
};

// The tile of the basis: row 3 * vertex + axis. Its rows are an odd multiple of four words apart, and so is every third
// of them, so that neither eight rows of four words nor four rows of eight words meet in a bank.
template <typename Format>
struct MatrixTile {
  static constexpr int kWords = kMatrixCoefficients / Format::kPerWord;
  static constexpr int kSteps = kWords / 8;  // products along a row
  static constexpr int kPitch = kWords + 4;
  static constexpr int kDepth = 8 * Format::kPerWord;      // vertices of one product of the gradient
  static constexpr int kVertices = kMatrixWarps * kDepth;  // some for each warp, should all share their samples
};

template <typename Format>
size_t matrix_shared_bytes(const MatrixGrid& grid) {
  using Tile = MatrixTile<Format>;
  return (static_cast<size_t>(3 * Tile::kVertices * Tile::kPitch + 4 * Tile::kVertices) +
          static_cast<size_t>(grid.sample_warps * kMatrixSamples * kPosePairSize)) *
         sizeof(float);
}

template <typename Format>
MatrixGrid make_matrix_grid(const MorphableShape& shape, const VertexSet& set) {
  MatrixGrid grid;
  grid.sample_warps = 1;
  while (grid.sample_warps < kMatrixWarps && grid.sample_warps * kMatrixSamples < shape.batch) grid.sample_warps *= 2;
  static_cast<VertexWalk&>(grid) = make_vertex_walk(shape, set, grid.sample_warps * kMatrixSamples,
                                                    MatrixTile<Format>::kVertices, kWantedMatrixBlocks);
  return grid;
}

// The gradient's operands. fragment() makes A of the sums d of eight vertices, group `part` of those of a product, as
// they lie in the registers; load() fetches B with the vertices in that order, for coefficients 16 * pair + 8 * t and
// the seven following in b[t]. rows: the product's first vertex in the tile, at the axis wanted.
template <typename Format>
struct GradientOperands;

template <>
struct GradientOperands<Tf32> {
  // Words place and place + 4 are vertices 2 * place and 2 * place + 1.
  static __device__ __forceinline__ void fragment(int, const float (&d)[4], uint32_t (&a)[4]) {
#pragma unroll
    for (int r = 0; r < 4; ++r) a[r] = Tf32::pack([&](int) { return d[2 * (r % 2) + r / 2]; });
  }
  static __device__ __forceinline__ void load(const uint32_t* rows, int pair, int lane, uint32_t (&b)[2][2]) {
    const uint32_t* const from = rows + 6 * (lane % 4) * MatrixTile<Tf32>::kPitch + 16 * pair + lane / 4;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int r = 0; r < 2; ++r) b[t][r] = from[3 * r * MatrixTile<Tf32>::kPitch + 8 * t];
    }
  }
};

template <>
struct GradientOperands<Bfloat16> {
  // Word place + 4 * part is vertices 8 * part + 2 * place and the next.
  static __device__ __forceinline__ void fragment(int part, const float (&d)[4], uint32_t (&a)[4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) a[2 * part + r] = Bfloat16::pack([&](int i) { return d[2 * r + i]; });
  }
  static __device__ __forceinline__ void load(const uint32_t* rows, int pair, int lane, uint32_t (&b)[2][2]) {
    uint32_t words[4];
    load_matrices_transposed(rows + 3 * (lane % 16) * MatrixTile<Bfloat16>::kPitch + 8 * pair + 4 * (lane / 16), words);
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = words[i];
  }
};

// The tile of places first_vertex and following: rows of the basis as words, and of each vertex x, y, z of the mean and
// the weight.
template <typename Format>
__device__ __forceinline__ void stage_matrix_tile(const FacePair<float>& faces, const float* weights,
                                                  const MatrixGrid& grid, int64_t first_vertex, uint32_t* basis_tile,
                                                  float* point_tile) {
  using Tile = MatrixTile<Format>;
  constexpr int kBatch = 4;  // vertices of a warp loaded before any is stored
  constexpr int kPoints = 4 * Tile::kVertices / kMatrixThreads;
  constexpr int kLaneWords = Tile::kWords / kLanes;
  const int lane = threadIdx.x % kLanes;

  float points[kPoints];
#pragma unroll
  for (int i = 0; i < kPoints; ++i) {
    const int at = threadIdx.x + i * kMatrixThreads;
    const int64_t n = first_vertex + at / 4;
    const int64_t vertex = vertex_at(grid.set, grid.model_vertices, n);
    if (at % 4 < 3) {
      points[i] = vertex >= 0 ? faces.mean[3 * vertex + at % 4] : absent<float>(vertex);
    } else {
      points[i] = weights != nullptr && n < grid.set.count ? weights[n] : 1.0f;
    }
  }
#pragma unroll 1
  for (int first = threadIdx.x / kLanes; first < Tile::kVertices; first += kBatch * kMatrixWarps) {
    float values[kBatch][3][kLaneWords][Format::kPerWord];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int64_t vertex = vertex_at(grid.set, grid.model_vertices, first_vertex + first + i * kMatrixWarps);
      const float* const from = faces.basis + 3 * vertex * grid.coefficients;
#pragma unroll
      for (int j = 0; j < 3; ++j) {
#pragma unroll
        for (int e = 0; e < kLaneWords * Format::kPerWord; ++e) {
          const int word = e / Format::kPerWord, part = e % Format::kPerWord;
          const int k = (word * kLanes + lane) * Format::kPerWord + part;
          const bool exists = vertex >= 0 && k < grid.coefficients;
          const float instead = k < grid.coefficients ? absent<float>(vertex) : 0.0f;
          values[i][j][word][part] = exists ? from[j * grid.coefficients + k] : instead;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      uint32_t* const to = basis_tile + 3 * (first + i * kMatrixWarps) * Tile::kPitch + lane;
#pragma unroll
      for (int j = 0; j < 3; ++j) {
#pragma unroll
        for (int word = 0; word < kLaneWords; ++word) {
          to[j * Tile::kPitch + word * kLanes] = Format::pack([&](int part) { return values[i][j][word][part]; });
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPoints; ++i) point_tile[threadIdx.x + i * kMatrixThreads] = points[i];
}

// A fragments of the coefficients of one shape of the warp's samples. tile: free to overwrite once every thread has
// arrived here, and again once every thread has left.
template <typename Format>
__device__ __forceinline__ void load_coefficients(const PairCoefficients<float>& source, const MatrixGrid& grid,
                                                  int shape, int64_t first_sample, int first_row, uint32_t* tile,
                                                  uint32_t (&a)[MatrixTile<Format>::kSteps][4]) {
  using Tile = MatrixTile<Format>;
  __syncthreads();
  for (int at = threadIdx.x; at < grid.sample_warps * kMatrixSamples * Tile::kWords; at += kMatrixThreads) {
    const int64_t sample = first_sample + at / Tile::kWords;
    const int word = at % Tile::kWords;
    tile[at / Tile::kWords * Tile::kPitch + word] = Format::pack([&](int i) {
      const int k = word * Format::kPerWord + i;
      return k < grid.coefficients && sample < grid.batch ? source(shape, sample, k) : 0.0f;
    });
  }
  __syncthreads();
  const int lane = threadIdx.x % kLanes;
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      a[step][r] = tile[(first_row + lane / 4 + 8 * (r % 2)) * Tile::kPitch + 8 * step + lane % 4 + 4 * (r / 2)];
    }
  }
}

template <typename Format, typename Loss, bool kSlopes>
__global__ void __launch_bounds__(kMatrixThreads, 2)
    vertex_loss_matrix_kernel(FacePair<float> faces, VertexComparison<float> comparison, Loss loss,
                              float* __restrict__ partials,  // [vertex_chunks * vertex_warps, batch, row_size]
                              MatrixGrid grid) {
#if !defined(FRNET_MATRIX_UNITS)
  __trap();
#else
  using Tile = MatrixTile<Format>;
  uint32_t* const basis_tile = shared_memory<uint32_t>();
  float* const point_tile = reinterpret_cast<float*>(basis_tile + 3 * Tile::kVertices * Tile::kPitch);
  float* const pose_tile = point_tile + 4 * Tile::kVertices;
  const int lane = threadIdx.x % kLanes;
  const int group = lane / 4;
  const int place = lane % 4;
  const int sample_warp = threadIdx.x / kLanes % grid.sample_warps;
  const int vertex_warp = threadIdx.x / kLanes / grid.sample_warps;
  const int vertex_warps = grid.vertex_warps();

  const int64_t vertex_chunk = blockIdx.x / grid.sample_tiles;
  const int64_t sample_tile = blockIdx.x - vertex_chunk * grid.sample_tiles;
  const int64_t first_sample = sample_tile * grid.sample_warps * kMatrixSamples;
  const int64_t warp_sample = first_sample + sample_warp * kMatrixSamples;
  const PairCoefficients<float> source{faces, grid.params_size()};

  stage_poses(faces, source.params_size, comparison.target_tz, first_sample, grid.batch,
              grid.sample_warps * kMatrixSamples, pose_tile);
  uint32_t a[2][Tile::kSteps][4];
#pragma unroll
  for (int shape = 0; shape < 2; ++shape) {
    load_coefficients<Format>(source, grid, shape, first_sample, sample_warp * kMatrixSamples, basis_tile, a[shape]);
  }

  // Of the thread's samples, rows group and group + 8 of the warp's.
  float sum[2] = {};
  float grad_pose[2][math::kPoseSize] = {};
  float grad_a[kMatrixCoefficients / 8][4] = {};
  const int64_t end = grid.first_tile(vertex_chunk + 1);
  for (int64_t tile = grid.first_tile(vertex_chunk); tile < end; ++tile) {
    const int64_t first_vertex = tile * Tile::kVertices;
    __syncthreads();
    stage_matrix_tile<Format>(faces, comparison.weights, grid, first_vertex, basis_tile, point_tile);
    __syncthreads();
    if (warp_sample >= grid.batch) continue;  // the same for the whole warp

#pragma unroll 1
    for (int product = vertex_warp; product < kMatrixWarps; product += vertex_warps) {
      const int first = product * Tile::kDepth;
      if (first_vertex + first >= grid.set.count) break;  // the same for the whole warp
      uint32_t q_a[3][4];
#pragma unroll
      for (int part = 0; part < Format::kPerWord; ++part) {
        const int eight = first + 8 * part;
        float s[2][3][4] = {};
#pragma unroll
        for (int step = 0; step < Tile::kSteps; step += 2) {
#pragma unroll
          for (int j = 0; j < 3; ++j) {
            uint32_t b[4];
            load_matrices(basis_tile + (3 * (eight + lane % 8) + j) * Tile::kPitch + 8 * step + 4 * (lane / 8), b);
#pragma unroll
            for (int shape = 0; shape < 2; ++shape) {
              Format::multiply_add(s[shape][j], a[shape][step], {b[0], b[1]});
              Format::multiply_add(s[shape][j], a[shape][step + 1], {b[2], b[3]});
            }
          }
        }

        float q[3][4];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          float poses[kPosePairSize];
          load_window(pose_tile + (sample_warp * kMatrixSamples + group + 8 * row) * kPosePairSize, poses);
#pragma unroll
          for (int column = 0; column < 2; ++column) {
            const int vertex = eight + 2 * place + column;
            float point[4];
            load_window(point_tile + 4 * vertex, point);
            float target[3], change[3], s_pred[3], g[3], q_n[3];
#pragma unroll
            for (int j = 0; j < 3; ++j) {
              target[j] = s[0][j][2 * row + column] + point[j];
              change[j] = s[1][j][2 * row + column];
              s_pred[j] = target[j] + change[j];
            }
            sum[row] +=
                compare_vertex(loss, poses, target, change, first_vertex + vertex < grid.set.count, point[3], g);
            if constexpr (kSlopes) {
              math::pose_transform_backward_point(poses, g, q_n);
              math::pose_transform_backward_pose(g, s_pred, grad_pose[row]);
#pragma unroll
              for (int j = 0; j < 3; ++j) q[j][2 * row + column] = q_n[j];
            }
          }
        }
        if constexpr (kSlopes) {
#pragma unroll
          for (int j = 0; j < 3; ++j) GradientOperands<Format>::fragment(part, q[j], q_a[j]);
        }
      }
      if constexpr (kSlopes) {
#pragma unroll
        for (int j = 0; j < 3; ++j) {
#pragma unroll
          for (int pair = 0; pair < kMatrixCoefficients / 16; ++pair) {
            uint32_t b[2][2];
            GradientOperands<Format>::load(basis_tile + (3 * first + j) * Tile::kPitch, pair, lane, b);
            Format::multiply_add(grad_a[2 * pair], q_a[j], b[0]);
            Format::multiply_add(grad_a[2 * pair + 1], q_a[j], b[1]);
          }
        }
      }
    }
  }

  const int64_t row_size = kSlopes ? 1 + source.params_size : 1;
  const int64_t part = vertex_chunk * vertex_warps + vertex_warp;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const int64_t sample = warp_sample + group + 8 * row;
    const bool exists = sample < grid.batch;
    float* const to = partials + (part * grid.batch + sample) * row_size;
    const float total = warp_sum<4>(sum[row]);
    if (exists && place == 0) to[0] = total;
    if constexpr (kSlopes) {
#pragma unroll
      for (int p = 0; p < math::kPoseSize; ++p) {
        const float value = warp_sum<4>(grad_pose[row][p]);
        if (exists && place == p % 4) to[1 + p] = value;
      }
#pragma unroll
      for (int at = 0; at < kMatrixCoefficients / 4; ++at) {
        const int k = 8 * (at / 2) + 2 * place + at % 2;
        if (exists && k < grid.coefficients) to[1 + math::kPoseSize + k] = grad_a[at / 2][2 * row + at % 2];
      }
    }
  }
#endif
}

}  // namespace cuda
}  // namespace frnet
