// frnet::runtime::Session: how the images of a call are spread over threads.

#include <algorithm>
#include <chrono>
#include <exception>

#include "frnet/runtime.h"
#include "runtime/engine.h"

namespace frnet::runtime {

namespace {

constexpr int64_t kGroup = 8;  // images whose late layers run together

}  // namespace

struct Session::Data {
  Safetensors file;  // what of it belongs to no layer
  Engine engine;

  Data(Safetensors&& bytes, const SessionOptions& options)
      : file(std::move(bytes)),
        engine(plan_network(file, kernels(runtime::instruction_set(options.instruction_set))),
               thread_count(options.num_threads)) {
    file.keep_only_others("model.");
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
    if (call.workers().count() == 1) {
      run_groups(call.workers(), kGroup, crops, batch, params);
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
