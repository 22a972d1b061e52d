// Threads that wait for a short while with their eyes open, and then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/workers.h"

namespace frnet::runtime {

// One caller at a time; the caller is worker 0. Between the parts of one network the threads spin, for some
// microseconds at most, so that they are at hand; then they sleep, so that nothing else is slowed.
class ThreadPool final : public Workers {
 public:
  // Throws std::system_error where the system gives no more threads.
  explicit ThreadPool(int32_t threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t count() const override { return static_cast<int32_t>(threads_.size()) + 1; }
  void run(int64_t tasks, Body body, void* context) override;

 private:
  void stop();
  void serve(int32_t worker);
  bool work(int32_t worker);  // whether it did any
  bool done() const { return done_.load() == tasks_; }

  // How many tasks there are and the next one's number, in one word: who takes a number that is below the count knows
  // that body_ and context_ are those of its job, which cannot end before the task is done.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> done_{0};
  int64_t tasks_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> caller_sleeps_{false}, stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace frnet::runtime
