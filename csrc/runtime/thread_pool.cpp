#include "runtime/thread_pool.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace frnet::runtime {

namespace {

constexpr int kTaskBits = 32;
constexpr uint64_t kNumber = (uint64_t{1} << kTaskBits) - 1;
constexpr std::chrono::microseconds kSpin{40};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Whether the condition came true within the time that is worth spinning for.
template <typename F>
bool spin_until(const F& condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (condition()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

bool has_task(uint64_t ticket) { return (ticket & kNumber) < ticket >> kTaskBits; }

}  // namespace

ThreadPool::ThreadPool(int32_t threads) {
  try {
    for (int32_t worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
  } catch (...) {
    stop();  // a thread that is not joined would end the process
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::work(int32_t worker) {
  bool any = false;
  while (has_task(ticket_.load())) {
    const uint64_t ticket = ticket_.fetch_add(1);
    if (!has_task(ticket)) break;
    any = true;
    const int64_t tasks = static_cast<int64_t>(ticket >> kTaskBits);
    body_(context_, static_cast<int64_t>(ticket & kNumber), worker);
    if (done_.fetch_add(1) + 1 == tasks && caller_sleeps_) {
      const std::lock_guard<std::mutex> lock(mutex_);
      finished_.notify_one();
    }
  }
  return any;
}

void ThreadPool::serve(int32_t worker) {
  const auto called = [this] { return stop_ || has_task(ticket_.load()); };
  while (!stop_) {
    if (work(worker) || spin_until(called)) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    wake_.wait(lock, called);
    --sleepers_;
  }
}

void ThreadPool::run(int64_t tasks, Body body, void* context) {
  if (tasks <= 1 || threads_.empty()) return Workers::run(tasks, body, context);
  body_ = body;
  context_ = context;
  tasks_ = tasks;
  done_ = 0;
  ticket_ = static_cast<uint64_t>(tasks) << kTaskBits;
  if (sleepers_ > 0) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }
  work(0);
  if (done() || spin_until([this] { return done(); })) return;
  std::unique_lock<std::mutex> lock(mutex_);
  caller_sleeps_ = true;
  finished_.wait(lock, [this] { return done(); });
  caller_sleeps_ = false;
}

}  // namespace frnet::runtime
