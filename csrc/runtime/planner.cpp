#include <utility>

#include "runtime/plan.h"
#include "runtime/steps/steps.h"

namespace frnet::runtime {

Planner::Planner(const Kernels& kernels) {
  plan_.kernels = &kernels;
  add_tensor(3);
}

int Planner::add_tensor(int32_t channels, int32_t splits) {
  plan_.tensors.push_back({channels, splits, plan_.kernels->lanes});
  return static_cast<int>(plan_.tensors.size()) - 1;
}

int Planner::add_step(std::unique_ptr<Step> step, const std::string& name, std::vector<int> inputs, int output) {
  step->name = name;
  step->inputs = std::move(inputs);
  step->output = output;
  plan_.steps.push_back(std::move(step));
  if (!grouped_) plan_.first_grouped = plan_.steps.size();
  return output;
}

int Planner::stem(const std::string& name, const Convolution& conv, Activation activation) {
  const int out = add_tensor(conv.out);
  return add_step(std::make_unique<StemStep>(conv, plan_.tensors.back(), activation), name, {0}, out);
}

int Planner::pointwise(const std::string& name, const Convolution& conv, const std::vector<int>& in,
                       Activation activation, int residual) {
  std::vector<Channels> channels;
  for (int tensor : in) channels.push_back(plan_.tensors[static_cast<size_t>(tensor)]);
  const int out = add_tensor(conv.out);
  std::vector<int> inputs = in;
  if (residual >= 0) inputs.push_back(residual);
  return add_step(std::make_unique<PointwiseStep>(conv, channels, plan_.tensors.back(), activation, residual >= 0),
                  name, inputs, out);
}

int Planner::stage(const std::string& name, const Convolution* expand, Activation expand_activation,
                   const Depthwise& depthwise, Activation activation, int32_t stride, int in, int32_t splits,
                   bool row_sums) {
  const int out = add_tensor(depthwise.channels, splits);
  const Channels& channels = plan_.tensors[static_cast<size_t>(in)];
  return add_step(std::make_unique<StageStep>(expand, expand_activation, depthwise, activation, stride, channels,
                                              plan_.tensors.back(), row_sums),
                  name, {in}, out);
}

void Planner::gate(const std::string& name, const SpatialGate* spatial, const ChannelGate* channel, int tensor,
                   bool row_sums) {
  if (spatial == nullptr && channel == nullptr) return;
  const Channels& channels = plan_.tensors[static_cast<size_t>(tensor)];
  add_step(std::make_unique<GateStep>(spatial, channel, channels, row_sums), name, {tensor}, tensor);
}

int Planner::subsample(const std::string& name, int in) {
  const Channels channels = plan_.tensors[static_cast<size_t>(in)];
  const int out = add_tensor(channels.count, channels.splits);
  return add_step(std::make_unique<SubsampleStep>(channels), name, {in}, out);
}

void Planner::relu(const std::string& name, int tensor) {
  add_step(std::make_unique<ReluStep>(plan_.tensors[static_cast<size_t>(tensor)]), name, {tensor}, tensor);
}

int Planner::mean(const std::string& name, int in) {
  const Channels channels = plan_.tensors[static_cast<size_t>(in)];
  const int out = add_tensor(channels.count);
  return add_step(std::make_unique<MeanStep>(channels), name, {in}, out);
}

void Planner::begin_groups() { grouped_ = true; }

int Planner::dense(const std::string& name, const Convolution& conv, int in, int32_t stride, Activation activation,
                   int residual) {
  const Channels channels = plan_.tensors[static_cast<size_t>(in)];
  const int out = add_tensor(conv.out);
  std::vector<int> inputs{in};
  if (residual >= 0) inputs.push_back(residual);
  return add_step(std::make_unique<DenseStep>(conv, channels, plan_.tensors.back(), stride, activation, residual >= 0),
                  name, inputs, out);
}

int Planner::depthwise(const std::string& name, const Depthwise& conv, int in, Activation activation) {
  const int out = add_tensor(conv.channels);
  return add_step(std::make_unique<DepthwiseStep>(conv, plan_.tensors.back(), activation), name, {in}, out);
}

void Planner::add_doubled(const std::string& name, int tensor, int coarse) {
  add_step(std::make_unique<AddDoubledStep>(plan_.tensors[static_cast<size_t>(tensor)]), name, {tensor, coarse},
           tensor);
}

Plan Planner::finish(std::vector<int> outputs, int32_t input_size) {
  plan_.outputs = std::move(outputs);
  plan_.input_size = input_size;
  return std::move(plan_);
}

}  // namespace frnet::runtime
