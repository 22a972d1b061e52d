// A network as a list of steps over tensors, with its weights packed for one instruction set.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/safetensors.h"
#include "runtime/step.h"
#include "runtime/weights.h"

namespace frnet::runtime {

struct Plan {
  const Kernels* kernels = nullptr;
  std::vector<Channels> tensors;  // tensor 0 is the network's input, which is no tensor of blocks
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<int> outputs;  // tensors without splits that stay until the end
  // Steps in front of this one run image by image, so that their planes stay in the cache; the others, whose weights
  // are large and planes small, for a group of images.
  size_t first_grouped = 0;
  int32_t input_size = 0;  // 0: any

  int output() const { return outputs.front(); }
};

// Puts a plan together; a method for each kind of layer. Tensors are named by number.
class Planner {
 public:
  explicit Planner(const Kernels& kernels);

  int stem(const std::string& name, const Convolution& conv, Activation activation);
  // residual: a tensor that is added to the result, or -1.
  int pointwise(const std::string& name, const Convolution& conv, const std::vector<int>& in, Activation activation,
                int residual = -1);
  // splits: that are chained. Gates behind it come with gate().
  int stage(const std::string& name, const Convolution* expand, Activation expand_activation,
            const Depthwise& depthwise, Activation activation, int32_t stride, int in, int32_t splits, bool row_sums);
  void gate(const std::string& name, const SpatialGate* spatial, const ChannelGate* channel, int tensor, bool row_sums);
  int subsample(const std::string& name, int in);
  // 3x3, on one tensor.
  int dense(const std::string& name, const Convolution& conv, int in, int32_t stride, Activation activation,
            int residual = -1);
  // Of any odd size, with stride 1.
  int depthwise(const std::string& name, const Depthwise& conv, int in, Activation activation);
  // Adds a plane of half the size, each pixel four times.
  void add_doubled(const std::string& name, int tensor, int coarse);
  void relu(const std::string& name, int tensor);
  int mean(const std::string& name, int in);
  // From here on, steps run for a group of images.
  void begin_groups();

  int32_t channels(int tensor) const { return plan_.tensors[static_cast<size_t>(tensor)].count; }
  Plan finish(std::vector<int> outputs, int32_t input_size);

 private:
  int add_tensor(int32_t channels, int32_t splits = 1);
  int add_step(std::unique_ptr<Step> step, const std::string& name, std::vector<int> inputs, int output);

  Plan plan_;
  bool grouped_ = false;
};

// The plan of a checkpoint of frnet, by the architecture and the config that it states. Throws std::runtime_error where
// it is no network that the runtime knows, or lacks weights.
Plan plan_network(const Safetensors& file, const Kernels& kernels);

// The plan of the face detector's network, for pictures whose sides are multiples of 32. Its outputs are the planes of
// FaceDetectorNet, finest first.
Plan plan_face_detector(const Safetensors& file, const Kernels& kernels);

}  // namespace frnet::runtime
