#include <algorithm>

#include "runtime/packing.h"
#include "runtime/steps/steps.h"

namespace frnet::runtime {

namespace {

constexpr size_t kMostInputs = 2;

// Calls run(first, last, worker) for parts of [0, count) that begin at multiples of unit, one for each worker or more.
template <typename F>
void spread(Workers& workers, int64_t count, int64_t unit, int64_t parts_per_worker, const F& run) {
  const int64_t units = (count + unit - 1) / unit;
  const int64_t parts = workers.count() == 1 ? 1 : std::min<int64_t>(units, workers.count() * parts_per_worker);
  workers(parts, [&](int64_t part, int32_t worker) {
    run(units * part / parts * unit, std::min(count, units * (part + 1) / parts * unit), worker);
  });
}

}  // namespace

StemStep::StemStep(const Convolution& conv, const Channels& out, Activation activation)
    : out_(out), activation_(activation) {
  // The input's planes are read one behind the other, each with its nine taps.
  const std::vector<int32_t> blocks = all_blocks(out);
  weights_ = pack_panels(conv.weight, {Channels{27, 1, out.lanes}}, out, blocks);
  bias_ = pack_channels(conv.bias, out, blocks);
}

void StemStep::run(const Frame& frame) const {
  const View& y = frame.views[output];
  const Size& in = frame.plane_size;
  for (int64_t image = 0; image < frame.images; ++image) {
    PointwiseArgs a{};
    a.weights = weights_.data();
    a.bias = bias_.data();
    a.activation = activation_;
    a.blocks = out_.blocks();
    a.y = y.data + image * y.image_stride;
    a.y_block_stride = y.block_stride;
    const float* planes = frame.planes + image * 3 * in.pixels();
    spread(frame.workers, y.size.height, 1, 2, [&](int64_t first, int64_t last, int32_t worker) {
      frame.kernels.stem(planes, in.height, in.width, a, first, last, frame.scratch[worker]);
    });
  }
}

Size StemStep::result(const std::vector<Size>& sizes) const {
  const Size& in = sizes.at(0);
  return {(in.height + 1) / 2, (in.width + 1) / 2};
}

Needs StemStep::needs(const Kernels&, const std::vector<Size>& sizes) const {
  Needs needs;
  needs.scratch = 9 * (2 * int64_t{sizes[output].width} + 2);
  return needs;
}

int64_t StemStep::macs(const std::vector<Size>& sizes) const { return 27 * out_.count * sizes[output].pixels(); }

PointwiseStep::PointwiseStep(const Convolution& conv, const std::vector<Channels>& in, const Channels& out,
                             Activation activation, bool residual)
    : in_(in), out_(out), activation_(activation), residual_(residual) {
  for (const Channels& channels : in) valid_.push_back(valid_channels(channels));
  const std::vector<int32_t> blocks = all_blocks(out);
  weights_ = pack_panels(conv.weight, in, out, blocks);
  bias_ = pack_channels(conv.bias, out, blocks);
}

void PointwiseStep::run(const Frame& frame) const {
  const View& y = frame.views[output];
  Segment segments[kMostInputs];
  for (size_t i = 0; i < in_.size(); ++i) {
    const View& x = frame.views[inputs[i]];
    segments[i] = {x.data, x.block_stride, valid_[i].data(), in_[i].blocks()};
  }
  PointwiseArgs a{};
  a.segments = segments;
  a.segment_count = static_cast<int32_t>(in_.size());
  a.pixel_step = 1;
  a.weights = weights_.data();
  a.bias = bias_.data();
  a.activation = activation_;
  a.blocks = out_.blocks();
  if (residual_) {
    const View& x = frame.views[inputs.back()];
    a.residual = x.data;
    a.residual_block_stride = x.block_stride;
  }
  a.y = y.data;
  a.y_block_stride = y.block_stride;
  const int64_t panels = (a.blocks + kPanel - 1) / kPanel, pixels = frame.images * y.size.pixels();
  if (panels % frame.workers.count() == 0 || panels >= 4 * frame.workers.count()) {
    spread(frame.workers, panels, 1, 1,
           [&](int64_t first, int64_t last, int32_t) { frame.kernels.pointwise(a, first, last, 0, pixels); });
  } else {
    spread(frame.workers, pixels, 1, 1,
           [&](int64_t first, int64_t last, int32_t) { frame.kernels.pointwise(a, 0, panels, first, last); });
  }
}

int64_t PointwiseStep::macs(const std::vector<Size>& sizes) const {
  int64_t channels = 0;
  for (const Channels& in : in_) channels += in.count;
  return channels * out_.count * sizes[output].pixels();
}

DenseStep::DenseStep(const Convolution& conv, const Channels& in, const Channels& out, int32_t stride,
                     Activation activation, bool residual)
    : in_(in), out_(out), valid_(valid_channels(in)), stride_(stride), activation_(activation), residual_(residual) {
  const std::vector<int32_t> blocks = all_blocks(out);
  weights_ = pack_panels(conv.weight, {in}, out, blocks, 9);
  bias_ = pack_channels(conv.bias, out, blocks);
}

void DenseStep::run(const Frame& frame) const {
  const View &x = frame.views[inputs[0]], &y = frame.views[output];
  const int64_t lanes = in_.lanes, blocks = in_.blocks(), width = x.size.width, pitch = (width + 2) * lanes;
  const int64_t panels = (out_.blocks() + kPanel - 1) / kPanel;
  for (int64_t image = 0; image < frame.images; ++image) {
    const float* from = x.data + image * x.image_stride;
    spread(frame.workers, y.size.height, 1, 4, [&](int64_t first, int64_t last, int32_t worker) {
      float* rows = frame.scratch[worker];  // [3][blocks][width + 2][lanes], with zeros around
      Segment segments[9];
      for (int64_t tap = 0; tap < 9; ++tap) {
        segments[tap] = {rows + tap / 3 * blocks * pitch + tap % 3 * lanes, pitch, valid_.data(), in_.blocks()};
      }
      PointwiseArgs a{};
      a.segments = segments;
      a.segment_count = 9;
      a.pixel_step = stride_;
      a.weights = weights_.data();
      a.bias = bias_.data();
      a.activation = activation_;
      a.blocks = out_.blocks();
      a.y_block_stride = y.block_stride;
      for (int64_t row = first; row < last; ++row) {
        for (int64_t r = 0; r < 3; ++r) {
          const int64_t at = stride_ * row + r - 1;
          for (int64_t block = 0; block < blocks; ++block) {
            float* to = rows + (r * blocks + block) * pitch;
            std::fill_n(to, pitch, 0.0f);
            if (at < 0 || at >= x.size.height) continue;
            std::copy_n(from + block * x.block_stride + at * width * lanes, width * lanes, to + lanes);
          }
        }
        const int64_t place = image * y.image_stride + row * y.size.width * lanes;
        a.y = y.data + place;
        if (residual_) {
          const View& added = frame.views[inputs[1]];
          a.residual = added.data + place;
          a.residual_block_stride = added.block_stride;
        }
        frame.kernels.pointwise(a, 0, panels, 0, y.size.width);
      }
    });
  }
}

Size DenseStep::result(const std::vector<Size>& sizes) const {
  const Size& in = sizes[inputs[0]];
  return {(in.height + stride_ - 1) / stride_, (in.width + stride_ - 1) / stride_};
}

Needs DenseStep::needs(const Kernels&, const std::vector<Size>& sizes) const {
  Needs needs;
  // (The last pixel of a tile at stride 2 may lie one further.)
  needs.scratch = (3 * int64_t{in_.blocks()} * (sizes[inputs[0]].width + 2) + 1) * in_.lanes;
  return needs;
}

int64_t DenseStep::macs(const std::vector<Size>& sizes) const {
  return 9 * int64_t{in_.count} * out_.count * sizes[output].pixels();
}

DepthwiseStep::DepthwiseStep(const Depthwise& conv, const Channels& channels, Activation activation)
    : channels_(channels), kernel_(conv.kernel), activation_(activation) {
  const std::vector<int32_t> blocks = all_blocks(channels);
  filters_ = pack_channels(conv.weight, channels, blocks, kernel_ * kernel_);
  shift_ = pack_channels(conv.shift, channels, blocks);
}

void DepthwiseStep::run(const Frame& frame) const {
  const View &x = frame.views[inputs[0]], &y = frame.views[output];
  for (int64_t image = 0; image < frame.images; ++image) {
    const DepthwiseArgs a{x.data + image * x.image_stride,
                          x.block_stride,
                          x.size.height,
                          x.size.width,
                          channels_.blocks(),
                          kernel_,
                          filters_.data(),
                          shift_.data(),
                          activation_,
                          y.data + image * y.image_stride,
                          y.block_stride};
    spread(frame.workers, y.size.height, 1, 2,
           [&](int64_t first, int64_t last, int32_t) { frame.kernels.depthwise(a, first, last); });
  }
}

int64_t DepthwiseStep::macs(const std::vector<Size>& sizes) const {
  return int64_t{kernel_} * kernel_ * channels_.count * sizes[output].pixels();
}

StageStep::StageStep(const Convolution* expand, Activation expand_activation, const Depthwise& depthwise,
                     Activation activation, int32_t stride, const Channels& in, const Channels& out, bool row_sums)
    : in_(in),
      out_(out),
      valid_(valid_channels(in)),
      expand_activation_(expand_activation),
      activation_(activation),
      stride_(stride),
      row_sums_(row_sums) {
  std::vector<int32_t> order, panel_order;  // chain by chain
  AlignedFloats weights;
  const int32_t chains = out.blocks_per_split(), length = out.splits;
  for (int32_t chain = 0; chain < chains; ++chain) {
    for (int32_t i = 0; i < length; ++i) order.push_back(chain + i * chains);
  }
  if (expand != nullptr) {
    // A panel never reaches into the next chain.
    const int64_t panels = (length + kPanel - 1) / kPanel, floats = panels * in.count * kPanel * out.lanes;
    expand_weights_ = AlignedFloats(static_cast<size_t>(chains * floats));
    for (int32_t chain = 0; chain < chains; ++chain) {
      const std::vector<int32_t> blocks(order.begin() + chain * length, order.begin() + (chain + 1) * length);
      const AlignedFloats packed = pack_panels(expand->weight, {in}, out, blocks);
      for (size_t i = 0; i < packed.size(); ++i) {
        expand_weights_[static_cast<size_t>(chain * floats) + i] = packed[i];
      }
    }
    expand_bias_ = pack_channels(expand->bias, out, order);
  }
  filters_ = pack_channels(depthwise.weight, out, order, 9);
  shift_ = pack_channels(depthwise.shift, out, order);
  if (!depthwise.out_scale.empty()) {
    out_scale_ = pack_channels(depthwise.out_scale, out, order);
    out_shift_ = pack_channels(depthwise.out_shift, out, order);
  }
}

StageArgs StageStep::arguments(const Size& size) const {
  StageArgs a{};
  a.height = size.height;
  a.width = size.width;
  a.x_valid = valid_.data();
  a.x_blocks = in_.blocks();
  a.expand_weights = expand_weights_.data();
  a.expand_bias = expand_bias_.data();
  a.expand_activation = expand_activation_;
  a.chains = out_.blocks_per_split();
  a.length = out_.splits;
  a.stride = stride_;
  a.filters = filters_.data();
  a.shift = shift_.data();
  a.activation = activation_;
  a.out_scale = out_scale_.data();
  a.out_shift = out_shift_.data();
  return a;
}

void StageStep::run(const Frame& frame) const {
  const View &x = frame.views[inputs[0]], &y = frame.views[output];
  StageArgs shared = arguments(x.size);
  shared.x_block_stride = x.block_stride;
  shared.y_block_stride = y.block_stride;
  shared.y_split_stride = shared.chains * y.block_stride;
  // What does not divide by the threads is cut into rows; parts of a chain repeat some rows of each other.
  const int64_t whole = frame.images * shared.chains, workers = frame.workers.count();
  const int64_t rows = y.size.height, parts = rows >= 4 * workers ? workers : 1;
  const int64_t left = parts > 1 ? whole % workers : 0;
  frame.workers(whole - left + left * parts, [&](int64_t task, int32_t worker) {
    const int64_t cut = task - (whole - left);
    const int64_t unit = cut < 0 ? task : whole - left + cut / parts, part = cut < 0 ? 0 : cut % parts;
    const int64_t count = cut < 0 ? 1 : parts, image = unit % frame.images;
    StageArgs a = shared;
    a.x = x.data + image * x.image_stride;
    a.y = y.data + image * y.image_stride;
    a.row_sums = row_sums_ ? frame.row_sums + image * frame.row_sums_stride : nullptr;
    frame.kernels.stage(a, unit / frame.images, rows * part / count, rows * (part + 1) / count, frame.scratch[worker]);
  });
}

Size StageStep::result(const std::vector<Size>& sizes) const {
  const Size& in = sizes[inputs[0]];
  return {(in.height + stride_ - 1) / stride_, (in.width + stride_ - 1) / stride_};
}

Needs StageStep::needs(const Kernels& kernels, const std::vector<Size>& sizes) const {
  Needs needs;
  needs.scratch = kernels.stage_scratch(arguments(sizes[inputs[0]]));
  if (row_sums_) needs.row_sums = int64_t{sizes[output].height} * out_.blocks() * out_.lanes;
  return needs;
}

int64_t StageStep::macs(const std::vector<Size>& sizes) const {
  const int64_t expansion =
      expand_weights_.size() == 0 ? 0 : int64_t{in_.count} * out_.count * sizes[inputs[0]].pixels();
  return expansion + 9 * int64_t{out_.count} * sizes[output].pixels();
}

}  // namespace frnet::runtime
