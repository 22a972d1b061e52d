// A step of a plan, and what it works on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/channels.h"
#include "runtime/kernels.h"
#include "runtime/workers.h"

namespace frnet::runtime {

struct Size {
  int32_t height = 0, width = 0;

  int64_t pixels() const { return int64_t{height} * width; }
};

// A tensor of some images in memory: [blocks][images][pixels][lanes].
struct View {
  float* data = nullptr;
  int64_t block_stride = 0;  // floats from a block to the next
  int64_t image_stride = 0;
  Size size;
};

struct Frame {
  const Kernels& kernels;
  Workers& workers;
  const View* views;  // by tensor
  int64_t images;
  const float* planes;  // the network's input, float [images][3][height][width]
  Size plane_size;
  float* const* scratch;  // of each worker
  float* row_sums;        // of each image: what stages leave for the gates behind them
  int64_t row_sums_stride;
  float* gates;  // of each image
  int64_t gates_stride;
};

// What a step needs beside its tensors, in floats.
struct Needs {
  int64_t scratch = 0;   // for a worker
  int64_t row_sums = 0;  // for an image
  int64_t gates = 0;     // for an image
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const Frame& frame) const = 0;
  // Of the result, where inputs have these sizes; sizes are given by tensor.
  virtual Size result(const std::vector<Size>& sizes) const { return sizes[static_cast<size_t>(inputs[0])]; }
  virtual Needs needs(const Kernels&, const std::vector<Size>&) const { return {}; }
  // Multiply-adds of an image.
  virtual int64_t macs(const std::vector<Size>&) const { return 0; }

  std::string name;         // as the module's in the network
  std::vector<int> inputs;  // tensors
  int output = -1;          // a tensor; one of the inputs where the step works in place
};

}  // namespace frnet::runtime
