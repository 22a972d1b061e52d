#include "runtime/weights.h"

#include <cmath>

namespace frnet::runtime {

namespace {

constexpr double kEpsilon = 1e-5;  // torch's default, which every network of ours has

// Multiplies each output channel's weights.
void scale_rows(const std::vector<float>& scale, std::vector<float>* weight) {
  const size_t row = weight->size() / scale.size();
  for (size_t i = 0; i < weight->size(); ++i) (*weight)[i] *= scale[i / row];
}

}  // namespace

void WeightReader::norm(const std::string& name, int32_t channels, std::vector<float>* scale,
                        std::vector<float>* shift) const {
  const std::vector<int64_t> shape{channels};
  const std::vector<float> weight = read(name + ".weight", shape), bias = read(name + ".bias", shape);
  const std::vector<float> mean = read(name + ".running_mean", shape), variance = read(name + ".running_var", shape);
  for (size_t c = 0; c < weight.size(); ++c) {
    const double factor = weight[c] / std::sqrt(variance[c] + kEpsilon);
    scale->push_back(static_cast<float>(factor));
    shift->push_back(static_cast<float>(bias[c] - mean[c] * factor));
  }
}

Convolution WeightReader::convolution(const std::string& name, int32_t in, int32_t out, int32_t kernel) const {
  if (has(name + ".conv.weight")) return convolution(name + ".conv", name + ".norm", in, out, kernel);
  Convolution conv{in, out, kernel, read(name + ".weight", {out, in, kernel, kernel}), {}};
  conv.bias = has(name + ".bias") ? read(name + ".bias", {out}) : std::vector<float>(static_cast<size_t>(out));
  return conv;
}

Convolution WeightReader::convolution(const std::string& conv, const std::string& norm, int32_t in, int32_t out,
                                      int32_t kernel) const {
  Convolution folded{in, out, kernel, read(conv + ".weight", {out, in, kernel, kernel}), {}};
  std::vector<float> scale;
  this->norm(norm, out, &scale, &folded.bias);
  scale_rows(scale, &folded.weight);
  return folded;
}

Convolution WeightReader::linear(const std::string& name, int32_t in, int32_t out) const {
  Convolution layer{in, out, 1, read(name + ".weight", {out, in}), {}};
  layer.bias = has(name + ".bias") ? read(name + ".bias", {out}) : std::vector<float>(static_cast<size_t>(out));
  return layer;
}

Depthwise WeightReader::depthwise(const std::string& name, int32_t channels, bool two_norms, int32_t kernel) const {
  Depthwise stage;
  if (has(name + ".conv.weight")) {
    stage = depthwise(name + ".conv", name + ".norm", channels, kernel);
    if (two_norms) norm(name + ".out_norm", channels, &stage.out_scale, &stage.out_shift);
    return stage;
  }
  stage = {channels, kernel, read(name + ".weight", {channels, 1, kernel, kernel}), {}, {}, {}};
  scale_rows(read(name + ".scale", {channels}), &stage.weight);
  stage.shift = read(name + ".shift", {channels});
  if (two_norms) {
    stage.out_scale = read(name + ".out_scale", {channels});
    stage.out_shift = read(name + ".out_shift", {channels});
  }
  return stage;
}

Depthwise WeightReader::depthwise(const std::string& conv, const std::string& norm, int32_t channels,
                                  int32_t kernel) const {
  Depthwise stage{channels, kernel, read(conv + ".weight", {channels, 1, kernel, kernel}), {}, {}, {}};
  std::vector<float> scale;
  this->norm(norm, channels, &scale, &stage.shift);
  scale_rows(scale, &stage.weight);
  return stage;
}

SpatialGate WeightReader::spatial_gate(const std::string& name, int32_t groups) const {
  const std::vector<int64_t> shape{1, groups, 1, 1};
  return {groups, read(name + ".weight", shape), read(name + ".bias", shape)};
}

SpatialGate WeightReader::stage_gate(const std::string& name, int32_t groups) const {
  if (has(name + ".gate.weight")) return spatial_gate(name + ".gate", groups);
  return {groups, read(name + ".sge_weight", {groups}), read(name + ".sge_bias", {groups})};
}

ChannelGate WeightReader::channel_gate(const std::string& name, int32_t channels, int32_t squeezed) const {
  const bool linear = has(name + ".fc.0.weight");
  const std::string first = name + (linear ? ".fc.0" : ".conv_reduce");
  const std::string second = name + (linear ? ".fc.2" : ".conv_expand");
  const auto shape = [&](int32_t out, int32_t in) {
    return linear ? std::vector<int64_t>{out, in} : std::vector<int64_t>{out, in, 1, 1};
  };
  ChannelGate gate{channels,
                   squeezed,
                   read(first + ".weight", shape(squeezed, channels)),
                   {},
                   read(second + ".weight", shape(channels, squeezed)),
                   {}};
  const auto bias = [&](const std::string& layer, int32_t count) {
    return has(layer + ".bias") ? read(layer + ".bias", {count}) : std::vector<float>(static_cast<size_t>(count));
  };
  gate.b1 = bias(first, squeezed);
  gate.b2 = bias(second, channels);
  return gate;
}

}  // namespace frnet::runtime
