// The face detector's network, layer by layer as frnet.models.face_detector builds it, and a session for it.

#include "frnet/face_detector.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "frnet/crop.h"
#include "runtime/engine.h"
#include "runtime/json.h"
#include "runtime/plan.h"

namespace frnet::runtime {

namespace {

constexpr int32_t kMostChannels = 4096, kMostBlocks = 64;
constexpr int32_t kStrides[] = {8, 16, 32};
constexpr int64_t kOutputs = 7;  // of a cell
constexpr int64_t kLargestSide = 1 << 14;

int32_t count_of(const Json& value, int32_t most) {
  const int64_t count = value.integer();
  if (count < 0 || count > most) throw std::runtime_error("has an impossible number of channels or blocks");
  return static_cast<int32_t>(count);
}

int separable(const WeightReader& weights, Planner& planner, const std::string& name, int x, int32_t kernel,
              int residual) {
  const int32_t channels = planner.channels(x);
  const Depthwise depthwise = weights.depthwise(name + ".0", channels, false, kernel);
  const int inside =
      kernel == 3 ? planner.stage(name + ".0", nullptr, Activation::none, depthwise, Activation::relu, 1, x, 1, false)
                  : planner.depthwise(name + ".0", depthwise, x, Activation::relu);
  return planner.pointwise(name + ".1", weights.convolution(name + ".1", channels, channels), {inside},
                           Activation::relu, residual);
}

}  // namespace

Plan plan_face_detector(const Safetensors& file, const Kernels& kernels) {
  const std::string& architecture = file.metadata("architecture");
  if (architecture != "face_detector") {
    throw std::runtime_error("is " + (architecture.empty() ? "a nameless network" : "a " + architecture));
  }
  const Json config = Json::parse(file.metadata("config"));
  const std::vector<Json>&channels = config.at("channels").array(), &blocks = config.at("blocks").array();
  if (channels.size() != 4 || blocks.size() != 4) throw std::runtime_error("has not four stages");
  const int32_t neck = count_of(config.at("neck"), kMostChannels);
  const WeightReader weights(file, "");
  Planner planner(kernels);
  int x = planner.stem("stem", weights.convolution("stem", 3, count_of(config.at("stem"), kMostChannels), 3),
                       Activation::relu);
  std::vector<int> planes;
  for (size_t stage = 0; stage < 4; ++stage) {
    const std::string name = "stages." + std::to_string(stage) + ".";
    const int32_t wanted = count_of(channels[stage], kMostChannels),
                  convolutions = count_of(blocks[stage], kMostBlocks);
    int32_t number = 0;
    x = planner.dense(name + "0", weights.convolution(name + "0", planner.channels(x), wanted, 3), x, 2,
                      Activation::relu);
    for (number = 1; number < convolutions; ++number) {
      const std::string part = name + std::to_string(number) + ".part";
      x = planner.dense(part, weights.convolution(part, wanted, wanted, 3), x, 1, Activation::relu, x);
    }
    if (stage == 3) {
      const int32_t last = number + count_of(config.at("context"), kMostBlocks);
      for (; number < last; ++number) {
        x = separable(weights, planner, name + std::to_string(number) + ".part", x, 5, x);
      }
    }
    if (stage == 0) continue;
    const std::string lateral = "laterals." + std::to_string(stage - 1);
    planes.push_back(planner.pointwise(lateral, weights.convolution(lateral, wanted, neck), {x}, Activation::relu));
  }
  for (size_t fine : {size_t{1}, size_t{0}}) {
    planner.add_doubled("laterals." + std::to_string(fine) + ".add", planes[fine], planes[fine + 1]);
  }
  std::vector<int> outputs;
  for (size_t plane = 0; plane < planes.size(); ++plane) {
    const std::string name = "heads." + std::to_string(plane) + ".";
    int y = separable(weights, planner, name + "0", planes[plane], 3, -1);
    y = separable(weights, planner, name + "1", y, 3, -1);
    outputs.push_back(
        planner.pointwise(name + "2", weights.convolution(name + "2", neck, kOutputs), {y}, Activation::none));
  }
  return planner.finish(std::move(outputs), 0);
}

struct FaceDetector::Data {
  Engine engine;

  Data(const Safetensors& file, const SessionOptions& options)
      : engine(plan_face_detector(file, kernels(instruction_set(options.instruction_set))),
               thread_count(options.num_threads)) {}
};

FaceDetector::FaceDetector(std::unique_ptr<Data> data) : data_(std::move(data)) {}
FaceDetector::FaceDetector(FaceDetector&&) noexcept = default;
FaceDetector& FaceDetector::operator=(FaceDetector&&) noexcept = default;
FaceDetector::~FaceDetector() = default;

FaceDetector FaceDetector::load(std::string bytes, const SessionOptions& options) {
  return FaceDetector(std::make_unique<Data>(Safetensors(std::move(bytes)), options));
}

int64_t FaceDetector::cells(int64_t height, int64_t width) {
  if (height < 32 || width < 32 || height % 32 || width % 32 || height > kLargestSide || width > kLargestSide) {
    throw std::invalid_argument("both sides of a picture must be multiples of 32, from 32 to " +
                                std::to_string(kLargestSide) + " pixels");
  }
  int64_t cells = 0;
  for (int64_t stride : kStrides) cells += (height / stride) * (width / stride);
  return cells;
}

void FaceDetector::run(const uint8_t* images, int64_t batch, int64_t height, int64_t width, float* rows) const {
  const int64_t per_image = cells(height, width), pixels = height * width;
  const Size size{static_cast<int32_t>(height), static_cast<int32_t>(width)};
  Engine& engine = data_->engine;
  Engine::Call call(engine);
  std::unique_ptr<Workspace> workspace = engine.take(size, 1, call.workers().count());
  AlignedFloats planes(static_cast<size_t>(3 * pixels)), plane(static_cast<size_t>(kOutputs * per_image));
  for (int64_t image = 0; image < batch; ++image) {
    const uint8_t* from = images + image * 3 * pixels;
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t c = 0; c < 3; ++c)
        planes.data()[c * pixels + p] = (static_cast<float>(from[3 * p + c]) - 127.5f) / 128;
    }
    workspace->run(planes.data(), 1, call.workers());
    for (size_t number = 0; number < engine.plan().outputs.size(); ++number) {
      const int tensor = engine.plan().outputs[number];
      const auto stride = static_cast<float>(kStrides[number]);
      const Size cells = workspace->size(tensor);
      workspace->read(tensor, 1, plane.data());
      for (int64_t i = 0; i < cells.pixels(); ++i, rows += kOutputs) {
        const auto value = [&](int64_t output) { return plane.data()[output * cells.pixels() + i]; };
        rows[0] = stride * (static_cast<float>(i % cells.width) + value(1));
        rows[1] = stride * (static_cast<float>(i / cells.width) + value(2));
        rows[2] = 4 * stride * std::exp(std::clamp(value(3), -6.0f, 6.0f));
        rows[3] = 4 * stride * std::exp(std::clamp(value(4), -6.0f, 6.0f));
        rows[4] = value(5);
        rows[5] = value(6);
        rows[6] = 1 / (1 + std::exp(-value(0)));
      }
    }
  }
  engine.put(std::move(workspace));
}

}  // namespace frnet::runtime
