// frnet::runtime::Session: how the images of a call are spread over threads.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <stdexcept>

#include "frnet/runtime.h"
#include "runtime/engine.h"
#include "runtime/json.h"

namespace frnet::runtime {

namespace {

constexpr int64_t kGroup = 8;  // images whose late layers run together
// Multiply-adds of an image from which more than one thread is worth the waits between its layers: Mobile-FRNet of half
// the width at 64 pixels, a tenth of a millisecond a thread, is slower on two.
constexpr int64_t kWorthSharing = 20'000'000;

// A square's corners as pixels, halves to even.
std::array<int64_t, 4> whole_corners(const std::array<double, 4>& roi, const Picture& picture) {
  std::array<int64_t, 4> corners;
  for (size_t i = 0; i < 4; ++i) {
    if (!(std::fabs(roi[i]) < 1e9)) throw std::invalid_argument("a square with a corner that is no pixel");
    corners[i] = static_cast<int64_t>(std::nearbyint(roi[i]));
  }
  if (corners[2] <= corners[0] || corners[3] <= corners[1]) throw std::invalid_argument("a square without a pixel");
  if (corners[0] >= picture.width || corners[1] >= picture.height || corners[2] <= 0 || corners[3] <= 0) {
    throw std::invalid_argument("a square that lies outside the picture");
  }
  return corners;
}

// From the crop's frame, which counts from 1 and upwards, to the picture's pixels.
void to_picture(const std::array<double, 4>& roi, int64_t size, int64_t count, float* points) {
  const double across = (roi[2] - roi[0]) / static_cast<double>(size);
  const double down = (roi[3] - roi[1]) / static_cast<double>(size);
  for (int64_t i = 0; i < count; ++i, points += 3) {
    points[0] = static_cast<float>((points[0] - 1.0) * across + roi[0]);
    points[1] = static_cast<float>((static_cast<double>(size) - points[1]) * down + roi[1]);
    points[2] = static_cast<float>((points[2] - 1.0) * (across + down) / 2);
  }
}

// What the checkpoint says of a pixel; frnet's own rule where it says nothing.
PixelScale stated_scale(const Safetensors& file) {
  PixelScale scale;
  if (file.metadata("normalisation").empty()) return scale;
  const Json stated = Json::parse(file.metadata("normalisation"));
  scale.mean = static_cast<float>(stated.at("mean").number());
  scale.scale = static_cast<float>(stated.at("scale").number());
  const std::string& order = stated.at("channel_order").string();
  if (order != "BGR" && order != "RGB")
    throw std::runtime_error("wants channels as " + order + "; known are BGR and RGB");
  if (scale.scale == 0) throw std::runtime_error("wants pixels divided by zero");
  scale.reversed = order == "RGB";
  return scale;
}

}  // namespace

struct Session::Data {
  Safetensors file;  // what of it belongs to no layer
  PixelScale pixel_scale;
  Engine engine;
  int64_t image_macs = 0;

  Data(Safetensors&& bytes, const SessionOptions& options)
      : file(std::move(bytes)),
        pixel_scale(stated_scale(file)),
        engine(plan_network(file, kernels(runtime::instruction_set(options.instruction_set))),
               thread_count(options.num_threads)) {
    file.keep_only_others("model.");
    const std::vector<Size> sizes = tensor_sizes(plan(), input());
    for (const auto& step : plan().steps) image_macs += step->macs(sizes);
  }

  const Plan& plan() const { return engine.plan(); }
  Size input() const { return {plan().input_size, plan().input_size}; }
  int64_t num_params() const { return plan().tensors[static_cast<size_t>(plan().output())].count; }
  int64_t image_floats() const { return 3 * input().pixels(); }

  // Groups of so many images at most, one after the other.
  void run_groups(Workers& workers, int64_t group, const float* crops, int64_t batch, float* params) {
    group = std::min(batch, group);
    std::unique_ptr<Workspace> workspace = engine.take(input(), group, workers.count());
    for (int64_t first = 0; first < batch; first += group) {
      const int64_t images = std::min(group, batch - first);
      workspace->run(crops + first * image_floats(), images, workers);
      workspace->read(plan().output(), images, params + first * num_params());
    }
    engine.put(std::move(workspace));
  }

  // Parts of the batch, each on one thread.
  void run_apart(Workers& workers, const float* crops, int64_t batch, float* params) {
    const int64_t parts = std::max<int64_t>(workers.count(), (batch + kGroup - 1) / kGroup);
    std::vector<std::exception_ptr> failures(static_cast<size_t>(parts));
    workers(parts, [&](int64_t part, int32_t) {
      const int64_t first = batch * part / parts, last = batch * (part + 1) / parts;
      try {
        Workers alone;
        run_groups(alone, kGroup, crops + first * image_floats(), last - first, params + first * num_params());
      } catch (...) {
        failures[static_cast<size_t>(part)] = std::current_exception();
      }
    });
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }

  void run(const float* crops, int64_t batch, float* params) {
    Engine::Call call(engine);
    if (call.workers().count() == 1 || (batch == 1 && image_macs < kWorthSharing)) {
      Workers alone;
      run_groups(alone, kGroup, crops, batch, params);
    } else if (batch < call.workers().count()) {
      run_groups(call.workers(), 1, crops, batch, params);
    } else {
      run_apart(call.workers(), crops, batch, params);
    }
  }
};

Session::Session(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Session Session::open(const std::string& path, const SessionOptions& options) {
  return Session(std::make_unique<Data>(Safetensors::read(path), options));
}

Session Session::load(std::string bytes, const SessionOptions& options) {
  return Session(std::make_unique<Data>(Safetensors(std::move(bytes)), options));
}

int32_t Session::input_size() const { return data_->plan().input_size; }
int32_t Session::num_params() const { return static_cast<int32_t>(data_->num_params()); }
int32_t Session::num_threads() const { return data_->engine.threads(); }
const char* Session::instruction_set() const { return cpu::isa_name(data_->plan().kernels->isa); }
const std::string& Session::metadata(const std::string& name) const { return data_->file.metadata(name); }

std::vector<float> Session::values(const std::string& name) const {
  const auto found = data_->file.tensors().find(name);
  return found == data_->file.tensors().end() ? std::vector<float>{} : data_->file.floats(name, found->second.shape);
}

void Session::run(const float* crops, int64_t batch, float* params) const {
  if (batch > 0) data_->run(crops, batch, params);
}

Alignment Session::align(const Picture& picture, const std::vector<std::array<double, 4>>& rois,
                         const FaceModel& model) const {
  const int64_t count = static_cast<int64_t>(rois.size()), size = input_size(), num_params = data_->num_params();
  if (model.num_params() != num_params) {
    throw std::runtime_error("the face model has " + std::to_string(model.num_params()) + " parameters, the network " +
                             std::to_string(num_params));
  }
  std::vector<float> mean = values("whitening.mean"), deviation = values("whitening.std");
  if (mean.empty() || deviation.empty()) mean = model.param_mean(), deviation = model.param_std();
  if (static_cast<int64_t>(mean.size()) != num_params || mean.size() != deviation.size()) {
    throw std::runtime_error("neither the checkpoint nor the face model says how the parameters are whitened");
  }
  AlignedFloats crops(static_cast<size_t>(count * data_->image_floats()));
  for (int64_t face = 0; face < count; ++face) {
    const std::array<int64_t, 4> corners = whole_corners(rois[static_cast<size_t>(face)], picture);
    crop(picture, corners.data(), size, data_->pixel_scale, crops.data() + face * data_->image_floats());
  }
  Alignment result;
  result.params.resize(static_cast<size_t>(count * num_params));
  run(crops.data(), count, result.params.data());
  for (size_t i = 0; i < result.params.size(); ++i) {
    const size_t of = i % mean.size();
    result.params[i] = result.params[i] * deviation[of] + mean[of];
  }
  const int64_t vertices = model.num_vertices();
  result.vertices.resize(static_cast<size_t>(count * vertices * 3));
  model.decode(result.params.data(), count, result.vertices.data());
  for (int64_t face = 0; face < count; ++face) {
    float* points = result.vertices.data() + face * vertices * 3;
    to_picture(rois[static_cast<size_t>(face)], size, vertices, points);
    float rearmost = 0;
    for (size_t i = 0; i < model.landmarks().size(); ++i) {
      const float depth = points[3 * model.landmarks()[i] + 2];
      if (i == 0 || depth < rearmost) rearmost = depth;
    }
    for (int64_t v = 0; v < vertices; ++v) points[3 * v + 2] -= rearmost;
    for (int64_t v : model.landmarks()) {
      result.landmarks.insert(result.landmarks.end(), points + 3 * v, points + 3 * v + 3);
    }
  }
  return result;
}

std::vector<StepProfile> Session::profile(int64_t batch, int32_t repetitions) const {
  using Clock = std::chrono::steady_clock;
  const std::vector<Size> sizes = tensor_sizes(data_->plan(), data_->input());
  std::vector<StepProfile> steps;
  for (const auto& step : data_->plan().steps) steps.push_back({step->name, batch * step->macs(sizes), 0});
  const std::vector<float> crops(static_cast<size_t>(batch * data_->image_floats()), 0.1f);
  struct Watch {
    Clock::time_point last;
    std::vector<double> seconds;
  };
  Engine::Call call(data_->engine);
  const int64_t group = std::min(batch, kGroup);
  Workspace workspace(data_->plan(), data_->input(), group, call.workers().count());
  for (int32_t repetition = 0; repetition < repetitions; ++repetition) {
    Watch watch{Clock::now(), std::vector<double>(steps.size())};
    const auto observe = [](void* context, size_t step) {
      auto& on = *static_cast<Watch*>(context);
      const Clock::time_point now = Clock::now();
      on.seconds[step] += std::chrono::duration<double>(now - on.last).count();
      on.last = now;
    };
    for (int64_t first = 0; first < batch; first += group) {
      workspace.run(crops.data() + first * data_->image_floats(), std::min(group, batch - first), call.workers(),
                    observe, &watch);
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      if (repetition == 0 || watch.seconds[i] < steps[i].seconds) steps[i].seconds = watch.seconds[i];
    }
  }
  return steps;
}

}  // namespace frnet::runtime
