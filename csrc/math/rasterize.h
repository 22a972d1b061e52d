// A triangle over a grid of samples: positions on the grid, edges, who owns a sample on an edge, weights.
//
// Positions are whole steps, kSteps to the distance of two samples. I is what they are computed in: int32_t, or a
// vector of it, where the triangle is narrow; else double, in which everything is exact up to 2^17 samples from the
// origin, and beyond it two triangles still agree on the edge that they share.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "math/host_device.h"
#include "math/rounded.h"

namespace frnet::math {

inline constexpr int32_t kSteps = 256;
// Sides of the bounding box, in steps, below which int32_t holds the edge functions everywhere in it and 16 samples
// beyond.
inline constexpr int32_t kNarrowSteps = 112 * kSteps;
// Nearest whole steps that int32_t holds with room for differences.
inline constexpr float kMostSteps = 536870912.0f;           // 2^29
inline constexpr float kMostDepth = 4.253529586511731e37f;  // 2^125: differences are finite

// Steps = x * scale + offset of pixel coordinate x, with this many samples in a pixel.
FRNET_HD float steps_scale(int32_t samples) { return static_cast<float>(kSteps * samples); }
FRNET_HD float steps_offset(int32_t samples) { return static_cast<float>(kSteps / 2 * (samples - 1)); }

// To the nearest whole number, halves up.
FRNET_HD float whole_steps(float x, float scale, float offset) {
  const float v = add(mul(x, scale), offset);
  const float low = std::floor(v);
  return low + (sub(v, low) >= 0.5f ? 1.0f : 0.0f);
}

template <typename V>
FRNET_HD V least(V a, V b) {
  return a < b ? a : b;
}
template <typename V>
FRNET_HD V most(V a, V b) {
  return a > b ? a : b;
}

// Whether int32_t will do.
template <typename I>
FRNET_HD auto is_narrow(const I (&x)[3], const I (&y)[3]) {
  const I limit = I{} + kNarrowSteps;
  return (most(most(x[0], x[1]), x[2]) - least(least(x[0], x[1]), x[2]) < limit) &
         (most(most(y[0], y[1]), y[2]) - least(least(y[0], y[1]), y[2]) < limit);
}

// The samples in a triangle's bounding box and in a rectangle of samples: from left to right and top to bottom, both
// inclusive. I is int32_t or a vector of it.
template <typename I>
struct SampleBox {
  I left, right, top, bottom;

  FRNET_HD SampleBox(I left_, I right_, I top_, I bottom_) : left(left_), right(right_), top(top_), bottom(bottom_) {}
  FRNET_HD SampleBox(const I (&x)[3], const I (&y)[3], int32_t columns, int32_t first_row, int32_t last_row) {
    const I zero = {};
    left = most((least(least(x[0], x[1]), x[2]) + (kSteps - 1)) >> kShift, zero);
    right = least(most(most(x[0], x[1]), x[2]) >> kShift, zero + (columns - 1));
    top = most((least(least(y[0], y[1]), y[2]) + (kSteps - 1)) >> kShift, zero + first_row);
    bottom = least(most(most(y[0], y[1]), y[2]) >> kShift, zero + last_row);
  }

  FRNET_HD auto empty() const { return (left > right) | (top > bottom); }
  FRNET_HD I count() const { return (right - left + 1) * (bottom - top + 1); }

 private:
  static constexpr int kShift = 8;
  static_assert(1 << kShift == kSteps, "samples are whole multiples of kSteps");
};

// The edges of a triangle, each opposite to the corner of its number. After orient() their functions are positive
// inside.
template <typename I>
struct Edges {
  I dx[3], dy[3];  // direction
  I x[3], y[3];    // a point on the edge

  FRNET_HD Edges(const I (&corner_x)[3], const I (&corner_y)[3]) {
    for (int i = 0; i < 3; ++i) {
      const int from = (i + 1) % 3, to = (i + 2) % 3;
      dx[i] = corner_x[to] - corner_x[from];
      dy[i] = corner_y[to] - corner_y[from];
      x[i] = corner_x[from];
      y[i] = corner_y[from];
      if constexpr (std::is_same_v<I, double>) {
        // From the same end for both triangles of an edge: rounding, if any, is then the same too.
        if (corner_y[to] < y[i] || (corner_y[to] == y[i] && corner_x[to] < x[i])) {
          x[i] = corner_x[to];
          y[i] = corner_y[to];
        }
      }
    }
  }

  // The function of edge i: zero on it, and at the opposite corner twice the triangle's area, negative where the
  // corners are seen counter-clockwise.
  FRNET_HD I at(int i, I px, I py) const { return sub(mul(dx[i], sub(py, y[i])), mul(dy[i], sub(px, x[i]))); }

  FRNET_HD void orient(I sign) {
    for (int i = 0; i < 3; ++i) {
      dx[i] = dx[i] * sign;
      dy[i] = dy[i] * sign;
    }
  }

  // Whether a sample on edge i is inside: where the inside lies below a flat edge or to the right of another one.
  FRNET_HD auto owns(int i) const { return (dy[i] < 0) | ((dy[i] == 0) & (dx[i] > 0)); }
};

// How much of each corner there is at a sample, from the edges' functions there and their sum.
template <typename F>
FRNET_HD void corner_weights(const F (&e)[3], F sum, F (&w)[3]) {
  for (int i = 0; i < 3; ++i) w[i] = div(e[i], sum);
}

// Weights that are linear on the screen, made correct in perspective.
template <typename F>
FRNET_HD void perspective_weights(F w0, F w1, F w2, F (&w)[3]) {
  const F p[3] = {mul(w[0], w0), mul(w[1], w1), mul(w[2], w2)};
  const F sum = add(add(p[0], p[1]), p[2]);
  for (int i = 0; i < 3; ++i) w[i] = div(p[i], sum);
}

// Exact where the corners agree.
template <typename F>
FRNET_HD F interpolate(F v0, F v1, F v2, F w1, F w2) {
  return add(v0, add(mul(w1, sub(v1, v0)), mul(w2, sub(v2, v0))));
}

}  // namespace frnet::math
