// The steps that plans are made of.
#pragma once

#include "runtime/aligned.h"
#include "runtime/step.h"
#include "runtime/weights.h"

namespace frnet::runtime {

// 3x3 convolution with stride 2 of the network's input.
class StemStep final : public Step {
 public:
  StemStep(const Convolution& conv, const Channels& out, Activation activation);
  void run(const Frame& frame) const override;
  Size result(const std::vector<Size>& sizes) const override;
  Needs needs(const Kernels& kernels, const std::vector<Size>& sizes) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  Channels out_;
  Activation activation_;
  AlignedFloats weights_, bias_;
};

// 1x1 convolution of one tensor, or of several whose channels stand one behind the other, and what is added to it.
class PointwiseStep final : public Step {
 public:
  // inputs: the tensors in the order of their channels, then, with residual, the one that is added.
  PointwiseStep(const Convolution& conv, const std::vector<Channels>& in, const Channels& out, Activation activation,
                bool residual);
  void run(const Frame& frame) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  std::vector<Channels> in_;
  std::vector<std::vector<int32_t>> valid_;
  Channels out_;
  Activation activation_;
  bool residual_;
  AlignedFloats weights_, bias_;
};

// An expansion, where there is one, and a 3x3 depthwise stage.
class StageStep final : public Step {
 public:
  // in: channels of the input; out: those of the stage, in as many splits as chain.
  StageStep(const Convolution* expand, Activation expand_activation, const Depthwise& depthwise, Activation activation,
            int32_t stride, const Channels& in, const Channels& out, bool row_sums);
  void run(const Frame& frame) const override;
  Size result(const std::vector<Size>& sizes) const override;
  Needs needs(const Kernels& kernels, const std::vector<Size>& sizes) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  StageArgs arguments(const Size& size) const;

  Channels in_, out_;
  std::vector<int32_t> valid_;
  Activation expand_activation_, activation_;
  int32_t stride_;
  bool row_sums_;
  AlignedFloats expand_weights_, expand_bias_, filters_, shift_, out_scale_, out_shift_;
};

// 3x3 convolution of one tensor, and what is added to it.
class DenseStep final : public Step {
 public:
  DenseStep(const Convolution& conv, const Channels& in, const Channels& out, int32_t stride, Activation activation,
            bool residual);
  void run(const Frame& frame) const override;
  Size result(const std::vector<Size>& sizes) const override;
  Needs needs(const Kernels& kernels, const std::vector<Size>& sizes) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  Channels in_, out_;
  std::vector<int32_t> valid_;
  int32_t stride_;
  Activation activation_;
  bool residual_;
  AlignedFloats weights_, bias_;
};

// Depthwise convolution of any odd size, with stride 1.
class DepthwiseStep final : public Step {
 public:
  DepthwiseStep(const Depthwise& conv, const Channels& channels, Activation activation);
  void run(const Frame& frame) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  Channels channels_;
  int32_t kernel_;
  Activation activation_;
  AlignedFloats filters_, shift_;
};

// A spatial gate, a channel gate, or one behind the other, in place.
class GateStep final : public Step {
 public:
  // row_sums: whether the stage in front has left the sums of its rows.
  GateStep(const SpatialGate* spatial, const ChannelGate* channel, const Channels& channels, bool row_sums);
  void run(const Frame& frame) const override;
  Needs needs(const Kernels& kernels, const std::vector<Size>& sizes) const override;
  int64_t macs(const std::vector<Size>& sizes) const override;

 private:
  void group_lanes(int32_t groups);
  void run_spatial(const Frame& frame) const;
  void run_channel(const Frame& frame) const;
  SgeArgs spatial_arguments(const Frame& frame, int64_t image) const;
  ExciteArgs excite_arguments(const Frame& frame, int64_t image) const;
  float* sums(const Frame& frame, int64_t image) const;

  Channels channels_;
  std::vector<int32_t> valid_;
  bool row_sums_, spatial_ = false, channel_ = false;
  int32_t groups_ = 0, squeezed_ = 0, squeezed_blocks_ = 0;
  std::vector<int32_t> masks_, group_begin_, block_begin_;
  std::vector<GroupPart> group_parts_, block_parts_;
  AlignedFloats weight_, bias_, w1_, b1_, w2_, b2_;
};

// Every second pixel of every second row.
class SubsampleStep final : public Step {
 public:
  explicit SubsampleStep(const Channels& channels) : channels_(channels) {}
  void run(const Frame& frame) const override;
  Size result(const std::vector<Size>& sizes) const override;

 private:
  Channels channels_;
};

// Adds a plane of half the size, each pixel four times, in place.
class AddDoubledStep final : public Step {
 public:
  explicit AddDoubledStep(const Channels& channels) : channels_(channels) {}
  void run(const Frame& frame) const override;

 private:
  Channels channels_;
};

// ReLU in place.
class ReluStep final : public Step {
 public:
  explicit ReluStep(const Channels& channels) : channels_(channels) {}
  void run(const Frame& frame) const override;

 private:
  Channels channels_;
};

// The mean over the plane.
class MeanStep final : public Step {
 public:
  explicit MeanStep(const Channels& channels) : channels_(channels) {}
  void run(const Frame& frame) const override;
  Size result(const std::vector<Size>&) const override { return {1, 1}; }

 private:
  Channels channels_;
};

}  // namespace frnet::runtime
