// How the channels of a tensor lie in blocks of one vector each.
//
// A tensor of the runtime is [blocks][images][height * width][lanes]: a vector holds so many channels of one pixel.
// Where a multi-scale stage chains splits of the channels, each split begins a block of its own, so that channel j of
// every split stands in the same lane of the blocks of one chain. Lanes that are left over hold zeros.
#pragma once

#include <cstdint>

namespace frnet::runtime {

struct Channels {
  int32_t count = 0;
  int32_t splits = 1;
  int32_t lanes = 1;

  int32_t per_split() const { return count / splits; }
  int32_t blocks_per_split() const { return (per_split() + lanes - 1) / lanes; }
  int32_t blocks() const { return splits * blocks_per_split(); }
  // Channels in a block: its first lanes.
  int32_t valid(int32_t block) const {
    const int32_t before = block % blocks_per_split() * lanes;
    const int32_t left = per_split() - before;
    return left < lanes ? left : lanes;
  }
  // The channel in the first lane of a block.
  int32_t first(int32_t block) const {
    return block / blocks_per_split() * per_split() + block % blocks_per_split() * lanes;
  }
};

}  // namespace frnet::runtime
