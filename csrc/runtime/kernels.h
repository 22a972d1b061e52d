// The loops of the runtime, one table of functions for each instruction set.
//
// All tensors are float32 in blocks of `lanes` channels (channels.h). A function does a part of its step, so that the
// caller decides how the parts are spread over threads; no result depends on how: sums run in one fixed order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"
#include "math/activation.h"

namespace frnet::runtime {

// Blocks of the result that are computed together, and the weights of which lie together.
inline constexpr int32_t kPanel = 2;

// Channels that a convolution adds up: all of one tensor, at one pixel for each pixel of the result.
struct Segment {
  const float* x;        // of the first pixel
  int64_t block_stride;  // floats from a block to the next
  const int32_t* valid;  // [blocks] channels in each
  int32_t blocks;
};

// y = activation(W x + bias) + residual, pixel by pixel. x is one tensor, or several one behind the other.
struct PointwiseArgs {
  const Segment* segments;
  int32_t segment_count;
  int32_t pixel_step;    // pixels of x from one to the next: 1 or 2
  const float* weights;  // [panels][channels of x][kPanel][lanes]
  const float* bias;     // [blocks][lanes]
  Activation activation;
  int32_t blocks;  // of the result
  const float* residual;
  int64_t residual_block_stride;
  float* y;
  int64_t y_block_stride;
};

// An expansion and the depthwise stage behind it, of one image. Without an expansion (expand_weights null) the
// depthwise stage works on x itself.
//
// Blocks chain: that of split i, at stride 1, adds the result of split i - 1 to its input. Without splits a chain is
// one block.
struct StageArgs {
  const float* x;
  int64_t x_block_stride;
  int32_t height, width;  // of x
  const int32_t* x_valid;
  int32_t x_blocks;
  const float* expand_weights;  // [chains][panels of a chain][channels of x][kPanel][lanes]
  const float* expand_bias;     // [chains][length][lanes]
  Activation expand_activation;
  int32_t chains, length;
  int32_t stride;
  const float* filters;  // [chains][length][9][lanes]
  const float* shift;    // [chains][length][lanes]
  Activation activation;
  const float* out_scale;  // [chains][length][lanes]; null: none
  const float* out_shift;
  float* y;
  int64_t y_block_stride;
  int64_t y_split_stride;  // floats from a block to the next one of its chain
  float* row_sums;         // [rows][blocks][lanes], in the order of y; null: not wanted
};

// y = activation(filters * x + shift), block by block.
struct DepthwiseArgs {
  const float* x;
  int64_t x_block_stride;
  int32_t height, width, blocks, kernel;
  const float* filters;  // [blocks][kernel * kernel][lanes]
  const float* shift;    // [blocks][lanes]
  Activation activation;
  float* y;
  int64_t y_block_stride;
};

// Lanes of a block that belong to one group: those whose mask is all ones.
struct GroupPart {
  int32_t index;  // of the block, or of the group
  int32_t mask;   // which of the masks
};

// A spatial gate on a tensor of one image: y = x * sigmoid(w (t - mean t) / (std t + 1e-5) + b), in place.
struct SgeArgs {
  float* x;
  int64_t block_stride;
  int64_t pixels;
  int32_t blocks, groups;
  const int32_t* masks;          // [...][lanes], zeros and all ones
  const GroupPart* group_parts;  // the blocks of each group
  const int32_t* group_begin;    // [groups + 1]
  const GroupPart* block_parts;  // the groups of each block
  const int32_t* block_begin;    // [blocks + 1]
  const float* weight;           // [groups]
  const float* bias;             // [groups]
  const float* row_sums;         // [rows][blocks][lanes]
  int32_t rows;
  float* gates;        // [groups][pixels rounded up to lanes]
  float* sums;         // [blocks][lanes]: of what the gate made; null: not wanted
  const float* scale;  // [blocks][lanes], by which the result is multiplied; null: none
};

// A channel gate's scale of one image: sigmoid(W2 relu(W1 mean + b1) + b2).
struct ExciteArgs {
  const float* sums;  // [blocks][lanes]
  float per_pixel;    // 1 / pixels
  const int32_t* valid;
  int32_t blocks;
  const float* w1;  // [blocks * lanes][squeezed blocks * lanes], rows of lanes that are left over are not read
  const float* b1;  // [squeezed blocks][lanes]
  int32_t squeezed_blocks, squeezed;
  const float* w2;  // [squeezed][blocks][lanes]
  const float* b2;  // [blocks][lanes]
  float* hidden;    // [squeezed blocks][lanes]
  float* scale;     // [blocks][lanes]
};

struct Kernels {
  cpu::Isa isa;
  int32_t lanes;

  void (*pointwise)(const PointwiseArgs& a, int64_t first_panel, int64_t last_panel, int64_t first_pixel,
                    int64_t last_pixel);
  // Output rows [first_row, last_row) of one chain. scratch: stage_scratch(a) floats, aligned to 64 bytes.
  void (*stage)(const StageArgs& a, int64_t chain, int64_t first_row, int64_t last_row, float* scratch);
  int64_t (*stage_scratch)(const StageArgs& a);
  // 3x3, stride 2, three planes: output rows [first_row, last_row). Weights [panels][27][kPanel][lanes].
  void (*stem)(const float* planes, int32_t height, int32_t width, const PointwiseArgs& a, int64_t first_row,
               int64_t last_row, float* scratch);
  // Rows [first_row, last_row) of all blocks: a depthwise convolution with stride 1 that keeps the size of the plane.
  void (*depthwise)(const DepthwiseArgs& a, int64_t first_row, int64_t last_row);
  void (*sge_gates)(const SgeArgs& a, int64_t first_group, int64_t last_group);
  // Only the sums, where they are wanted; else the result.
  void (*sge_apply)(const SgeArgs& a, int64_t first_block, int64_t last_block);
  void (*excite)(const ExciteArgs& a);
  // sums [blocks][lanes] over the pixels of each block.
  void (*plane_sums)(const float* x, int64_t block_stride, int64_t pixels, int64_t first_block, int64_t last_block,
                     float* sums);
  // x *= scale, and ReLU where it is asked for.
  void (*scale_planes)(float* x, int64_t block_stride, int64_t pixels, const float* scale, Activation activation,
                       int64_t first_block, int64_t last_block);
};

// Those of an instruction set that this machine has.
const Kernels& kernels(cpu::Isa isa);

}  // namespace frnet::runtime
