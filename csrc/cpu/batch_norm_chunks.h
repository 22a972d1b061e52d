// How a normalisation goes through a tensor: in chunks, whose partial results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/plane_sums.h"
#include "frnet/batch_norm_act.h"
#include "math/conv_index.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

inline constexpr int64_t kChunkPixels = 512;     // of a channel, that its planes together have at least
inline constexpr int64_t kSegmentPixels = 4096;  // of a plane, whose sums stay in float
inline constexpr int64_t kMostRows = 256;        // the same where channels are adjacent
inline constexpr int64_t kRowValues = 16384;  // in rows that stay in the second-level cache from one look to the next
inline constexpr int64_t kLeastRows = 64;
inline constexpr int64_t kTaskValues = 16384;

// How a tensor falls into chunks. A chunk's rows are the images whose planes it has, or its pixels.
struct BatchNormChunks {
  bool adjacent;  // channels in memory
  int64_t rows, rows_per_chunk, count;

  explicit BatchNormChunks(const BatchNormActShape& s) : adjacent(s.layout == Layout::channels_last) {
    rows = adjacent ? s.batch * s.pixels : s.batch;
    rows_per_chunk = adjacent ? min(kMostRows, max(kLeastRows, kRowValues / max(1, s.channels)))
                              : math::ceil_div(kChunkPixels, max(1, s.pixels));
    count = math::ceil_div(rows, rows_per_chunk);
  }

  int64_t begin(int64_t chunk) const { return chunk * rows_per_chunk; }
  int64_t end(int64_t chunk) const { return min(begin(chunk) + rows_per_chunk, rows); }

  // Values of a channel in a chunk.
  double values(int64_t chunk, const BatchNormActShape& s) const {
    return static_cast<double>((end(chunk) - begin(chunk)) * (adjacent ? 1 : s.pixels));
  }
};

template <typename A>
struct BatchNormRoom {
  A *first, *second;                                      // [chunks, channels], what was found in each
  A *scale, *shift, *sum_g, *sum_gv, *constant, *linear;  // [channels]
  size_t bytes;

  FRNET_HD BatchNormRoom(void* workspace, const BatchNormActShape& s) {
    WorkspaceLayout layout(workspace);
    for (A** values : {&first, &second}) *values = layout.take<A>(BatchNormChunks(s).count * s.channels);
    for (A** values : {&scale, &shift, &sum_g, &sum_gv, &constant, &linear}) *values = layout.take<A>(s.channels);
    bytes = layout.bytes();
  }
};

// Calls body(chunk, channel) for all of them, or body(chunk, 0) where channels are adjacent.
template <typename F>
void for_chunks(const BatchNormChunks& chunks, const BatchNormActShape& s, const Parallel& parallel, const F& body) {
  const int64_t channels = chunks.adjacent ? 1 : s.channels;
  const int64_t values = chunks.rows_per_chunk * (chunks.adjacent ? s.channels : s.pixels);
  parallel(chunks.count * channels, math::ceil_div(kTaskValues, max(1, values)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i / channels, i % channels);
  });
}

// Calls body(offset, lanes, u) for vectors of the planes that channel c has in a chunk, of so many pixels from `pixel`
// on; u runs through 0..3, for sums that do not wait for each other.
template <typename A, typename F>
void for_pixels(const BatchNormChunks& chunks, int64_t chunk, int64_t c, int64_t pixel, int64_t pixels,
                const BatchNormActShape& s, const F& body) {
  const auto plane = [&](int64_t n) { return (n * s.channels + c) * s.pixels + pixel; };
  const int64_t end = chunks.end(chunk);
  int64_t n = chunks.begin(chunk);
  for (; n + 4 <= end; n += 4) {
    for (int64_t i = 0; i < pixels; i += kLanes<A>) {
      const int64_t lanes = min(kLanes<A>, pixels - i);
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) body(plane(n + u) + i, lanes, u);
    }
  }
  for (; n < end; ++n) {
    for_vectors<A>(pixels, [&](int64_t i, int64_t lanes, int u) { body(plane(n) + i, lanes, u); });
  }
}

// What all lanes have of an array of one value per channel: that of one channel, or those of neighbours.
template <typename A>
struct OneChannel {
  int64_t c;
  Vec<A> operator()(const A* values) const { return broadcast(values[c]); }
};
template <typename A>
struct Neighbours {
  int64_t c, lanes;
  Vec<A> operator()(const A* values) const { return load_some(values + c, lanes); }
};

// Calls body(offset, lanes, constants) for the vectors of a chunk; make(of) gives what they need of their channels.
template <typename A, typename Make, typename F>
void for_chunk_vectors(const BatchNormChunks& chunks, int64_t chunk, int64_t channel, const BatchNormActShape& s,
                       const Make& make, const F& body) {
  if (!chunks.adjacent) {
    const auto constants = make(OneChannel<A>{channel});
    for_pixels<A>(chunks, chunk, channel, 0, s.pixels, s,
                  [&](int64_t at, int64_t lanes, int) { body(at, lanes, constants); });
    return;
  }
  for (int64_t r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
    for (int64_t c = 0; c < s.channels; c += kLanes<A>) {
      const int64_t lanes = min(kLanes<A>, s.channels - c);
      body(r * s.channels + c, lanes, make(Neighbours<A>{c, lanes}));
    }
  }
}

// ------------------------------------------------------------------------------------------------------- sums

template <typename A, int kQuantities>
struct Sums {
  Vec<A> of[kQuantities] = {};

  FRNET_HD void operator+=(const Sums& other) {
    for (int q = 0; q < kQuantities; ++q) of[q] += other.of[q];
  }

  // The first lanes of distances from a rounded mean: their sum, which corrects it, and that of their squares.
  FRNET_HD void add_deviation(Vec<A> distance, int64_t lanes) {
    const Vec<A> some = first_lanes<A>(distance, lanes);
    of[0] += some;
    of[1] += some * some;
  }
};

// What add(offset, lanes, sums) sums up over some pixels of channel c in a chunk, lanes not yet added.
template <typename A, int kQuantities, typename F>
Sums<A, kQuantities> sum_pixels(const BatchNormChunks& chunks, int64_t chunk, int64_t c, int64_t pixel, int64_t pixels,
                                const BatchNormActShape& s, const F& add) {
  Sums<A, kQuantities> sums[4];
  for_pixels<A>(chunks, chunk, c, pixel, pixels, s, [&](int64_t at, int64_t lanes, int u) { add(at, lanes, sums[u]); });
  sums[0] += sums[1];
  sums[2] += sums[3];
  sums[0] += sums[2];
  return sums[0];
}

// The same over the rows of a chunk for kVectors vectors of channels from c on; add(offset, lanes, vector, sums).
template <typename A, int kQuantities, int kVectors, typename F>
void sum_rows(const BatchNormChunks& chunks, int64_t chunk, int64_t c, int64_t lanes, const BatchNormActShape& s,
              Sums<A, kQuantities> (&sums)[kVectors], const F& add) {
  for (int64_t r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) add(r * s.channels + c + j * kLanes<A>, lanes, j, sums[j]);
  }
}

// Calls body(c, lanes, number of vectors) for all channels, in fours of whole vectors where they fill them.
template <typename A, typename F>
void for_channel_vectors(const BatchNormActShape& s, const F& body) {
  constexpr int64_t kL = kLanes<A>;
  int64_t c = 0;
  for (; c + 4 * kL <= s.channels; c += 4 * kL) body(c, kL, std::integral_constant<int, 4>{});
  for (; c < s.channels; c += kL) body(c, min(kL, s.channels - c), std::integral_constant<int, 1>{});
}

}  // namespace frnet::cpu::FRNET_ISA
