// The spatial group-wise enhance gate of one group of one image: formulas in math/sge.h.
//
// The group's planes are read once for their means, once for the similarity t and once for the result, all but the
// first time from a cache; t and what becomes of it are one value per pixel.
#pragma once

#include <cstdint>

#include "cpu/plane_sums.h"
#include "math/activation.h"
#include "math/sge.h"

namespace frnet::cpu::FRNET_ISA {

// to[p] = sum over channels of x[c,p] * z[c,p], or * mean[c] where z is null.
template <typename T, typename A = accumulator_t<T>>
void pixel_products(const ChannelPlanes<const T>& x, const A* mean, const ChannelPlanes<const T>* z, A* to) {
  if (!x.channels_adjacent()) {
    constexpr int64_t kL = kLanes<A>;
    const auto product = [&](int64_t c, int64_t i, int64_t lanes) {
      const Vec<A> value = load_some(x.plane(c) + i, lanes);
      return z == nullptr ? mean[c] * value : value * load_some(z->plane(c) + i, lanes);
    };
    // Four sums that do not wait for each other: of as many vectors of pixels, or of every fourth channel.
    int64_t i = 0;
    for (; i + 4 * kL <= x.pixels; i += 4 * kL) {
      Vec<A> sum[4] = {};
      for (int64_t c = 0; c < x.channels; ++c) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) sum[u] += product(c, i + u * kL, kL);
      }
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) store(to + i + u * kL, sum[u]);
    }
    for (; i < x.pixels; i += kL) {
      const int64_t lanes = min(kL, x.pixels - i);
      Vec<A> sum[4] = {};
      int64_t c = 0;
      for (; c + 4 <= x.channels; c += 4) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) sum[u] += product(c + u, i, lanes);
      }
      for (; c < x.channels; ++c) sum[0] += product(c, i, lanes);
      store_some(to + i, (sum[0] + sum[1]) + (sum[2] + sum[3]), lanes);
    }
    return;
  }
  for (int64_t p = 0; p < x.pixels; ++p) {
    Vec<A> sum = {};
    for (int64_t c = 0; c < x.channels; c += kLanes<A>) {
      const int64_t lanes = min(kLanes<A>, x.channels - c);
      const Vec<A> value = load_some(x.pixel(p) + c, lanes);
      sum += value * (z == nullptr ? load_some(mean + c, lanes) : load_some(z->pixel(p) + c, lanes));
    }
    to[p] = horizontal_sum<A>(sum);
  }
}

// x and y may be the same tensor. mean: scratch of one value per channel; t: one per pixel.
template <typename T, typename A = accumulator_t<T>>
math::SgeNorm<A> similarity(const ChannelPlanes<const T>& x, A* mean, A* t) {
  const A pixels = static_cast<A>(x.pixels);
  plane_sums<T>(x, nullptr, mean);
  for (int64_t c = 0; c < x.channels; ++c) mean[c] /= pixels;
  pixel_products<T>(x, mean, nullptr, t);
  const A center = sum_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes) { return load_some(t + i, lanes); }) / pixels;
  Vec<A> squares[4] = {};
  for_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes, int u) {
    const Vec<A> distance = first_lanes<A>(load_some(t + i, lanes) - center, lanes);
    squares[u] += distance * distance;
  });
  return math::sge_norm(center, horizontal_sum<A>((squares[0] + squares[1]) + (squares[2] + squares[3])), pixels);
}

// t -> s in place.
template <typename A>
void sigmoid_gate(A* t, const math::SgeNorm<A>& norm, A weight, A bias, int64_t pixels) {
  const A slope = weight * norm.inv;
  for_vectors<A>(pixels, [&](int64_t i, int64_t lanes, int) {
    const Vec<A> h = (load_some(t + i, lanes) - norm.mean) * slope + bias;
    store_some(t + i, math::sigmoid<A>(h, VecExp{}), lanes);
  });
}

template <typename T, typename A = accumulator_t<T>>
void gate_group(const ChannelPlanes<const T>& x, A weight, A bias, const ChannelPlanes<T>& y, A* mean, A* t) {
  const math::SgeNorm<A> norm = similarity<T>(x, mean, t);
  sigmoid_gate(t, norm, weight, bias, x.pixels);
  for_plane_vectors<A>(x, [&](auto adjacent, int64_t c, int64_t p, int64_t lanes) {
    store_some(y.at(c, p), load_some(x.at(c, p), lanes) * per_pixel(adjacent, t, p, lanes), lanes);
  });
}

template <typename A>
struct SgeParameterGradient {
  A weight, bias;
};

// What the gradient of x is made of: grad_x = grad_y * s[p] + mean[c] * grad_t[p] + through_mean[c], and those of the
// parameters. mean and through_mean: one value per channel each; t, s and grad_t: one per pixel
// each.
template <typename T, typename A = accumulator_t<T>>
SgeParameterGradient<A> gate_group_gradients(const ChannelPlanes<const T>& grad_y, const ChannelPlanes<const T>& x,
                                             A weight, A bias, A* mean, A* through_mean, A* t, A* s, A* grad_t) {
  const A pixels = static_cast<A>(x.pixels);
  const math::SgeNorm<A> norm = similarity<T>(x, mean, t);
  for_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes, int) { store_some(s + i, load_some(t + i, lanes), lanes); });
  sigmoid_gate(s, norm, weight, bias, x.pixels);
  // grad_t holds d, then e, then itself.
  pixel_products<T>(x, static_cast<const A*>(nullptr), &grad_y, grad_t);
  const A sum_e = sum_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes) {
    const Vec<A> gate = load_some(s + i, lanes);
    const Vec<A> e = load_some(grad_t + i, lanes) * gate * (A(1) - gate);
    store_some(grad_t + i, e, lanes);
    return e;
  });
  const A products = sum_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes) {
    return load_some(grad_t + i, lanes) * (load_some(t + i, lanes) - norm.mean);
  });
  const A spread = math::sge_spread(norm, products, pixels), mean_e = sum_e / pixels;
  for_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes, int) {
    const Vec<A> e = load_some(grad_t + i, lanes);
    store_some(grad_t + i, weight * (norm.inv * (e - mean_e) - (load_some(t + i, lanes) - norm.mean) * spread), lanes);
  });
  if (!x.channels_adjacent()) {
    for (int64_t c = 0; c < x.channels; ++c) {
      const A sum = sum_vectors<A>(x.pixels, [&](int64_t i, int64_t lanes) {
        return load_some(grad_t + i, lanes) * load_some(x.plane(c) + i, lanes);
      });
      through_mean[c] = sum / pixels;
    }
  } else {
    for (int64_t c = 0; c < x.channels; c += kLanes<A>) {
      const int64_t lanes = min(kLanes<A>, x.channels - c);
      Vec<A> sum = {};
      for (int64_t p = 0; p < x.pixels; ++p) sum += grad_t[p] * load_some(x.pixel(p) + c, lanes);
      store_some(through_mean + c, sum / pixels, lanes);
    }
  }
  return {norm.inv * products, sum_e};
}

template <typename T, typename A = accumulator_t<T>>
SgeParameterGradient<A> gate_group_backward(const ChannelPlanes<const T>& grad_y, const ChannelPlanes<const T>& x,
                                            A weight, A bias, const ChannelPlanes<T>& grad_x, A* mean, A* through_mean,
                                            A* t, A* s, A* grad_t) {
  const SgeParameterGradient<A> gradient =
      gate_group_gradients(grad_y, x, weight, bias, mean, through_mean, t, s, grad_t);
  for_plane_vectors<A>(grad_x, [&](auto adjacent, int64_t c, int64_t p, int64_t lanes) {
    store_some(grad_x.at(c, p),
               load_some(grad_y.at(c, p), lanes) * per_pixel(adjacent, s, p, lanes) +
                   per_channel(adjacent, mean, c, lanes) * per_pixel(adjacent, grad_t, p, lanes) +
                   per_channel(adjacent, through_mean, c, lanes),
               lanes);
  });
  return gradient;
}

}  // namespace frnet::cpu::FRNET_ISA
