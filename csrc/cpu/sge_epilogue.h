// What stands between a normalisation and a spatial group-wise enhance gate, and the way back through both.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/depthwise_forward.h"
#include "cpu/plane_sums.h"
#include "math/activation.h"

namespace frnet::cpu::FRNET_ISA {

// Scale and shift of a group's channels; null: 1 and 0.
template <typename A>
struct GroupEpilogue {
  const A *scale, *shift;
  Activation activation;

  GroupEpilogue(const Epilogue<A>& epilogue, int64_t first)
      : scale(epilogue.scale == nullptr ? nullptr : epilogue.scale + first),
        shift(epilogue.shift == nullptr ? nullptr : epilogue.shift + first),
        activation(epilogue.activation) {}

  template <typename Adjacent>
  Vec<A> before_activation(Adjacent adjacent, Vec<A> v, int64_t c, int64_t lanes) const {
    if (scale != nullptr) v *= per_channel(adjacent, scale, c, lanes);
    if (shift != nullptr) v += per_channel(adjacent, shift, c, lanes);
    return v;
  }
};

// u = activation(scale v + shift), rounded as it is stored.
template <typename T, typename V, typename A>
void activate_group(const ChannelPlanes<const V>& v, const GroupEpilogue<A>& epilogue, const ChannelPlanes<T>& u) {
  math::with_activation(epilogue.activation, [&](auto activation) {
    for_plane_vectors<A>(v, [&](auto adjacent, int64_t c, int64_t p, int64_t lanes) {
      const Vec<A> z = epilogue.before_activation(adjacent, load_some(v.at(c, p), lanes), c, lanes);
      store_some(u.at(c, p), math::activate<A>(decltype(activation)::value, z, VecExp{}), lanes);
    });
  });
}

// The sums over every plane of g and of g centered(adjacent, v, c, lanes), g being the gradient behind the gate and the
// activation; keep(c, p, lanes, g) is called for all of it.
template <typename T, typename V, typename A, typename Centered, typename Keep>
void sum_gradients(const ChannelPlanes<const T>& grad_y, const ChannelPlanes<const V>& v,
                   const GroupEpilogue<A>& epilogue, const A* gate, const A* grad_t, const A* mean,
                   const A* through_mean, const Centered& centered, const Keep& keep, A* sum_g, A* sum_gv) {
  zero(sum_g, v.channels);
  zero(sum_gv, v.channels);
  math::with_activation(epilogue.activation, [&](auto activation) {
    const auto gradient = [&](auto adjacent, int64_t c, int64_t p, int64_t lanes, Vec<A> value) {
      const Vec<A> grad_u = load_some(grad_y.at(c, p), lanes) * per_pixel(adjacent, gate, p, lanes) +
                            (per_channel(adjacent, mean, c, lanes) * per_pixel(adjacent, grad_t, p, lanes) +
                             per_channel(adjacent, through_mean, c, lanes));
      return math::activation_gradient<A>(decltype(activation)::value,
                                          epilogue.before_activation(adjacent, value, c, lanes), grad_u, VecExp{});
    };
    if (!v.channels_adjacent()) {
      for (int64_t c = 0; c < v.channels; ++c) {
        Vec<A> g[4] = {}, gv[4] = {};
        for_vectors<A>(v.pixels, [&](int64_t p, int64_t lanes, int k) {
          const Vec<A> value = load_some(v.at(c, p), lanes);
          const Vec<A> grad = first_lanes<A>(gradient(std::false_type{}, c, p, lanes, value), lanes);
          keep(c, p, lanes, grad);
          g[k] += grad;
          gv[k] += grad * centered(std::false_type{}, value, c, lanes);
        });
        sum_g[c] = horizontal_sum<A>((g[0] + g[1]) + (g[2] + g[3]));
        sum_gv[c] = horizontal_sum<A>((gv[0] + gv[1]) + (gv[2] + gv[3]));
      }
      return;
    }
    for_plane_vectors<A>(v, [&](auto adjacent, int64_t c, int64_t p, int64_t lanes) {
      const Vec<A> value = load_some(v.at(c, p), lanes), grad = gradient(adjacent, c, p, lanes, value);
      keep(c, p, lanes, grad);
      store_some(sum_g + c, load_some(sum_g + c, lanes) + grad, lanes);
      store_some(sum_gv + c, load_some(sum_gv + c, lanes) + grad * centered(adjacent, value, c, lanes), lanes);
    });
  });
}

}  // namespace frnet::cpu::FRNET_ISA
