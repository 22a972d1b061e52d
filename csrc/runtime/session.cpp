// frnet::runtime::Session: which threads and which memory a call gets.

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "frnet/runtime.h"
#include "runtime/plan.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace frnet::runtime {

namespace {

constexpr int64_t kGroup = 8;  // images whose late layers run together
constexpr int32_t kMostThreads = 256;

int32_t usable_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

cpu::Isa wanted_isa(const std::string& name) {
  if (name.empty()) return cpu::active_isa();
  for (cpu::Isa isa : {cpu::Isa::baseline, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (name == cpu::isa_name(isa)) return isa;
  }
  throw std::invalid_argument("unknown instruction set " + name + ": wanted baseline, avx2 or avx512");
}

// Workspaces that no call is using.
class Store {
 public:
  std::unique_ptr<Workspace> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return nullptr;
    std::unique_ptr<Workspace> workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }
  void put(std::unique_ptr<Workspace> workspace, size_t most) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.size() < most) free_.push_back(std::move(workspace));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
};

// What threads share, and what does not outlive a fork: the child has none of the threads, and locks may be held.
struct Shared {
  explicit Shared(int32_t threads) : pool(threads) {}

  const pid_t process = getpid();
  ThreadPool pool;
  std::mutex pool_mutex;  // held by the call that has the pool
  Store single, grouped;
};

}  // namespace

struct Session::Data {
  Safetensors file;  // what of it belongs to no layer
  Plan plan;
  int32_t threads;
  std::mutex mutex;
  Shared* shared = nullptr;

  Data(Safetensors&& bytes, const SessionOptions& options)
      : file(std::move(bytes)), plan(plan_network(file, kernels(wanted_isa(options.instruction_set)))) {
    if (options.num_threads < 0 || options.num_threads > kMostThreads) {
      throw std::invalid_argument("num_threads must lie between 1 and " + std::to_string(kMostThreads));
    }
    threads = options.num_threads == 0 ? usable_threads() : options.num_threads;
    file.keep_only_others("model.");
  }
  ~Data() {
    if (shared != nullptr && shared->process == getpid()) delete shared;
  }

  Size input() const { return {plan.input_size, plan.input_size}; }
  int64_t num_params() const { return plan.tensors[static_cast<size_t>(plan.output)].count; }
  int64_t image_floats() const { return 3 * input().pixels(); }

  // (After a fork the parent's is left alone: its threads are not here to be joined.)
  Shared& of_process() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (shared == nullptr || shared->process != getpid()) shared = new Shared(threads);
    return *shared;
  }

  // Images one group after the other on one thread, in memory that is taken and given back.
  void run_serial(Shared& from, const float* crops, int64_t batch, float* params) {
    const int64_t group = std::min(batch, kGroup);
    Store& store = group == 1 ? from.single : from.grouped;
    std::unique_ptr<Workspace> workspace = store.take();
    if (!workspace) {
      workspace = std::make_unique<Workspace>(plan, input(), group == 1 ? 1 : kGroup, group == 1 ? threads : 1);
    }
    Workers alone;
    for (int64_t first = 0; first < batch; first += group) {
      workspace->run(crops + first * image_floats(), std::min(group, batch - first), alone,
                     params + first * num_params());
    }
    store.put(std::move(workspace), static_cast<size_t>(threads));
  }

  // One image after the other, each on all threads.
  void run_together(Shared& from, const float* crops, int64_t batch, float* params, Workspace::Observer observer,
                    void* context) {
    std::unique_ptr<Workspace> workspace = from.single.take();
    if (!workspace) workspace = std::make_unique<Workspace>(plan, input(), 1, threads);
    for (int64_t image = 0; image < batch; ++image) {
      workspace->run(crops + image * image_floats(), 1, from.pool, params + image * num_params(), observer, context);
    }
    from.single.put(std::move(workspace), static_cast<size_t>(threads));
  }

  // Groups of images, each on one thread.
  void run_apart(Shared& from, const float* crops, int64_t batch, float* params) {
    const int64_t parts = std::max<int64_t>(threads, (batch + kGroup - 1) / kGroup);
    std::vector<std::exception_ptr> failures(static_cast<size_t>(parts));
    from.pool(parts, [&](int64_t part, int32_t) {
      const int64_t first = batch * part / parts, last = batch * (part + 1) / parts;
      try {
        if (first < last) run_serial(from, crops + first * image_floats(), last - first, params + first * num_params());
      } catch (...) {
        failures[static_cast<size_t>(part)] = std::current_exception();
      }
    });
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }

  void run(const float* crops, int64_t batch, float* params) {
    Shared& from = of_process();
    std::unique_lock<std::mutex> pool(from.pool_mutex, std::try_to_lock);
    if (threads == 1 || !pool.owns_lock()) {
      run_serial(from, crops, batch, params);
    } else if (batch < threads) {
      run_together(from, crops, batch, params, nullptr, nullptr);
    } else {
      run_apart(from, crops, batch, params);
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

int32_t Session::input_size() const { return data_->plan.input_size; }
int32_t Session::num_params() const { return static_cast<int32_t>(data_->num_params()); }
int32_t Session::num_threads() const { return data_->threads; }
const char* Session::instruction_set() const { return cpu::isa_name(data_->plan.kernels->isa); }
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
  const std::vector<Size> sizes = tensor_sizes(data_->plan, data_->input());
  std::vector<StepProfile> steps;
  for (const auto& step : data_->plan.steps) steps.push_back({step->name, batch * step->macs(sizes), 0});
  const std::vector<float> crops(static_cast<size_t>(batch * data_->image_floats()), 0.1f);
  std::vector<float> params(static_cast<size_t>(batch * data_->num_params()));
  struct Watch {
    Clock::time_point last;
    std::vector<double> seconds;
  };
  Shared& from = data_->of_process();
  const std::lock_guard<std::mutex> pool(from.pool_mutex);
  Workspace workspace(data_->plan, data_->input(), batch == 1 ? 1 : kGroup, data_->threads);
  for (int32_t repetition = 0; repetition < repetitions; ++repetition) {
    Watch watch{Clock::now(), std::vector<double>(steps.size())};
    const auto observe = [](void* context, size_t step) {
      auto& on = *static_cast<Watch*>(context);
      const Clock::time_point now = Clock::now();
      on.seconds[step] += std::chrono::duration<double>(now - on.last).count();
      on.last = now;
    };
    for (int64_t first = 0; first < batch; first += kGroup) {
      workspace.run(crops.data() + first * data_->image_floats(), std::min(kGroup, batch - first), from.pool,
                    params.data() + first * data_->num_params(), observe, &watch);
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      if (repetition == 0 || watch.seconds[i] < steps[i].seconds) steps[i].seconds = watch.seconds[i];
    }
  }
  return steps;
}

}  // namespace frnet::runtime
