// The networks that the runtime knows, layer by layer as frnet.models builds them.

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "runtime/json.h"
#include "runtime/plan.h"

namespace frnet::runtime {

namespace {

constexpr int32_t kMostChannels = 1 << 14;
constexpr int32_t kLargestInput = 1024;  // pixels a side
constexpr int32_t kGroupedPlane = 8;     // pixels a side, from which a group of images runs together
constexpr int32_t kSmallestGatedInput = 33;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

int32_t count_of(const Json& config, const std::string& name, int32_t least, int32_t most) {
  const int64_t value = config.at(name).integer();
  if (value < least || value > most) fail("has the impossible " + name + " " + std::to_string(value));
  return static_cast<int32_t>(value);
}

double width_of(const Json& config) {
  const double width = config.at("width").number();
  if (!(width > 0 && width <= 8)) fail("has the impossible width " + std::to_string(width));
  return width;
}

// Sandler et al., MobileNetV2, 2018, table 2.
struct LayerSpec {
  int32_t expansion, channels, blocks, stride;
};
constexpr std::array<LayerSpec, 7> kLayers = {
    {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}};
constexpr int32_t kStemChannels = 32, kHeadChannels = 1280;

// A channel count under a width multiplier: frnet.models.mobile_network.scaled.
int32_t scaled(int32_t channels, double width) {
  const int32_t rounded = std::max(8, static_cast<int32_t>(channels * width + 4) / 8 * 8);
  return rounded >= 0.9 * channels * width ? rounded : rounded + 8;
}

// Follows the side of the planes, to know where groups of images begin.
class Side {
 public:
  Side(Planner& planner, int32_t input) : planner_(planner), side_(input) {}
  void stride(int32_t stride) {
    side_ = (side_ + stride - 1) / stride;
    if (side_ <= kGroupedPlane) planner_.begin_groups();
  }

 private:
  Planner& planner_;
  int32_t side_;
};

std::string block_name(size_t layer, int32_t block) {
  return "layers." + std::to_string(layer) + "." + std::to_string(block);
}

struct MobileSettings {
  int32_t num_params, input_size, splits, sge_groups, se_reduction;
  double width;
  bool expanded_gates, output_gates, last_gate;
};

int mobile_stem(const WeightReader& weights, Planner& planner, const MobileSettings& settings) {
  const int32_t channels = scaled(kStemChannels, settings.width);
  return planner.stem("stem", weights.convolution("stem", 3, channels, 3), Activation::relu6);
}

Plan mobile_head(const WeightReader& weights, Planner& planner, const MobileSettings& settings, int x,
                 Activation activation) {
  const int32_t head = std::max(kHeadChannels, scaled(kHeadChannels, settings.width));
  x = planner.pointwise("head", weights.convolution("head", planner.channels(x), head), {x}, activation);
  x = planner.mean("mean", x);
  x = planner.pointwise("fc", weights.linear("fc", head, settings.num_params), {x}, Activation::none);
  return planner.finish({x}, settings.input_size);
}

int mobile_block(const WeightReader& weights, Planner& planner, const std::string& name, int x, int32_t expansion,
                 int32_t wanted, int32_t stride, const MobileSettings& settings, bool channel_gate) {
  const int32_t in = planner.channels(x), channels = expansion * in;
  const Convolution expand = weights.convolution(name + ".expand", in, channels);
  const bool multi_scale = settings.splits > 1;
  const Depthwise depthwise = weights.depthwise(name + ".depthwise", channels, multi_scale);
  const bool gated = settings.sge_groups > 0;
  const int32_t splits = stride == 1 ? settings.splits : 1;  // with another stride nothing is chained
  const int inside = planner.stage(name + ".depthwise", &expand, Activation::relu6, depthwise, Activation::relu6,
                                   stride, x, splits, gated);
  SpatialGate spatial;
  ChannelGate channel;
  if (gated) spatial = weights.stage_gate(name + ".depthwise", settings.sge_groups);
  if (channel_gate) {
    channel = weights.channel_gate(name + ".se", channels, std::max(1, channels / settings.se_reduction));
  }
  planner.gate(name + ".gates", gated ? &spatial : nullptr, channel_gate ? &channel : nullptr, inside, gated);
  Convolution project = weights.convolution(name + ".project", channels, wanted);
  if (stride == 1 && in == wanted) return planner.pointwise(name + ".project", project, {inside}, Activation::none, x);
  // The shortcut's convolution is part of the projection: its channels stand behind those of the stage.
  const Convolution shortcut = weights.convolution(name + ".shortcut", in, wanted);
  const int beside = stride == 1 ? x : planner.subsample(name + ".shortcut", x);
  Convolution both{channels + in, wanted, 1, {}, project.bias};
  for (int32_t out = 0; out < wanted; ++out) {
    const auto row = [&](const Convolution& conv) { return conv.weight.begin() + int64_t{out} * conv.in; };
    both.weight.insert(both.weight.end(), row(project), row(project) + project.in);
    both.weight.insert(both.weight.end(), row(shortcut), row(shortcut) + shortcut.in);
    both.bias[static_cast<size_t>(out)] += shortcut.bias[static_cast<size_t>(out)];
  }
  return planner.pointwise(name + ".project", both, {inside, beside}, Activation::none);
}

Plan mobile_network(const WeightReader& weights, Planner& planner, const MobileSettings& settings) {
  Side side(planner, settings.input_size);
  side.stride(2);
  int x = mobile_stem(weights, planner, settings);
  for (size_t number = 0; number < kLayers.size(); ++number) {
    const LayerSpec& layer = kLayers[number];
    const int32_t wanted = scaled(layer.channels, settings.width);
    for (int32_t block = 0; block < layer.blocks; ++block) {
      const int32_t stride = block == 0 ? layer.stride : 1;
      side.stride(stride);
      x = mobile_block(weights, planner, block_name(number, block), x, layer.expansion, wanted, stride, settings,
                       settings.expanded_gates && block == 0 && number > 0);
    }
    if (settings.output_gates || (settings.last_gate && number + 1 == kLayers.size())) {
      const std::string name = block_name(number, layer.blocks);
      const ChannelGate gate = weights.channel_gate(name, wanted, std::max(1, wanted / settings.se_reduction));
      planner.gate(name, nullptr, &gate, x, false);
    }
  }
  return mobile_head(weights, planner, settings, x, Activation::relu6);
}

MobileSettings common_settings(const Json& config, int32_t least_input) {
  MobileSettings settings{};
  settings.num_params = count_of(config, "num_params", 1, kMostChannels);
  settings.input_size = count_of(config, "input_size", least_input, kLargestInput);
  settings.width = width_of(config);
  settings.splits = 1;
  return settings;
}

Plan mobile_frnet(const WeightReader& weights, Planner& planner, const Json& config) {
  const bool attention = config.at("attention").boolean();
  MobileSettings settings = common_settings(config, attention ? kSmallestGatedInput : 1);
  settings.splits = count_of(config, "splits", 1, kMostChannels);
  int32_t channels = scaled(kStemChannels, settings.width);
  const int32_t groups = count_of(config, "sge_groups", 1, kMostChannels);
  for (const LayerSpec& layer : kLayers) {
    for (int32_t block = 0; block < layer.blocks; ++block) {
      const int32_t expanded = layer.expansion * channels;
      if (expanded % settings.splits || (attention && expanded % groups)) {
        fail("has splits or groups that do not divide the channels");
      }
      channels = scaled(layer.channels, settings.width);
    }
  }
  if (attention) {
    settings.sge_groups = groups;
    settings.se_reduction = count_of(config, "se_reduction", 1, kMostChannels);
    const std::string& position = config.at("se_position").string();
    if (position != "expanded" && position != "output") fail("has the unknown se_position " + position);
    settings.expanded_gates = settings.last_gate = position == "expanded";
    settings.output_gates = position == "output";
  }
  return mobile_network(weights, planner, settings);
}

Plan mobilenet_v1(const WeightReader& weights, Planner& planner, const Json& config) {
  struct Stage {
    const char* name;
    int32_t channels, stride;
  };
  static constexpr std::array<Stage, 13> kStages = {{{"dw2_1", 64, 1},
                                                     {"dw2_2", 128, 2},
                                                     {"dw3_1", 128, 1},
                                                     {"dw3_2", 256, 2},
                                                     {"dw4_1", 256, 1},
                                                     {"dw4_2", 512, 2},
                                                     {"dw5_1", 512, 1},
                                                     {"dw5_2", 512, 1},
                                                     {"dw5_3", 512, 1},
                                                     {"dw5_4", 512, 1},
                                                     {"dw5_5", 512, 1},
                                                     {"dw5_6", 1024, 2},
                                                     {"dw6", 1024, 1}}};
  const int32_t num_params = count_of(config, "num_params", 1, kMostChannels);
  const int32_t input_size = count_of(config, "input_size", 1, kLargestInput);
  const double width = width_of(config);
  const auto at_width = [&](int32_t channels) {
    const auto count = static_cast<int32_t>(channels * width);
    if (count < 1) fail("has too small a width");
    return count;
  };
  Side side(planner, input_size);
  side.stride(2);
  const int32_t first = at_width(32);
  int x = planner.stem("conv1",
                       weights.has("bn1.weight") ? weights.convolution("conv1", "bn1", 3, first, 3)
                                                 : weights.convolution("conv1", 3, first, 3),
                       Activation::relu);
  for (const Stage& stage : kStages) {
    const std::string name = stage.name;
    const int32_t in = planner.channels(x), out = at_width(stage.channels);
    side.stride(stage.stride);
    const bool fused = !weights.has(name + ".conv_dw.weight");
    const Depthwise depthwise = fused ? weights.depthwise(name + ".0", in, false)
                                      : weights.depthwise(name + ".conv_dw", name + ".bn_dw", in, 3);
    const Convolution separable = fused ? weights.convolution(name + ".1", in, out)
                                        : weights.convolution(name + ".conv_sep", name + ".bn_sep", in, out, 1);
    const int inside = planner.stage(name + ".conv_dw", nullptr, Activation::none, depthwise, Activation::relu,
                                     stage.stride, x, 1, false);
    x = planner.pointwise(name + ".conv_sep", separable, {inside}, Activation::relu);
  }
  x = planner.mean("mean", x);
  x = planner.pointwise("fc", weights.linear("fc", planner.channels(x), num_params), {x}, Activation::none);
  return planner.finish({x}, input_size);
}

Plan damdnet(const WeightReader& weights, Planner& planner, const Json& config) {
  const MobileSettings settings = common_settings(config, kSmallestGatedInput);
  const int32_t reduction = count_of(config, "se_reduction", 1, kMostChannels);
  Side side(planner, settings.input_size);
  side.stride(2);
  int x = mobile_stem(weights, planner, settings);
  for (size_t number = 0; number < kLayers.size(); ++number) {
    const LayerSpec& layer = kLayers[number];
    const int32_t wanted = scaled(layer.channels, settings.width);
    for (int32_t block = 0; block < layer.blocks; ++block) {
      const std::string name = block_name(number, block);
      const int32_t stride = block == 0 ? layer.stride : 1, in = planner.channels(x), channels = layer.expansion * in;
      side.stride(stride);
      const Convolution expand = weights.convolution(name + ".expand", in, channels);
      const int inside = planner.stage(name + ".depthwise", &expand, Activation::relu6,
                                       weights.depthwise(name + ".depthwise", channels, false), Activation::relu6,
                                       stride, x, 1, false);
      const int y = planner.pointwise(name + ".project", weights.convolution(name + ".project", channels, wanted),
                                      {inside}, Activation::none);
      const SpatialGate gate = weights.spatial_gate(name + ".sge", wanted / 2);
      planner.gate(name + ".sge", &gate, nullptr, y, false);
      planner.relu(name + ".relu", y);
      int beside = x;
      if (block == 0) {
        const int seen = stride == 1 ? x : planner.subsample(name + ".shortcut", x);
        beside = planner.pointwise(name + ".shortcut", weights.convolution(name + ".shortcut", in, in), {seen},
                                   Activation::relu);
      } else {
        planner.relu(name + ".relu", beside);
      }
      x = planner.pointwise(name + ".transition", weights.convolution(name + ".transition", wanted + in, wanted),
                            {y, beside}, Activation::none);
    }
    const std::string name = block_name(number, layer.blocks);
    const ChannelGate gate = weights.channel_gate(name, wanted, std::max(1, wanted / reduction));
    planner.gate(name, nullptr, &gate, x, false);
  }
  return mobile_head(weights, planner, settings, x, Activation::none);
}

}  // namespace

Plan plan_network(const Safetensors& file, const Kernels& kernels) {
  const std::string& architecture = file.metadata("architecture");
  if (file.metadata("format") != "frnet-checkpoint-1") fail("is no checkpoint of frnet");
  const Json config = Json::parse(file.metadata("config"));
  const WeightReader weights(file, "model.");
  Planner planner(kernels);
  if (architecture == "mobile_frnet") return mobile_frnet(weights, planner, config);
  if (architecture == "mobilenet_v2") return mobile_network(weights, planner, common_settings(config, 1));
  if (architecture == "mobilenet_v1") return mobilenet_v1(weights, planner, config);
  if (architecture == "damdnet") return damdnet(weights, planner, config);
  fail("is a " + (architecture.empty() ? "nameless network" : architecture) +
       "; the runtime knows mobile_frnet, mobilenet_v1, mobilenet_v2 and damdnet");
}

}  // namespace frnet::runtime
