#include "runtime/packing.h"

#include "runtime/kernels.h"

namespace frnet::runtime {

AlignedFloats pack_panels(const std::vector<float>& weight, const std::vector<Channels>& in, const Channels& out,
                          const std::vector<int32_t>& out_blocks, int32_t taps) {
  const int64_t lanes = out.lanes, panels = (static_cast<int64_t>(out_blocks.size()) + kPanel - 1) / kPanel;
  int64_t channels = 0;
  for (const Channels& c : in) channels += c.count;
  AlignedFloats packed(static_cast<size_t>(panels * taps * channels * kPanel * lanes));
  float* to = packed.data();
  for (int64_t panel = 0; panel < panels; ++panel) {
    for (int32_t tap = 0; tap < taps; ++tap) {
      int64_t before = 0;
      for (const Channels& c : in) {
        for (int32_t block = 0; block < c.blocks(); ++block) {
          for (int32_t lane = 0; lane < c.valid(block); ++lane, to += kPanel * lanes) {
            const int64_t channel = before + c.first(block) + lane;
            for (int32_t n = 0; n < kPanel; ++n) {
              const size_t place = static_cast<size_t>(panel * kPanel + n);
              if (place >= out_blocks.size()) continue;
              const int32_t of = out_blocks[place];
              for (int32_t l = 0; l < out.valid(of); ++l) {
                to[n * lanes + l] =
                    weight[static_cast<size_t>(((out.first(of) + l) * channels + channel) * taps + tap)];
              }
            }
          }
        }
        before += c.count;
      }
    }
  }
  return packed;
}

AlignedFloats pack_channels(const std::vector<float>& values, const Channels& channels,
                            const std::vector<int32_t>& out_blocks, int32_t taps) {
  AlignedFloats packed(out_blocks.size() * static_cast<size_t>(taps * channels.lanes));
  for (size_t i = 0; i < out_blocks.size(); ++i) {
    for (int32_t tap = 0; tap < taps; ++tap) {
      for (int32_t l = 0; l < channels.valid(out_blocks[i]); ++l) {
        packed[(i * static_cast<size_t>(taps) + static_cast<size_t>(tap)) * static_cast<size_t>(channels.lanes) +
               static_cast<size_t>(l)] = values[static_cast<size_t>((channels.first(out_blocks[i]) + l) * taps + tap)];
      }
    }
  }
  return packed;
}

std::vector<int32_t> all_blocks(const Channels& channels) {
  std::vector<int32_t> blocks;
  for (int32_t block = 0; block < channels.blocks(); ++block) blocks.push_back(block);
  return blocks;
}

std::vector<int32_t> valid_channels(const Channels& channels) {
  std::vector<int32_t> valid;
  for (int32_t block = 0; block < channels.blocks(); ++block) valid.push_back(channels.valid(block));
  return valid;
}

}  // namespace frnet::runtime
