// How a convolution and the statistics of its results share a cache: by columns, the planes of one block of channels
// over the whole batch.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"

namespace frnet::cpu::FRNET_ISA {

// What a thread keeps of one block of channels, on its stack.
inline constexpr int64_t kColumnBytes = 768 * 1024;
// Blocks of channels below which threads would go without work.
inline constexpr int64_t kFewestColumns = 4;

// Vectors that the forward pass keeps of one image: its results.
inline int64_t forward_vectors(const Shape& s) { return s.out_height * s.out_width; }

// vectors: of one image.
template <typename A>
bool keeps_columns(const Shape& s, const Tiling& tiling, int64_t vectors) {
  const Blocks blocks(s, kLanes<A>);
  return s.batch > 0 && tiling.count() == 1 && !blocks.across_images && blocks.per_image >= kFewestColumns &&
         s.batch * vectors * kVectorBytes <= kColumnBytes;
}

template <typename A>
bool forward_keeps_columns(const Shape& s) {
  return keeps_columns<A>(s, forward_tiling(s), forward_vectors(s));
}

}  // namespace frnet::cpu::FRNET_ISA
