// Batch normalisation and activation on the CPU, in two passes over the whole tensor.
//   thread : chunks, each of a channel's planes in some images, or of some pixels of all channels where those are
//            adjacent; the first pass leaves what it found in each, so that the order of summation does not depend on
//            the number of threads
//   traffic: reads x twice and writes y once; backward reads x and grad_y twice and writes grad_x once

#include "cpu/batch_norm_act.h"

#include <algorithm>
#include <type_traits>

#include "cpu/plane_sums.h"
#include "math/conv_index.h"
#include "math/moments.h"
#include "workspace_layout.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

using Shape = BatchNormActShape;

constexpr int64_t kChunkPixels = 512;     // of a channel, that its planes together have at least
constexpr int64_t kSegmentPixels = 4096;  // of a plane, whose sums stay in float
constexpr int64_t kMostRows = 256;        // the same where channels are adjacent
constexpr int64_t kRowValues = 16384;     // in rows that stay in the second-level cache from one look to the next
constexpr int64_t kLeastRows = 64;
constexpr int64_t kTaskValues = 16384;

// How a tensor falls into chunks. A chunk's rows are the images whose planes it has, or its pixels.
struct Chunks {
  bool adjacent;  // channels in memory
  int64_t rows, rows_per_chunk, count;

  explicit Chunks(const Shape& s) : adjacent(s.layout == Layout::channels_last) {
    rows = adjacent ? s.batch * s.pixels : s.batch;
    rows_per_chunk = adjacent ? min(kMostRows, max(kLeastRows, kRowValues / max(1, s.channels)))
                              : math::ceil_div(kChunkPixels, max(1, s.pixels));
    count = math::ceil_div(rows, rows_per_chunk);
  }

  int64_t begin(int64_t chunk) const { return chunk * rows_per_chunk; }
  int64_t end(int64_t chunk) const { return min(begin(chunk) + rows_per_chunk, rows); }

  // Values of a channel in a chunk.
  double values(int64_t chunk, const Shape& s) const {
    return static_cast<double>((end(chunk) - begin(chunk)) * (adjacent ? 1 : s.pixels));
  }
};

template <typename A>
struct Room {
  A *first, *second;                     // [chunks, channels], what was found in each
  A *scale, *shift, *constant, *linear;  // [channels]
  size_t bytes;

  FRNET_HD Room(void* workspace, const Shape& s) {
    WorkspaceLayout layout(workspace);
    const int64_t chunks = max(1, Chunks(s).count);
    first = layout.take<A>(chunks * s.channels);
    second = layout.take<A>(chunks * s.channels);
    scale = layout.take<A>(s.channels);
    shift = layout.take<A>(s.channels);
    constant = layout.take<A>(s.channels);
    linear = layout.take<A>(s.channels);
    bytes = layout.bytes();
  }
};

// Calls body(chunk, channel) for all of them, or body(chunk, 0) where channels are adjacent.
template <typename F>
void for_chunks(const Chunks& chunks, const Shape& s, const Parallel& parallel, const F& body) {
  const int64_t channels = chunks.adjacent ? 1 : s.channels;
  const int64_t values = chunks.rows_per_chunk * (chunks.adjacent ? s.channels : s.pixels);
  parallel(chunks.count * channels, math::ceil_div(kTaskValues, max(1, values)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i / channels, i % channels);
  });
}

// Calls body(offset, lanes, u) for vectors of the planes that channel c has in a chunk, of so many pixels from `pixel`
// on; u runs through 0..3, for sums that do not wait for each other.
template <typename A, typename F>
void for_pixels(const Chunks& chunks, int64_t chunk, int64_t c, int64_t pixel, int64_t pixels, const Shape& s,
                const F& body) {
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
Sums<A, kQuantities> sum_pixels(const Chunks& chunks, int64_t chunk, int64_t c, int64_t pixel, int64_t pixels,
                                const Shape& s, const F& add) {
  Sums<A, kQuantities> sums[4];
  for_pixels<A>(chunks, chunk, c, pixel, pixels, s, [&](int64_t at, int64_t lanes, int u) { add(at, lanes, sums[u]); });
  sums[0] += sums[1];
  sums[2] += sums[3];
  sums[0] += sums[2];
  return sums[0];
}

// The same over the rows of a chunk for kVectors vectors of channels from c on; add(offset, lanes, vector, sums).
template <typename A, int kQuantities, int kVectors, typename F>
void sum_rows(const Chunks& chunks, int64_t chunk, int64_t c, int64_t lanes, const Shape& s,
              Sums<A, kQuantities> (&sums)[kVectors], const F& add) {
  for (int64_t r = chunks.begin(chunk); r < chunks.end(chunk); ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) add(r * s.channels + c + j * kLanes<A>, lanes, j, sums[j]);
  }
}

// Calls body(c, lanes, number of vectors) for all channels, in fours of whole vectors where they fill them.
template <typename A, typename F>
void for_channel_vectors(const Shape& s, const F& body) {
  constexpr int64_t kL = kLanes<A>;
  int64_t c = 0;
  for (; c + 4 * kL <= s.channels; c += 4 * kL) body(c, kL, std::integral_constant<int, 4>{});
  for (; c < s.channels; c += kL) body(c, min(kL, s.channels - c), std::integral_constant<int, 1>{});
}

// ------------------------------------------------------------------------------------------------- statistics

template <typename T>
void plane_moments(const T* x, const Chunks& chunks, int64_t chunk, int64_t c, const Shape& s,
                   const Room<accumulator_t<T>>& room) {
  using A = accumulator_t<T>;
  double count = 0, mean = 0, squares = 0;
  for (int64_t p = 0; p < s.pixels; p += kSegmentPixels) {
    const int64_t pixels = min(kSegmentPixels, s.pixels - p);
    const int64_t values = (chunks.end(chunk) - chunks.begin(chunk)) * pixels;
    const auto sum = sum_pixels<A, 1>(chunks, chunk, c, p, pixels, s, [&](int64_t at, int64_t lanes, Sums<A, 1>& sums) {
      sums.of[0] += load_some(x + at, lanes);
    });
    const A center = horizontal_sum<A>(sum.of[0]) / static_cast<A>(values);
    const auto deviations =
        sum_pixels<A, 2>(chunks, chunk, c, p, pixels, s, [&](int64_t at, int64_t lanes, Sums<A, 2>& sums) {
          sums.add_deviation(load_some(x + at, lanes) - center, lanes);
        });
    const double off = horizontal_sum<A>(deviations.of[0]) / static_cast<double>(values);
    const double around = horizontal_sum<A>(deviations.of[1]) - off * off * static_cast<double>(values);
    const auto share = static_cast<double>(values) / (count + static_cast<double>(values));
    math::merge_moments<double>(mean, squares, center + off, around, count, share);
    count += static_cast<double>(values);
  }
  room.first[chunk * s.channels + c] = static_cast<A>(mean);
  room.second[chunk * s.channels + c] = static_cast<A>(squares);
}

template <typename T>
void row_moments(const T* x, const Chunks& chunks, int64_t chunk, const Shape& s, const Room<accumulator_t<T>>& room) {
  using A = accumulator_t<T>;
  for_channel_vectors<A>(s, [&](int64_t c, int64_t lanes, auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    Sums<A, 1> centers[kVectors];
    Sums<A, 2> deviations[kVectors];
    sum_rows(chunks, chunk, c, lanes, s, centers,
             [&](int64_t at, int64_t count, int, Sums<A, 1>& sums) { sums.of[0] += load_some(x + at, count); });
    const auto rows = static_cast<A>(chunks.end(chunk) - chunks.begin(chunk));
    for (auto& center : centers) center.of[0] /= rows;
    sum_rows(chunks, chunk, c, lanes, s, deviations, [&](int64_t at, int64_t count, int j, Sums<A, 2>& sums) {
      sums.add_deviation(load_some(x + at, count) - centers[j].of[0], kLanes<A>);
    });
    for (int j = 0; j < kVectors; ++j) {
      const int64_t at = chunk * s.channels + c + j * kLanes<A>;
      const Vec<A> off = deviations[j].of[0] / rows;
      store_some(room.first + at, centers[j].of[0] + off, lanes);
      store_some(room.second + at, deviations[j].of[1] - off * off * rows, lanes);
    }
  });
}

// The moments of all chunks as one: those of the means, and the chunks' own.
template <typename A>
void merge_chunk_moments(const Chunks& chunks, const Shape& s, const Room<A>& room, A* mean, A* variance,
                         const Parallel& parallel) {
  const auto total = static_cast<double>(s.batch * s.pixels);
  parallel(s.channels, math::ceil_div(kTaskValues, max(1, chunks.count)), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      double sum = 0, squares = 0;
      for (int64_t k = 0; k < chunks.count; ++k) sum += chunks.values(k, s) * room.first[k * s.channels + c];
      const double center = sum / total;
      for (int64_t k = 0; k < chunks.count; ++k) {
        const double distance = room.first[k * s.channels + c] - center;
        squares += room.second[k * s.channels + c] + chunks.values(k, s) * distance * distance;
      }
      mean[c] = static_cast<A>(center);
      variance[c] = static_cast<A>(squares / total);
    }
  });
}

// --------------------------------------------------------------------------------------------------- gradients

// What gradients need of a channel, or of neighbours.
template <typename A>
struct Constants {
  Vec<A> scale, shift, mean;

  Constants() = default;
  template <typename Of>
  Constants(const Of& of, const Room<A>& room, const A* means)
      : scale(of(room.scale)), shift(of(room.shift)), mean(of(means)) {}
};

template <Activation kActivation, typename T>
struct Gradient {
  using A = accumulator_t<T>;
  const T *grad_y, *x;

  // The gradient behind the activation, and x less its mean.
  FRNET_HD void at(int64_t i, int64_t lanes, const Constants<A>& k, Vec<A>& g, Vec<A>& centered) const {
    const Vec<A> value = load_some(x + i, lanes);
    g = math::activation_gradient<A>(kActivation, k.scale * value + k.shift, load_some(grad_y + i, lanes), VecExp{});
    centered = value - k.mean;
  }

  FRNET_HD void add(int64_t i, int64_t lanes, const Constants<A>& k, Sums<A, 2>& sums) const {
    Vec<A> g, centered;
    at(i, lanes, k, g, centered);
    sums.of[0] += g;
    sums.of[1] += g * centered;
  }
};

template <Activation kActivation, typename T, typename A>
void plane_gradient_sums(const Gradient<kActivation, T>& gradient, const A* mean, const Chunks& chunks, int64_t chunk,
                         int64_t c, const Shape& s, const Room<A>& room) {
  const Constants<A> k(OneChannel<A>{c}, room, mean);
  double sum_g = 0, sum_gv = 0;
  for (int64_t p = 0; p < s.pixels; p += kSegmentPixels) {
    const auto sums =
        sum_pixels<A, 2>(chunks, chunk, c, p, min(kSegmentPixels, s.pixels - p), s,
                         [&](int64_t at, int64_t lanes, Sums<A, 2>& to) { gradient.add(at, lanes, k, to); });
    sum_g += horizontal_sum<A>(sums.of[0]);
    sum_gv += horizontal_sum<A>(sums.of[1]);
  }
  room.first[chunk * s.channels + c] = static_cast<A>(sum_g);
  room.second[chunk * s.channels + c] = static_cast<A>(sum_gv);
}

template <Activation kActivation, typename T, typename A>
void row_gradient_sums(const Gradient<kActivation, T>& gradient, const A* mean, const Chunks& chunks, int64_t chunk,
                       const Shape& s, const Room<A>& room) {
  for_channel_vectors<A>(s, [&](int64_t c, int64_t lanes, auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    Constants<A> k[kVectors];
    for (int j = 0; j < kVectors; ++j) k[j] = Constants<A>(Neighbours<A>{c + j * kLanes<A>, lanes}, room, mean);
    Sums<A, 2> sums[kVectors];
    sum_rows(chunks, chunk, c, lanes, s, sums,
             [&](int64_t at, int64_t count, int j, Sums<A, 2>& to) { gradient.add(at, count, k[j], to); });
    for (int j = 0; j < kVectors; ++j) {
      const int64_t at = chunk * s.channels + c + j * kLanes<A>;
      store_some(room.first + at, sums[j].of[0], lanes);
      store_some(room.second + at, sums[j].of[1], lanes);
    }
  });
}

// The sums of all chunks, left where the first chunk's were.
template <typename A>
void merge_chunk_sums(const Chunks& chunks, const Shape& s, const Room<A>& room, const Parallel& parallel) {
  parallel(s.channels, math::ceil_div(kTaskValues, max(1, chunks.count)), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      double first = 0, second = 0;
      for (int64_t k = 0; k < chunks.count; ++k) {
        first += room.first[k * s.channels + c];
        second += room.second[k * s.channels + c];
      }
      room.first[c] = static_cast<A>(first);
      room.second[c] = static_cast<A>(second);
    }
  });
}

// Calls body(offset, lanes, constants) for the vectors of a chunk; make(of) gives what they need of their channels.
template <typename A, typename Make, typename F>
void for_chunk_vectors(const Chunks& chunks, int64_t chunk, int64_t channel, const Shape& s, const Make& make,
                       const F& body) {
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

// What the second pass of the gradient needs of a channel, or of neighbours.
template <typename A>
struct GradientConstants {
  Constants<A> of_activation;
  Vec<A> constant, linear;
};

template <Activation kActivation, typename T, typename A>
void input_gradient(const Gradient<kActivation, T>& gradient, const A* mean, T* grad_x, const Chunks& chunks,
                    const Shape& s, const Room<A>& room, const Parallel& parallel) {
  const auto make = [&](const auto& of) {
    return GradientConstants<A>{Constants<A>(of, room, mean), of(room.constant), of(room.linear)};
  };
  for_chunks(chunks, s, parallel, [&](int64_t chunk, int64_t c) {
    for_chunk_vectors<A>(chunks, chunk, c, s, make, [&](int64_t at, int64_t lanes, const GradientConstants<A>& k) {
      Vec<A> g, centered;
      gradient.at(at, lanes, k.of_activation, g, centered);
      store_some(grad_x + at, k.of_activation.scale * g + (k.constant + k.linear * centered), lanes);
    });
  });
}

// The terms of the statistics from the sums over all chunks, in room; and the parameters' gradients.
template <typename T, typename A>
void statistics_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, const BatchNormActGradient<T>& output,
                      const Shape& s, const Room<A>& room, const Parallel& parallel) {
  if (output.grad_beta != nullptr) std::copy_n(sum_g, s.channels, output.grad_beta);
  BatchNorm<A> centered = norm;
  centered.mean = nullptr;
  cpu::batch_norm_terms<A>(centered, sum_g, sum_gv, s.batch * s.pixels, room.constant, room.linear, output.grad_gamma,
                           s.channels, parallel);
}

}  // namespace

template <typename T>
size_t batch_norm_act_workspace(const Shape& s) {
  return Room<accumulator_t<T>>(nullptr, s).bytes;
}

template <typename T>
void batch_norm_statistics(const T* x, accumulator_t<T>* mean, accumulator_t<T>* variance, const Shape& s,
                           void* workspace, const Parallel& parallel) {
  const Chunks chunks(s);
  const Room<accumulator_t<T>> room(workspace, s);
  for_chunks(chunks, s, parallel, [&](int64_t chunk, int64_t c) {
    if (chunks.adjacent) {
      row_moments(x, chunks, chunk, s, room);
    } else {
      plane_moments(x, chunks, chunk, c, s, room);
    }
  });
  merge_chunk_moments(chunks, s, room, mean, variance, parallel);
}

template <typename T>
void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, accumulator_t<T>* mean,
                    accumulator_t<T>* variance, T* y, const Shape& s, void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  batch_norm_statistics<T>(x, mean, variance, s, workspace, parallel);
  const Chunks chunks(s);
  const Room<A> room(workspace, s);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  struct ScaleAndShift {
    Vec<A> scale, shift;
  };
  const auto make = [&](const auto& of) { return ScaleAndShift{of(room.scale), of(room.shift)}; };
  math::with_activation(activation, [&](auto constant) {
    for_chunks(chunks, s, parallel, [&](int64_t chunk, int64_t c) {
      for_chunk_vectors<A>(chunks, chunk, c, s, make, [&](int64_t at, int64_t lanes, const ScaleAndShift& k) {
        const Vec<A> v = k.scale * load_some(x + at, lanes) + k.shift;
        store_some(y + at, math::activate<A>(decltype(constant)::value, v, VecExp{}), lanes);
      });
    });
  });
}

template <typename T>
void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                             Activation activation, const BatchNormActGradient<T>& output, const Shape& s,
                             void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Chunks chunks(s);
  const Room<A> room(workspace, s);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  math::with_activation(activation, [&](auto constant) {
    const Gradient<decltype(constant)::value, T> gradient{grad_y, x};
    for_chunks(chunks, s, parallel, [&](int64_t chunk, int64_t c) {
      if (chunks.adjacent) {
        row_gradient_sums(gradient, norm.mean, chunks, chunk, s, room);
      } else {
        plane_gradient_sums(gradient, norm.mean, chunks, chunk, c, s, room);
      }
    });
    merge_chunk_sums(chunks, s, room, parallel);
    statistics_terms(norm, room.first, room.second, output, s, room, parallel);
    if (output.grad_x != nullptr) input_gradient(gradient, norm.mean, output.grad_x, chunks, s, room, parallel);
  });
}

template <typename T>
void batch_norm_backward_from_sums(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                   const accumulator_t<T>* sum_g, const accumulator_t<T>* sum_gv,
                                   const BatchNormActGradient<T>& output, const Shape& s, void* workspace,
                                   const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Room<A> room(workspace, s);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  statistics_terms(norm, sum_g, sum_gv, output, s, room, parallel);
  input_gradient(Gradient<Activation::none, T>{grad_y, x}, norm.mean, output.grad_x, Chunks(s), s, room, parallel);
}

FRNET_INSTANTIATE_BATCH_NORM_ACT(float)
FRNET_INSTANTIATE_BATCH_NORM_ACT(double)
FRNET_INSTANTIATE_BATCH_NORM_ACT(float16)
FRNET_INSTANTIATE_BATCH_NORM_ACT(bfloat16)

#define FRNET_INSTANTIATE_STEPS(T)                                                                              \
  template void batch_norm_statistics<T>(const T*, accumulator_t<T>*, accumulator_t<T>*, const Shape&, void*,   \
                                         const Parallel&);                                                      \
  template void batch_norm_backward_from_sums<T>(                                                               \
      const T*, const T*, const BatchNorm<accumulator_t<T>>&, const accumulator_t<T>*, const accumulator_t<T>*, \
      const BatchNormActGradient<T>&, const Shape&, void*, const Parallel&);
FRNET_INSTANTIATE_STEPS(float)
FRNET_INSTANTIATE_STEPS(double)
FRNET_INSTANTIATE_STEPS(float16)
FRNET_INSTANTIATE_STEPS(bfloat16)
#undef FRNET_INSTANTIATE_STEPS

}  // namespace frnet::cpu::FRNET_ISA
