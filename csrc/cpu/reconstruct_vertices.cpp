// Vertex reconstruction on the CPU.
//
// A tile is one vector of vertices whose mean and basis are packed as [coefficient][axis][vertex]; kSamples samples
// then share every basis value that is loaded. The mesh of a sample is rotated and translated in registers and
// written once: there is no [batch, 3 * vertices] buffer beside the result.
//   traffic: reads the basis once per round of samples, writes every vertex once

#include "cpu/reconstruct_vertices.h"

#include <cstdint>

#include "cpu/vec.h"
#include "math/conv_index.h"
#include "math/pose_transform.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

using Shape = ReconstructVerticesShape;

// Samples whose sums fit the registers: 3 * kSamples sums, 3 basis vectors and a coefficient.
constexpr int kSamples = kVectorBytes == 64 ? 8 : 4;
// The backward pass keeps a sum per coefficient and sample in the first-level cache: 4 * 62 vectors.
constexpr int kBackwardSamples = 4;
// Coefficients of the samples of one round, transposed.
constexpr int64_t kRoundBytes = 64 * 1024;
// Packed basis of one partial sum of the backward pass; with it the second-level cache is well filled.
constexpr int64_t kPackedBytes = 256 * 1024;
// Multiply-adds below which a second thread costs more than it saves.
constexpr int64_t kWorkPerThread = 65536;

template <typename T>
constexpr int64_t tile_size(int64_t coefficients) {
  return (1 + coefficients) * 3 * kLanes<T>;
}

// to = [1 + coefficients][3][L]: the mean, then the basis, of vertices [first, first + count); zero past them.
template <typename T>
void pack_tile(const T* mean, const T* basis, int64_t first, int64_t count, int64_t coefficients, T* to) {
  constexpr int64_t kL = kLanes<T>;
  for (int64_t axis = 0; axis < 3; ++axis) {
    for (int64_t v = 0; v < kL; ++v) to[axis * kL + v] = v < count ? mean[3 * (first + v) + axis] : T(0);
    const T* rows = basis + (3 * first + axis) * coefficients;
    T* out = to + (3 + axis) * kL;
    if (count == kL && coefficients >= kL) {
      for (int64_t start = 0; start < coefficients; start += kL) {
        const int64_t k = min(start, coefficients - kL);  // the last block ends with the coefficients
        Vec<T> block[kL];
#pragma GCC unroll 16
        for (int64_t v = 0; v < kL; ++v) {
          block[v] = load(rows + 3 * v * coefficients + k);
          __builtin_prefetch(rows + 3 * (v + kL) * coefficients + k);  // the next tile
        }
        transpose<T>(block);
#pragma GCC unroll 16
        for (int64_t i = 0; i < kL; ++i) store(out + (k + i) * 3 * kL, block[i]);
      }
    } else {
      for (int64_t k = 0; k < coefficients; ++k) {
        for (int64_t v = 0; v < kL; ++v) out[k * 3 * kL + v] = v < count ? rows[3 * v * coefficients + k] : T(0);
      }
    }
  }
}

// s[sample][axis] = mean + basis * coefficients for kCount samples; coefficients is [K][kCount].
template <typename T, int kCount>
FRNET_HD void combine(const T* tile, const T* coefficients, int64_t k_count, Vec<T> (*s)[3]) {
  constexpr int64_t kL = kLanes<T>;
  for (int i = 0; i < kCount; ++i) {
    for (int axis = 0; axis < 3; ++axis) s[i][axis] = load(tile + axis * kL);
  }
  for (int64_t k = 0; k < k_count; ++k) {
    const T* b = tile + (1 + k) * 3 * kL;
    const Vec<T> bx = load(b), by = load(b + kL), bz = load(b + 2 * kL);
    for (int i = 0; i < kCount; ++i) {
      const T a = coefficients[k * kCount + i];
      s[i][0] += a * bx;
      s[i][1] += a * by;
      s[i][2] += a * bz;
    }
  }
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

// The inverse: one axis first from the two lower parts, then with the upper part put in.
template <int kLanes, int kAxis>
struct PickLow {
  static constexpr int lane(int i) { return 3 * i + kAxis < 2 * kLanes ? 3 * i + kAxis : 0; }
};
template <int kLanes, int kAxis>
struct PickHigh {
  static constexpr int lane(int i) { return 3 * i + kAxis < 2 * kLanes ? i : 3 * i + kAxis - kLanes; }
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

// Vertices past count come in as zero.
template <typename T>
FRNET_HD void load_interleaved(const T* from, int64_t count, Vec<T>* v) {
  constexpr int kL = kLanes<T>;
  alignas(kVectorBytes) T flat[3 * kL] = {};
  if (count < kL) {
    for (int64_t i = 0; i < 3 * count; ++i) flat[i] = from[i];
    from = flat;
  }
  const Vec<T> part[3] = {load(from), load(from + kL), load(from + 2 * kL)};
  v[0] = shuffle<PickHigh<kL, 0>>(shuffle<PickLow<kL, 0>>(part[0], part[1]), part[2]);
  v[1] = shuffle<PickHigh<kL, 1>>(shuffle<PickLow<kL, 1>>(part[0], part[1]), part[2]);
  v[2] = shuffle<PickHigh<kL, 2>>(shuffle<PickLow<kL, 2>>(part[0], part[1]), part[2]);
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
                                int64_t count) {
  Vec<T> s[kCount][3];
  combine<T, kCount>(tile, coefficients, shape.coefficients, s);
  for (int i = 0; i < kCount; ++i) {
    Vec<T> v[3];
    math::pose_transform(params + i * (math::kPoseSize + shape.coefficients), s[i], v);
    store_interleaved(out + i * 3 * shape.vertices, v, count);
  }
}

// Gradient sums of kCount samples over the packed tiles of one partial: [kCount][12 + K] vectors.
template <typename T, int kCount>
void backward_block(const T* grad, const T* tiles, const T* coefficients, const T* params, Vec<T>* sums,
                    const Shape& shape, int64_t vertices, double* partial) {
  constexpr int64_t kL = kLanes<T>;
  const int64_t stride = math::kPoseSize + shape.coefficients;
  for (int64_t i = 0; i < kCount * stride; ++i) sums[i] = Vec<T>{};
  for (int64_t first = 0; first < vertices; first += kL) {
    const T* tile = tiles + first / kL * tile_size<T>(shape.coefficients);
    Vec<T> s[kCount][3], q[kCount][3];
    combine<T, kCount>(tile, coefficients, shape.coefficients, s);
    for (int i = 0; i < kCount; ++i) {
      Vec<T> g[3];
      load_interleaved(grad + (i * shape.vertices + first) * 3, min(kL, vertices - first), g);
      math::pose_transform_backward_pose(g, s[i], sums + i * stride);
      math::pose_transform_backward_point(params + i * stride, g, q[i]);
    }
    for (int64_t k = 0; k < shape.coefficients; ++k) {
      const T* b = tile + (1 + k) * 3 * kL;
      const Vec<T> bx = load(b), by = load(b + kL), bz = load(b + 2 * kL);
      for (int i = 0; i < kCount; ++i) {
        sums[i * stride + math::kPoseSize + k] += q[i][0] * bx + q[i][1] * by + q[i][2] * bz;
      }
    }
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
int64_t partial_count(const Shape& shape) {
  return math::ceil_div(shape.vertices, vertices_per_partial<T>(shape));
}

}  // namespace

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, T* vertices_out, const Shape& shape,
                          const Parallel& parallel) {
  constexpr int64_t kL = kLanes<T>;
  constexpr int64_t kRound = kRoundBytes / static_cast<int64_t>(sizeof(T));
  const int64_t stride = math::kPoseSize + shape.coefficients;
  const int64_t tiles = math::ceil_div(shape.vertices, kL);
  const int64_t work = max(shape.batch * (shape.coefficients + 3) * 3 * kL, 1);
  const int64_t round = min(shape.batch, kRound / max(shape.coefficients, 1));
  parallel(tiles, math::ceil_div(kWorkPerThread, work), [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) T coefficients[kRound];
    alignas(kVectorBytes) T tile[tile_size<T>(kMaxCoefficients)];
    for (int64_t first = 0; first < shape.batch; first += round) {
      const int64_t samples = min(round, shape.batch - first);
      transpose_coefficients<T, kSamples>(params + first * stride, samples, shape.coefficients, coefficients);
      for (int64_t t = begin; t < end; ++t) {
        const int64_t count = min(kL, shape.vertices - t * kL);
        pack_tile(mean, basis, t * kL, count, shape.coefficients, tile);
        T* out = vertices_out + (first * shape.vertices + t * kL) * 3;
        int64_t i = 0;
        for (; i + kSamples <= samples; i += kSamples) {
          reconstruct_block<T, kSamples>(tile, coefficients + i * shape.coefficients, params + (first + i) * stride,
                                         out + i * 3 * shape.vertices, shape, count);
        }
        for (; i < samples; ++i) {
          reconstruct_block<T, 1>(tile, coefficients + i * shape.coefficients, params + (first + i) * stride,
                                  out + i * 3 * shape.vertices, shape, count);
        }
      }
    }
  });
}

template <typename T>
size_t reconstruct_vertices_backward_workspace(const Shape& shape) {
  return static_cast<size_t>(partial_count<T>(shape) * shape.batch * (math::kPoseSize + shape.coefficients)) *
         sizeof(double);
}

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   T* grad_params, const Shape& shape, void* workspace, const Parallel& parallel) {
  constexpr int64_t kL = kLanes<T>;
  constexpr int64_t kPacked = max(kPackedBytes / sizeof(T), tile_size<T>(kMaxCoefficients));
  const int64_t stride = math::kPoseSize + shape.coefficients;
  const int64_t per_partial = vertices_per_partial<T>(shape);
  double* partials = static_cast<double*>(workspace);
  parallel(partial_count<T>(shape), 1, [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) T tiles[kPacked];
    Vec<T> sums[kBackwardSamples * (math::kPoseSize + kMaxCoefficients)];
    T coefficients[kBackwardSamples * kMaxCoefficients];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item * per_partial;
      const int64_t vertices = min(per_partial, shape.vertices - first);
      for (int64_t v = 0; v < vertices; v += kL) {
        pack_tile(mean, basis, first + v, min(kL, vertices - v), shape.coefficients,
                  tiles + v / kL * tile_size<T>(shape.coefficients));
      }
      double* partial = partials + item * shape.batch * stride;
      for (int64_t i = 0; i < shape.batch;) {
        const bool whole = i + kBackwardSamples <= shape.batch;
        const int64_t samples = whole ? kBackwardSamples : 1;
        const T* sample_params = params + i * stride;
        const T* grad = grad_vertices + (i * shape.vertices + first) * 3;
        transpose_coefficients<T, kBackwardSamples>(sample_params, samples, shape.coefficients, coefficients);
        if (whole) {
          backward_block<T, kBackwardSamples>(grad, tiles, coefficients, sample_params, sums, shape, vertices,
                                              partial + i * stride);
        } else {
          backward_block<T, 1>(grad, tiles, coefficients, sample_params, sums, shape, vertices, partial + i * stride);
        }
        i += samples;
      }
    }
  });
  const int64_t count = partial_count<T>(shape);
  for (int64_t i = 0; i < shape.batch * stride; ++i) {
    double sum = 0;
    for (int64_t item = 0; item < count; ++item) sum += partials[item * shape.batch * stride + i];
    grad_params[i] = static_cast<T>(sum);
  }
}

FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(float)
FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(double)

}  // namespace frnet::cpu::FRNET_ISA
