// Vertex reconstruction on the CPU.
//
// A tile is one vector of vertices whose mean and basis are packed as [coefficient][axis][vertex]; kSamples samples
// then share every basis value that is loaded. The mesh of a sample is rotated and translated in registers and
// written once: there is no [batch, 3 * vertices] buffer beside the result.
//   traffic: reads the basis once per round of samples, writes every vertex once

#include "cpu/reconstruct_vertices.h"

#include <cstdint>

#include "cpu/vec.h"
#include "cpu/vertex_tile.h"
#include "math/conv_index.h"
#include "math/pose_transform.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

using Shape = MorphableShape;

// Samples whose sums fit the registers: 3 * kSamples sums, 3 basis vectors and a coefficient.
constexpr int kSamples = kVectorBytes == 64 ? 8 : 4;
// The backward pass keeps a sum per coefficient and sample in the first-level cache: 4 * 62 vectors.
constexpr int kBackwardSamples = 4;
// Coefficients of the samples of one round, transposed.
constexpr int64_t kRoundBytes = 64 * 1024;
// Multiply-adds below which a second thread costs more than it saves.
constexpr int64_t kWorkPerThread = 65536;

// s[i] = mean + basis * coefficients of kCount samples; coefficients is [K][kCount].
template <typename T, int kCount>
FRNET_HD void reconstruct_shapes(const T* tile, const T* coefficients, int64_t k_count, Vec<T> (*s)[3]) {
  for (int i = 0; i < kCount; ++i) {
    for (int axis = 0; axis < 3; ++axis) s[i][axis] = load(tile + axis * kLanes<T>);
  }
  add_products<T, kCount>(tile, coefficients, k_count, s);
}

// Lanes of x0 y0 z0 x1 y1 z1 ...: first from vectors of x and y, then with the vector of z put in.
template <int kLanes, int kPart>
struct InterleaveXy {
  static constexpr int lane(int i) {
    const int at = kPart * kLanes + i;
    return at % 3 == 1 ? kLanes + at / 3 : at / 3;
  }
};
template <int kLanes, int kPart>
struct InterleaveZ {
  static constexpr int lane(int i) {
    const int at = kPart * kLanes + i;
    return at % 3 == 2 ? kLanes + at / 3 : i;
  }
};

// Vectors of x, y and z to x0 y0 z0 x1 y1 z1 ..., the first count vertices of them.
template <typename T>
FRNET_HD void store_interleaved(T* to, const Vec<T>* v, int64_t count) {
  constexpr int kL = kLanes<T>;
  const Vec<T> out[3] = {
      shuffle<InterleaveZ<kL, 0>>(shuffle<InterleaveXy<kL, 0>>(v[0], v[1]), v[2]),
      shuffle<InterleaveZ<kL, 1>>(shuffle<InterleaveXy<kL, 1>>(v[0], v[1]), v[2]),
      shuffle<InterleaveZ<kL, 2>>(shuffle<InterleaveXy<kL, 2>>(v[0], v[1]), v[2]),
  };
  if (count == kL) {
    for (int part = 0; part < 3; ++part) store(to + part * kL, out[part]);
  } else {
    alignas(kVectorBytes) T flat[3 * kL];
    for (int part = 0; part < 3; ++part) store(flat + part * kL, out[part]);
    for (int64_t i = 0; i < 3 * count; ++i) to[i] = flat[i];
  }
}

// Coefficients of samples [0, count) as blocks of [K][kBlock], what is left over one sample at a time.
template <typename T, int kBlock>
void transpose_coefficients(const T* params, int64_t count, int64_t coefficients, T* to) {
  const int64_t stride = math::kPoseSize + coefficients;
  for (int64_t i = 0; i < count;) {
    const int64_t block = count - i >= kBlock ? kBlock : 1;
    for (int64_t k = 0; k < coefficients; ++k) {
      for (int64_t j = 0; j < block; ++j) {
        to[i * coefficients + k * block + j] = params[(i + j) * stride + math::kPoseSize + k];
      }
    }
    i += block;
  }
}

template <typename T, int kCount>
FRNET_HD void reconstruct_block(const T* tile, const T* coefficients, const T* params, T* out, const Shape& shape,
                                int64_t vertices, int64_t count) {
  Vec<T> s[kCount][3];
  reconstruct_shapes<T, kCount>(tile, coefficients, shape.coefficients, s);
  for (int i = 0; i < kCount; ++i) {
    Vec<T> v[3];
    math::pose_transform(params + i * (math::kPoseSize + shape.coefficients), s[i], v);
    store_interleaved(out + i * 3 * vertices, v, count);
  }
}

// Gradient sums of kCount samples over the packed tiles of one partial: [kCount][12 + K] vectors.
template <typename T, int kCount>
void backward_block(const T* grad, const T* tiles, const T* coefficients, const T* params, Vec<T>* sums,
                    const Shape& shape, int64_t vertices, int64_t set_count, double* partial) {
  constexpr int64_t kL = kLanes<T>;
  const int64_t stride = math::kPoseSize + shape.coefficients;
  for (int64_t i = 0; i < kCount * stride; ++i) sums[i] = Vec<T>{};
  for (int64_t first = 0; first < vertices; first += kL) {
    const T* tile = tiles + first / kL * tile_size<T>(shape.coefficients);
    Vec<T> s[kCount][3], q[kCount][3];
    reconstruct_shapes<T, kCount>(tile, coefficients, shape.coefficients, s);
    for (int i = 0; i < kCount; ++i) {
      Vec<T> g[3];
      load_interleaved(grad + (i * set_count + first) * 3, min(kL, vertices - first), g);
      math::pose_transform_backward_pose(g, s[i], sums + i * stride);
      math::pose_transform_backward_point(params + i * stride, g, q[i]);
    }
    add_transposed_products<T, kCount>(tile, q, shape.coefficients, sums + math::kPoseSize, stride);
  }
  for (int64_t i = 0; i < kCount * stride; ++i) partial[i] = horizontal_sum<T>(sums[i]);
}

// Vertices per partial sum: as many as fit, a multiple of the vector.
template <typename T>
int64_t vertices_per_partial(const Shape& shape) {
  const int64_t tiles = kPackedBytes / static_cast<int64_t>(sizeof(T)) / tile_size<T>(shape.coefficients);
  return max(tiles, 1) * kLanes<T>;
}

template <typename T>
int64_t partial_count(const VertexSet& set, const Shape& shape) {
  return math::ceil_div(set.count, vertices_per_partial<T>(shape));
}

}  // namespace

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                          const Shape& shape, const Parallel& parallel) {
  constexpr int64_t kL = kLanes<T>;
  constexpr int64_t kRound = kRoundBytes / static_cast<int64_t>(sizeof(T));
  const int64_t stride = math::kPoseSize + shape.coefficients;
  const int64_t tiles = math::ceil_div(set.count, kL);
  const int64_t work = max(shape.batch * (shape.coefficients + 3) * 3 * kL, 1);
  const int64_t round = min(shape.batch, kRound / max(shape.coefficients, 1));
  const Basis<T> from{mean, basis, set, shape.coefficients};
  parallel(tiles, math::ceil_div(kWorkPerThread, work), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) T coefficients[kRound];
    alignas(kVectorBytes) T tile[tile_size<T>(kMaxCoefficients)];
    for (int64_t first = 0; first < shape.batch; first += round) {
      const int64_t samples = min(round, shape.batch - first);
      transpose_coefficients<T, kSamples>(params + first * stride, samples, shape.coefficients, coefficients);
      for (int64_t t = begin; t < end; ++t) {
        const int64_t count = min(kL, set.count - t * kL);
        pack_tile(from, t * kL, tile);
        T* out = vertices_out + (first * set.count + t * kL) * 3;
        int64_t i = 0;
        for (; i + kSamples <= samples; i += kSamples) {
          reconstruct_block<T, kSamples>(tile, coefficients + i * shape.coefficients, params + (first + i) * stride,
                                         out + i * 3 * set.count, shape, set.count, count);
        }
        for (; i < samples; ++i) {
          reconstruct_block<T, 1>(tile, coefficients + i * shape.coefficients, params + (first + i) * stride,
                                  out + i * 3 * set.count, shape, set.count, count);
        }
      }
    }
  });
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const Shape& shape) {
  return static_cast<size_t>(partial_count<T>(set, shape) * shape.batch * (math::kPoseSize + shape.coefficients)) *
         sizeof(double);
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   const VertexSet& set, T* grad_params, const Shape& shape, void* workspace,
                                   const Parallel& parallel) {
  constexpr int64_t kL = kLanes<T>;
  constexpr int64_t kPacked = max(kPackedBytes / sizeof(T), tile_size<T>(kMaxCoefficients));
  const int64_t stride = math::kPoseSize + shape.coefficients;
  const int64_t per_partial = vertices_per_partial<T>(shape);
  const Basis<T> from{mean, basis, set, shape.coefficients};
  double* partials = static_cast<double*>(workspace);
  parallel(partial_count<T>(set, shape), 1, [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) T tiles[kPacked];
    Vec<T> sums[kBackwardSamples * (math::kPoseSize + kMaxCoefficients)];
    T coefficients[kBackwardSamples * kMaxCoefficients];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item * per_partial;
      const int64_t vertices = min(per_partial, set.count - first);
      for (int64_t v = 0; v < vertices; v += kL) {
        pack_tile(from, first + v, tiles + v / kL * tile_size<T>(shape.coefficients));
      }
      double* partial = partials + item * shape.batch * stride;
      for (int64_t i = 0; i < shape.batch;) {
        const bool whole = i + kBackwardSamples <= shape.batch;
        const int64_t samples = whole ? kBackwardSamples : 1;
        const T* sample_params = params + i * stride;
        const T* grad = grad_vertices + (i * set.count + first) * 3;
        transpose_coefficients<T, kBackwardSamples>(sample_params, samples, shape.coefficients, coefficients);
        if (whole) {
          backward_block<T, kBackwardSamples>(grad, tiles, coefficients, sample_params, sums, shape, vertices,
                                              set.count, partial + i * stride);
        } else {
          backward_block<T, 1>(grad, tiles, coefficients, sample_params, sums, shape, vertices, set.count,
                               partial + i * stride);
        }
        i += samples;
      }
    }
  });
  const int64_t count = partial_count<T>(set, shape);
  for (int64_t i = 0; i < shape.batch * stride; ++i) {
    double sum = 0;
    for (int64_t item = 0; item < count; ++item) sum += partials[item * shape.batch * stride + i];
    grad_params[i] = static_cast<T>(sum);
  }
}

FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(float)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(double)

}  // namespace frnet::cpu::FRNET_ISA
