// A walk over a set of vertices for all samples of a batch, that adds up some quantities of each sample.
//
//   item : one chunk of the vertices for one chunk of the samples; it adds to a partial result of its own, so that
//          nothing depends on which thread has it
//   group: as many tiles as fit the second-level cache together with the samples' coefficients; its basis is packed
//          once for the item's samples
//   block: kBlock samples, whose sums over one group are vectors in the first-level cache
#pragma once

#include <cstdint>

#include "cpu/vec.h"
#include "cpu/vertex_tile.h"
#include "frnet/parallel.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

inline constexpr int64_t kBlock = 4;
// Of one item's samples: their coefficients, beside the group's basis in the second-level cache.
inline constexpr int64_t kColumnBytes = 64 * 1024;
// Items, where there is enough to do: 32 threads get 4 each, and partial results stay at some 10 MB for 62 parameters.
inline constexpr int64_t kItems = 128;
inline constexpr int64_t kFewest = 16;  // where the batch can be divided

// kPerSample columns of coefficients for every sample: whole blocks as [coefficients][kBlock * kPerSample], the samples
// behind them one by one as [coefficients][kPerSample].
template <typename T, int kPerSample>
struct Columns {
  T* values;
  int64_t batch;
  int64_t coefficients;

  const T* of_sample(int64_t sample) const { return values + sample * coefficients * kPerSample; }

  void set(int64_t sample, int64_t k, int which, T value) const {
    const int64_t block = sample / kBlock, whole = batch / kBlock;
    const int64_t first = block < whole ? block * kBlock : sample, width = block < whole ? kBlock : 1;
    values[(first * coefficients + k * width + sample - first) * kPerSample + which] = value;
  }
};

template <typename T>
struct WalkPlan {
  int64_t group_vertices, groups;
  int64_t vertex_chunks;
  int64_t samples_per_chunk, sample_chunks;

  WalkPlan(int64_t batch, int64_t vertices, int64_t coefficients, int per_sample) {
    const int64_t tiles = kPackedBytes / static_cast<int64_t>(sizeof(T)) / tile_size<T>(coefficients);
    group_vertices = max(tiles, 1) * kLanes<T>;
    groups = math::ceil_div(vertices, group_vertices);
    const int64_t fitting = kColumnBytes / static_cast<int64_t>(sizeof(T)) / max(per_sample * coefficients, 1);
    // Where few groups would leave threads idle, the samples are divided instead.
    const int64_t shared = math::ceil_div(batch, math::ceil_div(kFewest, max(groups, 1)));
    samples_per_chunk = max(min(fitting, shared) / kBlock, 4) * kBlock;
    sample_chunks = math::ceil_div(batch, samples_per_chunk);
    vertex_chunks = min(groups, math::ceil_div(kItems, max(sample_chunks, 1)));
  }
};

// to[i] += the lanes of sums[i].
template <typename T>
void add_lanes(const Vec<T>* sums, int64_t count, double* to) {
  constexpr int64_t kL = kLanes<T>;
  int64_t i = 0;
  for (; i + kL <= count; i += kL) {
    Vec<T> rows[kL];
#pragma GCC unroll 16
    for (int64_t l = 0; l < kL; ++l) rows[l] = sums[i + l];
    transpose<T>(rows);
    Vec<T> total = rows[0];
#pragma GCC unroll 16
    for (int64_t l = 1; l < kL; ++l) total += rows[l];
    for (int64_t l = 0; l < kL; ++l) to[i + l] += total[l];
  }
  for (; i < count; ++i) to[i] += horizontal_sum<T>(sums[i]);
}

// to[k] += the sum of squares of column k of the packed basis.
template <typename T>
void add_column_squares(const T* tiles, int64_t tile_count, int64_t coefficients, double* to) {
  constexpr int64_t kL = kLanes<T>;
  for (int64_t k = 0; k < coefficients; ++k) {
    Vec<T> sum = {};
    for (int64_t t = 0; t < tile_count; ++t) {
      const T* b = tiles + t * tile_size<T>(coefficients) + (1 + k) * 3 * kL;
      const Vec<T> bx = load(b), by = load(b + kL), bz = load(b + 2 * kL);
      sum += bx * bx + by * by + bz * bz;
    }
    to[k] += horizontal_sum<T>(sum);
  }
}

// body.template add<kCount>(tiles, first_vertex, vertices, sample, sums) adds to sums[kCount][slots] what the packed
// vertices give for samples sample to sample + kCount - 1.
// partials: [vertex_chunks][batch][slots]. column_squares: [vertex_chunks][coefficients], or null.
template <typename T, typename Body>
void walk_vertices(const Basis<T>& basis, const WalkPlan<T>& plan, int64_t batch, int64_t slots, double* partials,
                   double* column_squares, const Parallel& parallel, const Body& body) {
  constexpr int64_t kL = kLanes<T>;
  constexpr int64_t kPacked = max(kPackedBytes / static_cast<int64_t>(sizeof(T)), tile_size<T>(kMaxCoefficients));
  parallel(plan.vertex_chunks * plan.sample_chunks, 1, [&](int64_t begin, int64_t end) {
    alignas(kVectorBytes) T tiles[kPacked];
    Vec<T> sums[kBlock * Body::kMaxSlots];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chunk = item / plan.sample_chunks;
      const int64_t first_sample = item % plan.sample_chunks * plan.samples_per_chunk;
      const int64_t samples = min(plan.samples_per_chunk, batch - first_sample);
      double* rows = partials + (chunk * batch + first_sample) * slots;
      for (int64_t i = 0; i < samples * slots; ++i) rows[i] = 0;
      double* squares = first_sample == 0 && column_squares ? column_squares + chunk * basis.coefficients : nullptr;
      for (int64_t k = 0; squares && k < basis.coefficients; ++k) squares[k] = 0;
      const int64_t last_group = (chunk + 1) * plan.groups / plan.vertex_chunks;
      for (int64_t group = chunk * plan.groups / plan.vertex_chunks; group < last_group; ++group) {
        const int64_t first = group * plan.group_vertices;
        const int64_t vertices = min(plan.group_vertices, basis.set.count - first);
        const int64_t tile_count = math::ceil_div(vertices, kL);
        for (int64_t t = 0; t < tile_count; ++t) {
          pack_tile(basis, first + t * kL, tiles + t * tile_size<T>(basis.coefficients));
        }
        if (squares) add_column_squares(tiles, tile_count, basis.coefficients, squares);
        const auto add = [&](int64_t i, auto count) {
          constexpr int kCount = decltype(count)::value;
          for (int64_t j = 0; j < kCount * slots; ++j) sums[j] = Vec<T>{};
          body.template add<kCount>(tiles, first, vertices, first_sample + i, sums);
          add_lanes<T>(sums, kCount * slots, rows + i * slots);
        };
        int64_t i = 0;
        for (; i + kBlock <= samples; i += kBlock) add(i, std::integral_constant<int, kBlock>{});
        for (; i < samples; ++i) add(i, std::integral_constant<int, 1>{});
      }
    }
  });
}

// sums[i] = the partial results' sum, in their order; columns of them stand in each.
inline void add_partials(const double* partials, int64_t count, int64_t columns, int64_t size, double* sums) {
  for (int64_t i = 0; i < size; ++i) sums[i] = 0;
  for (int64_t chunk = 0; chunk < count; ++chunk) {
    for (int64_t i = 0; i < size; ++i) sums[i] += partials[chunk * columns + i];
  }
}

}  // namespace frnet::cpu::FRNET_ISA
