#include "runtime/engine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace frnet::runtime {

namespace {

constexpr int32_t kMostThreads = 256;

}  // namespace

cpu::Isa instruction_set(const std::string& name) {
  if (name.empty()) return cpu::active_isa();
  for (cpu::Isa isa : {cpu::Isa::baseline, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (name == cpu::isa_name(isa)) return isa;
  }
  throw std::invalid_argument("unknown instruction set " + name + ": wanted baseline, avx2 or avx512");
}

int32_t thread_count(int32_t wanted) {
  if (wanted < 0 || wanted > kMostThreads) {
    throw std::invalid_argument("num_threads must lie between 1 and " + std::to_string(kMostThreads) + ", got " +
                                std::to_string(wanted));
  }
  if (wanted > 0) return wanted;
  cpu_set_t set;
  const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  const int32_t usable = known ? CPU_COUNT(&set) : static_cast<int32_t>(std::thread::hardware_concurrency());
  return std::clamp(usable, 1, kMostThreads);
}

std::unique_ptr<Workspace> WorkspaceStore::take(Size size, int64_t images, int32_t workers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& held : free_) {
    if (!held->suits(size, images, workers)) continue;
    std::unique_ptr<Workspace> workspace = std::move(held);
    std::swap(held, free_.back());
    free_.pop_back();
    return workspace;
  }
  return nullptr;
}

void WorkspaceStore::put(std::unique_ptr<Workspace> workspace, size_t most) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.size() >= most) free_.erase(free_.begin());  // the one that has not been used for longest
  free_.push_back(std::move(workspace));
}

// What does not outlive a fork: the child has none of the threads, and locks may be held.
struct Engine::Shared {
  explicit Shared(int32_t threads) : pool(threads) {}

  const pid_t process = getpid();
  ThreadPool pool;
  std::mutex pool_mutex;  // held by the call that has the pool
  WorkspaceStore store;
};

Engine::~Engine() {
  if (shared_ != nullptr && shared_->process == getpid()) delete shared_;
}

// (After a fork the parent's is left alone: its threads are not here to be joined.)
Engine::Shared& Engine::of_process() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (shared_ == nullptr || shared_->process != getpid()) shared_ = new Shared(threads_);
  return *shared_;
}

Engine::Call::Call(Engine& engine)
    : pool_(engine.of_process().pool), pool_lock_(engine.of_process().pool_mutex, std::try_to_lock) {}

std::unique_ptr<Workspace> Engine::take(Size size, int64_t images, int32_t workers) {
  std::unique_ptr<Workspace> workspace = of_process().store.take(size, images, workers);
  return workspace ? std::move(workspace) : std::make_unique<Workspace>(plan_, size, images, workers);
}

void Engine::put(std::unique_ptr<Workspace> workspace) {
  of_process().store.put(std::move(workspace), static_cast<size_t>(threads_) + 1);
}

}  // namespace frnet::runtime
