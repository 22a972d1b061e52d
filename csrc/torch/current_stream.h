// The caller's CUDA device and stream.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>

namespace frnet::binding {

// Makes x's device current while it lives and gives the stream that torch would launch on there.
class CurrentStream {
 public:
  explicit CurrentStream(const torch::stable::Tensor& x);

  void* get() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_;
};

}  // namespace frnet::binding
