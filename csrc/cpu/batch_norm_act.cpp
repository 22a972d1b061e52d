// Batch normalisation and activation on the CPU, in two passes over the whole tensor.
//   thread : chunks, each of a channel's planes in some images, or of some pixels of all channels where those are
//            adjacent; the first pass leaves what it found in each, so that the order of summation does not depend on
//            the number of threads
//   traffic: reads x twice and writes y once; backward reads x and grad_y twice and writes grad_x once

#include "cpu/batch_norm_act.h"

#include <algorithm>

#include "cpu/batch_norm_chunks.h"
#include "cpu/lane_moments.h"
#include "cpu/partial_sums.h"
#include "math/batch_norm.h"

namespace frnet::cpu::FRNET_ISA {

namespace {

template <typename A>
using Room = BatchNormRoom<A>;

// ------------------------------------------------------------------------------------------------- statistics

template <typename T>
void plane_moments(const T* x, const BatchNormChunks& chunks, int64_t chunk, int64_t c, const BatchNormActShape& s,
                   const Room<accumulator_t<T>>& room) {
  using A = accumulator_t<T>;
  Moments total;
  for (int64_t p = 0; p < s.pixels; p += kSegmentPixels) {
    const int64_t pixels = min(kSegmentPixels, s.pixels - p);
    const auto values = static_cast<double>((chunks.end(chunk) - chunks.begin(chunk)) * pixels);
    const auto sum = sum_pixels<A, 1>(chunks, chunk, c, p, pixels, s, [&](int64_t at, int64_t lanes, Sums<A, 1>& sums) {
      sums.of[0] += load_some(x + at, lanes);
    });
    const A center = horizontal_sum<A>(sum.of[0]) / static_cast<A>(values);
    const auto deviations =
        sum_pixels<A, 2>(chunks, chunk, c, p, pixels, s, [&](int64_t at, int64_t lanes, Sums<A, 2>& sums) {
          sums.add_deviation(load_some(x + at, lanes) - center, lanes);
        });
    const double off = horizontal_sum<A>(deviations.of[0]) / values;
    total.merge(values, center + off, horizontal_sum<A>(deviations.of[1]) - off * off * values);
  }
  room.first[chunk * s.channels + c] = static_cast<A>(total.mean);
  room.second[chunk * s.channels + c] = static_cast<A>(total.squares);
}

template <typename T>
void row_moments(const T* x, const BatchNormChunks& chunks, int64_t chunk, const BatchNormActShape& s,
                 const Room<accumulator_t<T>>& room) {
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

// The moments of all chunks as one; of nothing NaN.
template <typename A>
void merge_chunk_moments(const BatchNormChunks& chunks, const BatchNormActShape& s, const Room<A>& room, A* mean,
                         A* variance, const Parallel& parallel) {
  parallel(s.channels, math::ceil_div(kTaskValues, max(1, chunks.count)), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      Moments all;
      for (int64_t k = 0; k < chunks.count; ++k) {
        all.merge(chunks.values(k, s), room.first[k * s.channels + c], room.second[k * s.channels + c]);
      }
      mean[c] = static_cast<A>(all.count > 0 ? all.mean : __builtin_nan(""));
      variance[c] = static_cast<A>(all.squares / all.count);
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
void plane_gradient_sums(const Gradient<kActivation, T>& gradient, const A* mean, const BatchNormChunks& chunks,
                         int64_t chunk, int64_t c, const BatchNormActShape& s, const Room<A>& room) {
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
void row_gradient_sums(const Gradient<kActivation, T>& gradient, const A* mean, const BatchNormChunks& chunks,
                       int64_t chunk, const BatchNormActShape& s, const Room<A>& room) {
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

// What the second pass of the gradient needs of a channel, or of neighbours.
template <typename A>
struct GradientConstants {
  Constants<A> of_activation;
  Vec<A> constant, linear;
};

template <Activation kActivation, typename T, typename A>
void input_gradient(const Gradient<kActivation, T>& gradient, const A* mean, T* grad_x, const BatchNormChunks& chunks,
                    const BatchNormActShape& s, const Room<A>& room, const Parallel& parallel) {
  const auto make = [&](const auto& of) {
    return GradientConstants<A>{Constants<A>(of, room, mean), of(room.constant), of(room.linear)};
  };
  for_chunks(chunks, s, parallel, [&](int64_t chunk, int64_t c) {
    for_chunk_vectors<A>(chunks, chunk, c, s, make, [&](int64_t at, int64_t lanes, const GradientConstants<A>& k) {
      Vec<A> g, centered;
      gradient.at(at, lanes, k.of_activation, g, centered);
      store_some(grad_x + at, math::batch_norm_gradient(k.of_activation.scale, g, k.constant, k.linear, centered),
                 lanes);
    });
  });
}

// The terms of the statistics from the sums over all chunks, in room; and the parameters' gradients.
template <typename T, typename A>
void statistics_terms(const BatchNorm<A>& norm, const A* sum_g, const A* sum_gv, const BatchNormActGradient<T>& output,
                      const BatchNormActShape& s, const Room<A>& room, const Parallel& parallel) {
  if (output.grad_beta != nullptr) std::copy_n(sum_g, s.channels, output.grad_beta);
  BatchNorm<A> centered = norm;
  centered.mean = nullptr;
  cpu::batch_norm_terms<A>(centered, sum_g, sum_gv, s.batch * s.pixels, room.constant, room.linear, output.grad_gamma,
                           s.channels, parallel);
}

}  // namespace

template <typename T>
size_t batch_norm_act_workspace(const BatchNormActShape& s) {
  return Room<accumulator_t<T>>(nullptr, s).bytes;
}

template <typename T>
void batch_norm_statistics(const T* x, accumulator_t<T>* mean, accumulator_t<T>* variance, const BatchNormActShape& s,
                           void* workspace, const Parallel& parallel) {
  const BatchNormChunks chunks(s);
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
                    accumulator_t<T>* variance, T* y, const BatchNormActShape& s, void* workspace,
                    const Parallel& parallel) {
  using A = accumulator_t<T>;
  batch_norm_statistics<T>(x, mean, variance, s, workspace, parallel);
  const BatchNormChunks chunks(s);
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
                             Activation activation, const BatchNormActGradient<T>& output, const BatchNormActShape& s,
                             void* workspace, const Parallel& parallel) {
  using A = accumulator_t<T>;
  const BatchNormChunks chunks(s);
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
    sum_partials(room.first, chunks.count, s.channels, room.sum_g, parallel);
    sum_partials(room.second, chunks.count, s.channels, room.sum_gv, parallel);
    statistics_terms(norm, room.sum_g, room.sum_gv, output, s, room, parallel);
    if (output.grad_x != nullptr) input_gradient(gradient, norm.mean, output.grad_x, chunks, s, room, parallel);
  });
}

template <typename T>
void batch_norm_backward_from_sums(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                   const accumulator_t<T>* sum_g, const accumulator_t<T>* sum_gv,
                                   const BatchNormActGradient<T>& output, const BatchNormActShape& s, void* workspace,
                                   const Parallel& parallel) {
  using A = accumulator_t<T>;
  const Room<A> room(workspace, s);
  cpu::fold_batch_norm<A>(norm, room.scale, room.shift, s.channels, parallel);
  statistics_terms(norm, sum_g, sum_gv, output, s, room, parallel);
  input_gradient(Gradient<Activation::none, T>{grad_y, x}, norm.mean, output.grad_x, BatchNormChunks(s), s, room,
                 parallel);
}

FRNET_INSTANTIATE_BATCH_NORM_ACT(float)
FRNET_INSTANTIATE_BATCH_NORM_ACT(double)
FRNET_INSTANTIATE_BATCH_NORM_ACT(float16)
FRNET_INSTANTIATE_BATCH_NORM_ACT(bfloat16)

#define FRNET_INSTANTIATE_STEPS(T)                                                                                 \
  template void batch_norm_statistics<T>(const T*, accumulator_t<T>*, accumulator_t<T>*, const BatchNormActShape&, \
                                         void*, const Parallel&);                                                  \
  template void batch_norm_backward_from_sums<T>(                                                                  \
      const T*, const T*, const BatchNorm<accumulator_t<T>>&, const accumulator_t<T>*, const accumulator_t<T>*,    \
      const BatchNormActGradient<T>&, const BatchNormActShape&, void*, const Parallel&);
FRNET_INSTANTIATE_STEPS(float)
FRNET_INSTANTIATE_STEPS(double)
FRNET_INSTANTIATE_STEPS(float16)
FRNET_INSTANTIATE_STEPS(bfloat16)
#undef FRNET_INSTANTIATE_STEPS

}  // namespace frnet::cpu::FRNET_ISA
