// Means and squared deviations of channels in the lanes of vectors.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "math/moments.h"

namespace frnet::cpu::FRNET_ISA {

// Mean and sum of squared deviations of `count` values.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void merge(double other_count, double other_mean, double other_squares) {
    if (other_count == 0) return;
    math::merge_moments(mean, squares, other_mean, other_squares, count, other_count / (count + other_count));
    count += other_count;
  }
};

// The same for the lanes of blocks that share their channels.
template <typename A>
struct LaneMoments {
  double count = 0, mean[kLanes<A>] = {}, squares[kLanes<A>] = {};

  void merge(double other_count, Vec<A> other_mean, Vec<A> other_squares) {
    const double share = other_count / (count + other_count);
    for (int64_t l = 0; l < kLanes<A>; ++l) {
      math::merge_moments<double>(mean[l], squares[l], other_mean[l], other_squares[l], count, share);
    }
    count += other_count;
  }

  // Into the moments of the block's channels; starts again.
  void flush(const Block& block, int64_t channels, Moments* moments) {
    int64_t c = block.c;
    for (int64_t l = 0; l < block.count; ++l) {
      moments[c].merge(count, mean[l], squares[l]);
      if (++c == channels) c = 0;
    }
    *this = LaneMoments();
  }
};

template <typename A>
Vec<A> squared_deviations(const A* values, int64_t vectors, Vec<A> center) {
  return sum_in_stretches<A>(vectors, [&](int64_t i) {
    const Vec<A> distance = load(values + i * kLanes<A>) - center;
    return distance * distance;
  });
}

}  // namespace frnet::cpu::FRNET_ISA
