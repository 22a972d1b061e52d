// The memory that one run of a plan works in.
#pragma once

#include <vector>

#include "runtime/aligned.h"
#include "runtime/plan.h"

namespace frnet::runtime {

// Sizes of all tensors of a plan, for an input of this size.
std::vector<Size> tensor_sizes(const Plan& plan, Size input);

class Workspace {
 public:
  // most: images of a group at most; workers: threads that share it.
  Workspace(const Plan& plan, Size input, int64_t most, int32_t workers);

  // Called with each step that was run and how often: of a group of images, those in front of Plan::first_grouped run
  // once for each.
  using Observer = void (*)(void* context, size_t step);

  // planes: float [images][3][height][width].
  void run(const float* planes, int64_t images, Workers& workers, Observer observer = nullptr, void* context = nullptr);
  // What of a tensor that the plan gives out stands there after a run of so many images, [images][channels][pixels].
  void read(int tensor, int64_t images, float* to) const;
  Size size(int tensor) const { return sizes_[static_cast<size_t>(tensor)]; }
  bool suits(Size input, int64_t images, int32_t workers) const {
    return sizes_[0].height == input.height && sizes_[0].width == input.width && most_ >= images &&
           scratch_of_.size() >= static_cast<size_t>(workers);
  }

 private:
  void place_tensors();
  View view(size_t tensor, int64_t images, int64_t image) const;

  const Plan& plan_;
  std::vector<Size> sizes_;
  int64_t most_;
  std::vector<bool> grouped_;     // by tensor: whether it holds a group of images
  std::vector<int64_t> offsets_;  // by tensor, in the arena
  std::vector<View> views_;
  Needs needs_;
  AlignedFloats arena_, row_sums_, gates_, scratch_;
  std::vector<float*> scratch_of_;  // by worker
};

}  // namespace frnet::runtime
