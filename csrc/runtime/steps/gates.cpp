#include <algorithm>
#include <map>

#include "runtime/packing.h"
#include "runtime/steps/steps.h"

namespace frnet::runtime {

namespace {

constexpr int64_t kWorthSharing = 1024;  // vectors of a tensor; fewer are done before another thread has begun

int64_t padded(int64_t pixels, int64_t lanes) { return (pixels + lanes - 1) / lanes * lanes; }

}  // namespace

GateStep::GateStep(const SpatialGate* spatial, const ChannelGate* channel, const Channels& channels, bool row_sums)
    : channels_(channels), valid_(valid_channels(channels)), row_sums_(row_sums) {
  const std::vector<int32_t> blocks = all_blocks(channels);
  if (spatial != nullptr) {
    spatial_ = true;
    group_lanes(spatial->groups);
    const Channels groups{spatial->groups, 1, channels.lanes};
    weight_ = pack_channels(spatial->weight, groups, all_blocks(groups));
    bias_ = pack_channels(spatial->bias, groups, all_blocks(groups));
  }
  if (channel != nullptr) {
    channel_ = true;
    squeezed_ = channel->squeezed;
    const Channels squeezed{squeezed_, 1, channels.lanes};
    squeezed_blocks_ = squeezed.blocks();
    const size_t lanes = static_cast<size_t>(channels.lanes), row = static_cast<size_t>(squeezed_blocks_) * lanes;
    w1_ = AlignedFloats(blocks.size() * lanes * row);
    w2_ = AlignedFloats(static_cast<size_t>(squeezed_) * blocks.size() * lanes);
    for (int32_t block : blocks) {
      for (int32_t lane = 0; lane < channels.valid(block); ++lane) {
        const size_t place = static_cast<size_t>(block) * lanes + static_cast<size_t>(lane);
        const size_t c = static_cast<size_t>(channels.first(block) + lane);
        for (size_t k = 0; k < static_cast<size_t>(squeezed_); ++k) {
          w1_[place * row + k] = channel->w1[k * static_cast<size_t>(channels.count) + c];
          w2_[k * blocks.size() * lanes + place] = channel->w2[c * static_cast<size_t>(squeezed_) + k];
        }
      }
    }
    b1_ = pack_channels(channel->b1, squeezed, all_blocks(squeezed));
    b2_ = pack_channels(channel->b2, channels, blocks);
  }
}

// Which lanes of which blocks belong to each group: a group is a run of channels.
void GateStep::group_lanes(int32_t groups) {
  groups_ = groups;
  const int32_t per_group = channels_.count / groups, lanes = channels_.lanes;
  std::map<std::vector<int32_t>, int32_t> known;
  std::vector<std::vector<GroupPart>> of_group(static_cast<size_t>(groups));
  block_begin_.push_back(0);
  for (int32_t block = 0; block < channels_.blocks(); ++block) {
    const int32_t first = channels_.first(block), last = first + channels_.valid(block) - 1;
    for (int32_t group = first / per_group; group <= last / per_group; ++group) {
      std::vector<int32_t> mask(static_cast<size_t>(lanes));
      for (int32_t lane = 0; lane <= last - first; ++lane) {
        mask[static_cast<size_t>(lane)] = (first + lane) / per_group == group ? -1 : 0;
      }
      const auto [place, added] = known.emplace(mask, static_cast<int32_t>(known.size()));
      if (added) masks_.insert(masks_.end(), mask.begin(), mask.end());
      block_parts_.push_back({group, place->second});
      of_group[static_cast<size_t>(group)].push_back({block, place->second});
    }
    block_begin_.push_back(static_cast<int32_t>(block_parts_.size()));
  }
  group_begin_.push_back(0);
  for (const auto& parts : of_group) {
    group_parts_.insert(group_parts_.end(), parts.begin(), parts.end());
    group_begin_.push_back(static_cast<int32_t>(group_parts_.size()));
  }
}

// Of the gated tensor; behind them stand the channel gate's scale and what is between its layers.
float* GateStep::sums(const Frame& frame, int64_t image) const {
  const View& x = frame.views[inputs[0]];
  const int64_t rows = spatial_ ? (row_sums_ ? x.size.height : 1) : 0;
  return frame.row_sums + image * frame.row_sums_stride + rows * channels_.blocks() * channels_.lanes;
}

SgeArgs GateStep::spatial_arguments(const Frame& frame, int64_t image) const {
  const View& x = frame.views[inputs[0]];
  SgeArgs a{};
  a.x = x.data + image * x.image_stride;
  a.block_stride = x.block_stride;
  a.pixels = x.size.pixels();
  a.blocks = channels_.blocks();
  a.groups = groups_;
  a.masks = masks_.data();
  a.group_parts = group_parts_.data();
  a.group_begin = group_begin_.data();
  a.block_parts = block_parts_.data();
  a.block_begin = block_begin_.data();
  a.weight = weight_.data();
  a.bias = bias_.data();
  a.row_sums = frame.row_sums + image * frame.row_sums_stride;
  a.rows = row_sums_ ? x.size.height : 1;
  a.gates = frame.gates + image * frame.gates_stride;
  return a;
}

ExciteArgs GateStep::excite_arguments(const Frame& frame, int64_t image) const {
  ExciteArgs a{};
  a.sums = sums(frame, image);
  a.per_pixel = 1.0f / static_cast<float>(frame.views[inputs[0]].size.pixels());
  a.valid = valid_.data();
  a.blocks = channels_.blocks();
  a.w1 = w1_.data();
  a.b1 = b1_.data();
  a.squeezed_blocks = squeezed_blocks_;
  a.squeezed = squeezed_;
  a.w2 = w2_.data();
  a.b2 = b2_.data();
  a.scale = sums(frame, image) + channels_.blocks() * channels_.lanes;
  a.hidden = a.scale + channels_.blocks() * channels_.lanes;
  return a;
}

void GateStep::run(const Frame& frame) const {
  if (spatial_) {
    run_spatial(frame);
  } else {
    run_channel(frame);
  }
}

void GateStep::run_spatial(const Frame& frame) const {
  const View& x = frame.views[inputs[0]];
  const int64_t blocks = channels_.blocks();
  // Calls run(image, first, last) for parts of [0, count) of each image.
  const int64_t vectors = blocks * x.size.pixels();
  const int64_t workers = frame.images * vectors < kWorthSharing ? 1 : frame.workers.count();
  const auto over = [&](int64_t count, const auto& run) {
    const int64_t parts = std::min(count, (workers + frame.images - 1) / frame.images);
    const auto part = [&](int64_t task, int32_t) {
      run(task / parts, count * (task % parts) / parts, count * (task % parts + 1) / parts);
    };
    if (workers > 1) return frame.workers(frame.images * parts, part);
    for (int64_t task = 0; task < frame.images * parts; ++task) part(task, 0);
  };
  if (!row_sums_) {
    over(blocks, [&](int64_t image, int64_t first, int64_t last) {
      frame.kernels.plane_sums(x.data + image * x.image_stride, x.block_stride, x.size.pixels(), first, last,
                               frame.row_sums + image * frame.row_sums_stride);
    });
  }
  over(groups_, [&](int64_t image, int64_t first, int64_t last) {
    frame.kernels.sge_gates(spatial_arguments(frame, image), first, last);
  });
  if (channel_) {
    over(blocks, [&](int64_t image, int64_t first, int64_t last) {
      SgeArgs a = spatial_arguments(frame, image);
      a.sums = sums(frame, image);
      frame.kernels.sge_apply(a, first, last);
    });
    for (int64_t image = 0; image < frame.images; ++image) frame.kernels.excite(excite_arguments(frame, image));
  }
  over(blocks, [&](int64_t image, int64_t first, int64_t last) {
    SgeArgs a = spatial_arguments(frame, image);
    if (channel_) a.scale = excite_arguments(frame, image).scale;
    frame.kernels.sge_apply(a, first, last);
  });
}

void GateStep::run_channel(const Frame& frame) const {
  const View& x = frame.views[inputs[0]];
  frame.workers(frame.images, [&](int64_t image, int32_t) {
    float* plane = x.data + image * x.image_stride;
    const ExciteArgs a = excite_arguments(frame, image);
    frame.kernels.plane_sums(plane, x.block_stride, x.size.pixels(), 0, a.blocks, sums(frame, image));
    frame.kernels.excite(a);
    frame.kernels.scale_planes(plane, x.block_stride, x.size.pixels(), a.scale, Activation::none, 0, a.blocks);
  });
}

Needs GateStep::needs(const Kernels& kernels, const std::vector<Size>& sizes) const {
  const Size& size = sizes[inputs[0]];
  Needs needs;
  const int64_t rows = (spatial_ ? (row_sums_ ? size.height : 1) : 0) + (channel_ ? 2 : 0);
  needs.row_sums = (rows * channels_.blocks() + squeezed_blocks_) * channels_.lanes;
  if (spatial_) needs.gates = groups_ * padded(size.pixels(), kernels.lanes);
  return needs;
}

int64_t GateStep::macs(const std::vector<Size>& sizes) const {
  const int64_t spatial = spatial_ ? 2 * int64_t{channels_.count} * sizes[inputs[0]].pixels() : 0;
  return spatial + (channel_ ? 2 * int64_t{channels_.count} * squeezed_ : 0);
}

}  // namespace frnet::runtime
