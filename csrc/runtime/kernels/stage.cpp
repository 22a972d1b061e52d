// An expansion and the depthwise stage behind it: rows of the expanded tensor live in a ring of a few, or in one plane
// where it is small, and are never written to the tensor's own memory.

#include <algorithm>

#include "runtime/kernels/table.h"
#include "runtime/kernels/tile.h"

namespace frnet::cpu::FRNET_ISA {

using runtime::StageArgs;

namespace {

constexpr int64_t kWholePlane = 160 * 1024;  // bytes of a chain's expanded planes that are made at once

// The expanded rows of a chain. A row begins and ends with a pixel of zeros; a row that lies off the plane is zeros.
struct Rows {
  float* data;
  const float* zeros;
  int64_t first, last;  // of the plane, that are ever asked for
  int64_t capacity;     // of the ring, in rows
  int64_t pitch;        // floats of a row
  int32_t height;

  bool whole() const { return capacity >= last - first; }
  float* at(int64_t block, int64_t row) const {
    const int64_t number = row - first;
    return data + (block * capacity + (number < capacity ? number : number % capacity)) * pitch;
  }
  const float* read(int64_t block, int64_t row) const { return row < 0 || row >= height ? zeros : at(block, row); }
};

int64_t row_floats(const StageArgs& a) { return (a.width + 2) * kLane; }

// Rows of x that so many output rows need.
void needed_rows(const StageArgs& a, int64_t first_row, int64_t last_row, int64_t* first, int64_t* last) {
  const int64_t reach = a.stride == 1 ? a.length : 1;
  *first = std::max<int64_t>(0, a.stride * first_row - reach);
  *last = std::min<int64_t>(a.height, a.stride * (last_row - 1) + reach + 1);
}

int64_t ring_rows(const StageArgs& a, int64_t needed) {
  if (needed * row_floats(a) * a.length * int64_t{sizeof(float)} <= kWholePlane) return needed;
  return std::min<int64_t>(needed, a.stride == 1 ? a.length + 2 : 4);
}

// Fills rows [first, last) of x's expansion, which lie one behind the other in the ring, in all blocks of a chain.
void fill(const StageArgs& a, int64_t chain, const Rows& rows, int64_t first, int64_t last) {
  const int64_t width = a.width;
  float* const begin = rows.at(0, first) + kLane;
  const int64_t block_floats = rows.capacity * rows.pitch;
  if (a.expand_weights == nullptr) {
    for (int64_t b = 0; b < a.length; ++b) {
      const float* x = a.x + (chain + b * a.chains) * a.x_block_stride;
      for (int64_t row = first; row < last; ++row) {
        __builtin_memcpy(begin + b * block_floats + (row - first) * rows.pitch, x + row * width * kLane,
                         width * kLane * sizeof(float));
      }
    }
    return;
  }
  int64_t channels = 0;
  for (int b = 0; b < a.x_blocks; ++b) channels += a.x_valid[b];
  const Segment x{a.x, a.x_block_stride, a.x_valid, a.x_blocks};
  const int64_t panels = (a.length + kPanel - 1) / kPanel;
  const Bounds bounds(a.expand_activation);
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t block = panel * kPanel;
    const float* weights = a.expand_weights + (chain * panels + panel) * channels * kPanel * kLane;
    const float* bias = a.expand_bias + (chain * a.length + block) * kLane;
    float* const to = begin + block * block_floats;
    for_tiles(0, (last - first) * width, [&](int64_t pixel, auto pixels) {
      constexpr int kPixels = decltype(pixels)::value;
      with_blocks(a.length - block, [&](auto blocks) {
        constexpr int kBlocks = decltype(blocks)::value;
        Vec<float> acc[kPixels][kBlocks];
        accumulate<true, kPixels, kBlocks, kLane>(acc, &x, 1, (first * width + pixel) * kLane, weights, bias);
        const int64_t row = pixel / width;
        int64_t left = width - (pixel - row * width);  // in this row
        float* at = to + row * rows.pitch + (width - left) * kLane;
        if (left >= kPixels) {
#pragma GCC unroll 14
          for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 2
            for (int n = 0; n < kBlocks; ++n) store(at + n * block_floats + p * kLane, bounds(acc[p][n]));
          }
          return;
        }
#pragma GCC unroll 14
        for (int p = 0; p < kPixels; ++p, at += kLane) {
          if (left-- == 0) {
            at += 2 * kLane;
            left = width - 1;
          }
#pragma GCC unroll 2
          for (int n = 0; n < kBlocks; ++n) store(at + n * block_floats, bounds(acc[p][n]));
        }
      });
    });
  }
}

// What follows a filter: activation, addition to the next split's row, scale and shift, the tensor, its sum.
template <bool kNext, bool kWanted>
struct Epilogue {
  Vec<float> shift, out_scale, out_shift;
  Bounds bounds;
  float* next;  // of the first pixel
  float* y;
  Vec<float> sum;

  FRNET_HD void operator()(int64_t pixel, Vec<float> v) {
    v = bounds(v + shift);
    if constexpr (kNext) store(next + pixel * kLane, load(next + pixel * kLane) + v);
    if constexpr (kWanted) {
      v = v * out_scale + out_shift;
      store(y + pixel * kLane, v);
      sum += v;
    }
  }
};

template <int kStride, typename E>
void filter_row(const float* const* rows, const float* filters, int64_t width, E& epilogue) {
  constexpr int kTile = kVectorBytes == 64 ? 8 : 4;  // as registers allow
  Vec<float> taps[9];
#pragma GCC unroll 9
  for (int i = 0; i < 9; ++i) taps[i] = load(filters + i * kLane);
  const auto run = [&](int64_t pixel, auto count) {
    constexpr int kCount = decltype(count)::value;
    Vec<float> acc[kCount] = {};
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const float* row = rows[r] + kStride * pixel * kLane;
#pragma GCC unroll 17
      for (int column = 0; column < kStride * (kCount - 1) + 3; ++column) {
        const Vec<float> v = load(row + column * kLane);
#pragma GCC unroll 8
        for (int p = 0; p < kCount; ++p) {
          const int tap = column - kStride * p;
          if (tap >= 0 && tap < 3) acc[p] += v * taps[3 * r + tap];
        }
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < kCount; ++p) epilogue(pixel + p, acc[p]);
  };
  for_tiles<kTile>(0, width, run);
}

template <bool kNext, bool kWanted>
void stage_row(const StageArgs& a, int64_t chain, int64_t block, const Rows& rows, int64_t row, float* next) {
  const int64_t at = (chain * a.length + block) * kLane;
  const int64_t width = (a.width + a.stride - 1) / a.stride;
  const float* around[3];
  for (int r = 0; r < 3; ++r) around[r] = rows.read(block, a.stride * row + r - 1);
  Epilogue<kNext, kWanted> epilogue{
      load(a.shift + at), broadcast(1.0f), Vec<float>{}, Bounds(a.activation), next, nullptr, Vec<float>{}};
  if (a.out_scale != nullptr) {
    epilogue.out_scale = load(a.out_scale + at);
    epilogue.out_shift = load(a.out_shift + at);
  }
  if (kWanted) epilogue.y = a.y + chain * a.y_block_stride + block * a.y_split_stride + row * width * kLane;
  const float* filters = a.filters + 9 * at;
  if (kNext || a.stride == 1) {
    filter_row<1>(around, filters, width, epilogue);
  } else {
    filter_row<2>(around, filters, width, epilogue);
  }
  if (kWanted && a.row_sums != nullptr) {
    const int64_t blocks = a.chains * a.length;
    store(a.row_sums + (row * blocks + chain + block * a.chains) * kLane, epilogue.sum);
  }
}

}  // namespace

int64_t runtime_stage_scratch(const StageArgs& a) {
  // A part of a plane may be small enough to be made at once where the plane is not.
  const int64_t ring = ring_rows(a, a.height) * a.length * row_floats(a);
  return std::max<int64_t>(ring, std::min<int64_t>(a.height * a.length * row_floats(a), kWholePlane / sizeof(float))) +
         row_floats(a);
}

void runtime_stage(const StageArgs& a, int64_t chain, int64_t first_row, int64_t last_row, float* scratch) {
  Rows rows{};
  rows.height = a.height;
  rows.pitch = row_floats(a);
  needed_rows(a, first_row, last_row, &rows.first, &rows.last);
  rows.capacity = ring_rows(a, rows.last - rows.first);
  rows.data = scratch + rows.pitch;
  rows.zeros = scratch;
  for (int64_t i = 0; i < rows.pitch; ++i) scratch[i] = 0;
  for (int64_t r = 0; r < a.length * rows.capacity; ++r) {
    store(rows.data + r * rows.pitch, Vec<float>{});
    store(rows.data + (r + 1) * rows.pitch - kLane, Vec<float>{});
  }
  int64_t filled = rows.first;
  const auto need = [&](int64_t row) {  // and all rows before it
    const int64_t until = std::min(row + 1, rows.last);
    while (filled < until) {
      const int64_t more = rows.whole() ? rows.last - filled : 1;
      fill(a, chain, rows, filled, filled + more);
      filled += more;
    }
  };
  if (a.stride != 1) {
    for (int64_t row = first_row; row < last_row; ++row) {
      need(a.stride * row + 1);
      for (int64_t b = 0; b < a.length; ++b) stage_row<false, true>(a, chain, b, rows, row, nullptr);
    }
    return;
  }
  // Split i follows one row behind split i - 1, whose result it needs around each row. A part of the plane needs
  // more rows of the earlier splits than are its own.
  for (int64_t lead = first_row - a.length + 1; lead < last_row + a.length - 1; ++lead) {
    need(lead + 1);
    for (int64_t b = 0; b < a.length; ++b) {
      const int64_t row = lead - b, more = a.length - 1 - b;
      if (row < 0 || row >= a.height || row < first_row - more || row >= last_row + more) continue;
      const bool wanted = row >= first_row && row < last_row;
      if (b + 1 == a.length) {
        stage_row<false, true>(a, chain, b, rows, row, nullptr);
      } else if (wanted) {
        stage_row<true, true>(a, chain, b, rows, row, rows.at(b + 1, row) + kLane);
      } else {
        stage_row<true, false>(a, chain, b, rows, row, rows.at(b + 1, row) + kLane);
      }
    }
  }
}

}  // namespace frnet::cpu::FRNET_ISA
