// Spatial and channel gates.

#include "math/sge.h"
#include "runtime/kernels/table.h"
#include "runtime/kernels/tile.h"

namespace frnet::cpu::FRNET_ISA {

using runtime::ExciteArgs;
using runtime::GroupPart;
using runtime::SgeArgs;

namespace {

using Mask = VecOf<float>::index;

int64_t padded(int64_t pixels) { return (pixels + kLane - 1) / kLane * kLane; }

Mask mask_at(const SgeArgs& a, const GroupPart& part) {
  Mask mask;
  __builtin_memcpy(&mask, a.masks + part.mask * kLane, sizeof mask);
  return mask;
}

Vec<float> plane_mean(const SgeArgs& a, int64_t block) {
  Vec<float> sum = {};
  for (int64_t row = 0; row < a.rows; ++row) sum += load(a.row_sums + (row * a.blocks + block) * kLane);
  return sum / static_cast<float>(a.pixels);
}

// The sum of each row's lanes, in the lane of its number: halves of neighbouring rows are brought into one again and
// again.
template <int kBit = 1>
FRNET_HD Vec<float> row_totals(Vec<float>* rows) {
  if constexpr (kBit < kLane) {
    using Low = ExchangeLow<kLane, kBit>;
    using High = ExchangeHigh<kLane, kBit>;
#pragma GCC unroll 8
    for (int i = 0; i < kLane / 2 / kBit; ++i) {
      const Vec<float> a = rows[2 * i], b = rows[2 * i + 1];
      rows[i] = shuffle<Low>(a, b) + shuffle<High>(a, b);
    }
    return row_totals<2 * kBit>(rows);
  }
  return rows[0];
}

// t of all pixels: the mean of the group's channels times the pixel's, over the channels.
void resemblance(const SgeArgs& a, int64_t group, float* t) {
  constexpr int kMost = 64;  // blocks whose means are at hand; of more, the rest is added in further rounds
  Vec<float> means[kMost];
  const GroupPart* parts = a.group_parts + a.group_begin[group];
  const int64_t count = a.group_begin[group + 1] - a.group_begin[group];
  for (int64_t begin = 0; begin < count; begin += kMost) {
    const int64_t some = min(count - begin, kMost);
    for (int64_t i = 0; i < some; ++i) {
      const Vec<float> mean = plane_mean(a, parts[begin + i].index);
      means[i] = mask_at(a, parts[begin + i]) ? mean : Vec<float>{};
    }
    for (int64_t pixel = 0; pixel < a.pixels; pixel += kLane) {
      const int64_t valid = min(a.pixels - pixel, kLane);
      Vec<float> rows[kLane];
#pragma GCC unroll 16
      for (int p = 0; p < kLane; ++p) rows[p] = Vec<float>{};
      for (int64_t i = 0; i < some; ++i) {
        const float* x = a.x + parts[begin + i].index * a.block_stride + pixel * kLane;
        if (valid == kLane) {
#pragma GCC unroll 16
          for (int p = 0; p < kLane; ++p) rows[p] += means[i] * load(x + p * kLane);
        } else {
          for (int p = 0; p < valid; ++p) rows[p] += means[i] * load(x + p * kLane);
        }
      }
      const Vec<float> total = row_totals(rows);
      store(t + pixel, begin == 0 ? total : load(t + pixel) + total);
    }
  }
}

template <typename F>
float total(const float* t, int64_t count, const F& of) {
  Vec<float> sum = {};
  int64_t i = 0;
  for (; i + kLane <= count; i += kLane) sum += of(load(t + i));
  float rest = 0;
  for (; i < count; ++i) rest += of(broadcast(t[i]))[0];
  return horizontal_sum<float>(sum) + rest;
}

math::SgeNorm<float> moments(const float* t, int64_t count) {
  const auto n = static_cast<float>(count);
  const float near = total(t, count, [](Vec<float> v) { return v; }) / n;
  const float off = total(t, count, [&](Vec<float> v) { return v - near; });  // what rounding has left
  const float mean = near + off / n;
  const float squares = total(t, count, [&](Vec<float> v) { return (v - mean) * (v - mean); });
  return math::sge_norm(mean, squares, n);
}

// The gates of a pixel, each in the lanes of its group.
template <int kParts>
FRNET_HD Vec<float> gate_of(const float* const* gates, const Mask* masks, int64_t count, int64_t pixel) {
  Vec<float> gate = broadcast(gates[0][pixel]);
  const int64_t parts = kParts > 0 ? kParts : count;
  for (int64_t i = 1; i < parts; ++i) gate = masks[i] ? broadcast(gates[i][pixel]) : gate;
  return gate;
}

template <int kParts>
void apply_block(const SgeArgs& a, int64_t block, const float* const* gates, const Mask* masks, int64_t count) {
  float* x = a.x + block * a.block_stride;
  if (a.sums != nullptr) {
    Vec<float> sum = {};
    for (int64_t p = 0; p < a.pixels; ++p) sum += load(x + p * kLane) * gate_of<kParts>(gates, masks, count, p);
    store(a.sums + block * kLane, sum);
    return;
  }
  const Vec<float> scale = a.scale == nullptr ? broadcast(1.0f) : load(a.scale + block * kLane);
  for (int64_t p = 0; p < a.pixels; ++p) {
    const Vec<float> gated = load(x + p * kLane) * gate_of<kParts>(gates, masks, count, p);
    store(x + p * kLane, gated * scale);
  }
}

}  // namespace

void runtime_sge_gates(const SgeArgs& a, int64_t first_group, int64_t last_group) {
  for (int64_t group = first_group; group < last_group; ++group) {
    float* t = a.gates + group * padded(a.pixels);
    resemblance(a, group, t);
    const math::SgeNorm<float> norm = moments(t, a.pixels);
    const float slope = a.weight[group] * norm.inv, bias = a.bias[group];
    for (int64_t pixel = 0; pixel < a.pixels; pixel += kLane) {
      store(t + pixel, math::sigmoid<float>((load(t + pixel) - norm.mean) * slope + bias, VecExp{}));
    }
  }
}

void runtime_sge_apply(const SgeArgs& a, int64_t first_block, int64_t last_block) {
  for (int64_t block = first_block; block < last_block; ++block) {
    const GroupPart* parts = a.block_parts + a.block_begin[block];
    const int64_t count = a.block_begin[block + 1] - a.block_begin[block];
    const float* gates[kLane];
    Mask masks[kLane];
    for (int64_t i = 0; i < count; ++i) {
      gates[i] = a.gates + parts[i].index * padded(a.pixels);
      masks[i] = mask_at(a, parts[i]);
    }
    if (count == 1) {
      apply_block<1>(a, block, gates, masks, count);
    } else if (count == 2) {
      apply_block<2>(a, block, gates, masks, count);
    } else {
      apply_block<0>(a, block, gates, masks, count);
    }
  }
}

void runtime_excite(const ExciteArgs& a) {
  for (int64_t h = 0; h < a.squeezed_blocks * kLane; h += kLane) store(a.hidden + h, load(a.b1 + h));
  for (int64_t block = 0; block < a.blocks; ++block) {
    for (int64_t lane = 0; lane < a.valid[block]; ++lane) {
      const Vec<float> mean = broadcast(a.sums[block * kLane + lane] * a.per_pixel);
      const float* w1 = a.w1 + (block * kLane + lane) * a.squeezed_blocks * kLane;
      for (int64_t h = 0; h < a.squeezed_blocks * kLane; h += kLane) {
        store(a.hidden + h, load(a.hidden + h) + mean * load(w1 + h));
      }
    }
  }
  const Bounds relu(Activation::relu);
  for (int64_t h = 0; h < a.squeezed_blocks * kLane; h += kLane) {
    store(a.hidden + h, relu(load(a.hidden + h)));
  }
  for (int64_t block = 0; block < a.blocks; ++block) {
    Vec<float> sum = load(a.b2 + block * kLane);
    for (int64_t k = 0; k < a.squeezed; ++k) {
      sum += broadcast(a.hidden[k]) * load(a.w2 + (k * a.blocks + block) * kLane);
    }
    store(a.scale + block * kLane, math::sigmoid<float>(sum, VecExp{}));
  }
}

void runtime_plane_sums(const float* x, int64_t block_stride, int64_t pixels, int64_t first_block, int64_t last_block,
                        float* sums) {
  for (int64_t block = first_block; block < last_block; ++block) {
    Vec<float> sum = {};
    for (int64_t p = 0; p < pixels; ++p) sum += load(x + block * block_stride + p * kLane);
    store(sums + block * kLane, sum);
  }
}

void runtime_scale_planes(float* x, int64_t block_stride, int64_t pixels, const float* scale, Activation activation,
                          int64_t first_block, int64_t last_block) {
  const Bounds bounds(activation);
  for (int64_t block = first_block; block < last_block; ++block) {
    float* plane = x + block * block_stride;
    const Vec<float> factor = scale == nullptr ? broadcast(1.0f) : load(scale + block * kLane);
    for (int64_t p = 0; p < pixels; ++p) {
      store(plane + p * kLane, bounds(load(plane + p * kLane) * factor));
    }
  }
}

}  // namespace frnet::cpu::FRNET_ISA
