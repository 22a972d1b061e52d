// Layers of a network in a file, with their normalisations folded in.
#pragma once

#include <string>
#include <vector>

#include "runtime/safetensors.h"

namespace frnet::runtime {

// A dense convolution [out][in][k][k] and its bias [out].
struct Convolution {
  int32_t in = 0, out = 0, kernel = 1;
  std::vector<float> weight, bias;
};

// A depthwise convolution [channels][k][k] and its shift; a second scale and shift stand behind the activation, where
// there is a second normalisation.
struct Depthwise {
  int32_t channels = 0, kernel = 3;
  std::vector<float> weight, shift, out_scale, out_shift;
};

struct SpatialGate {
  int32_t groups = 0;
  std::vector<float> weight, bias;
};

struct ChannelGate {
  int32_t channels = 0, squeezed = 0;
  std::vector<float> w1, b1, w2, b2;  // [squeezed][channels], [squeezed], [channels][squeezed], [channels]
};

// Reads layers by the names of frnet's modules, or of their inference forms. What is missing, or has another shape, is
// a std::runtime_error that names it.
class WeightReader {
 public:
  WeightReader(const Safetensors& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  // A frnet.nn.Conv2dNormAct, its inference form, or a convolution alone, with a bias or without.
  Convolution convolution(const std::string& name, int32_t in, int32_t out, int32_t kernel = 1) const;
  // A convolution and a normalisation that are called otherwise.
  Convolution convolution(const std::string& conv, const std::string& norm, int32_t in, int32_t out,
                          int32_t kernel) const;
  Convolution linear(const std::string& name, int32_t in, int32_t out) const;
  // A frnet.nn.DepthwiseConv2dNormAct or HierarchicalDepthwiseConv2d, or its inference form.
  Depthwise depthwise(const std::string& name, int32_t channels, bool two_norms, int32_t kernel = 3) const;
  Depthwise depthwise(const std::string& conv, const std::string& norm, int32_t channels, int32_t kernel) const;
  SpatialGate spatial_gate(const std::string& name, int32_t groups) const;
  // The gate of a depthwise stage, whose inference form keeps it under names of its own.
  SpatialGate stage_gate(const std::string& name, int32_t groups) const;
  ChannelGate channel_gate(const std::string& name, int32_t channels, int32_t squeezed) const;

  bool has(const std::string& name) const { return file_.tensors().count(prefix_ + name) != 0; }

 private:
  std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape) const {
    return file_.floats(prefix_ + name, shape);
  }
  // Scale and shift that a normalisation comes to.
  void norm(const std::string& name, int32_t channels, std::vector<float>* scale, std::vector<float>* shift) const;

  const Safetensors& file_;
  std::string prefix_;
};

}  // namespace frnet::runtime
