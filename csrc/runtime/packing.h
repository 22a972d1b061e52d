// Weights in the order in which the kernels read them.
#pragma once

#include <vector>

#include "runtime/aligned.h"
#include "runtime/channels.h"

namespace frnet::runtime {

// Those of a convolution [out][in][taps], in panels: [panels][taps][in][kPanel][lanes]. in: the tensors whose channels
// stand one behind the other; out_blocks: which blocks of the result make the panels, in order.
AlignedFloats pack_panels(const std::vector<float>& weight, const std::vector<Channels>& in, const Channels& out,
                          const std::vector<int32_t>& out_blocks, int32_t taps = 1);

// [blocks][lanes] of values by channel, in the order of out_blocks. taps: values of each channel,
// [blocks][taps][lanes].
AlignedFloats pack_channels(const std::vector<float>& values, const Channels& channels,
                            const std::vector<int32_t>& out_blocks, int32_t taps = 1);

// 0, 1, 2, ... for all blocks.
std::vector<int32_t> all_blocks(const Channels& channels);

// How many channels each block has.
std::vector<int32_t> valid_channels(const Channels& channels);

}  // namespace frnet::runtime
