// Threads and memory of the calls of one plan.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/plan.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace frnet::runtime {

// The instruction set of this name; the best one here where it is empty. Throws std::invalid_argument.
cpu::Isa instruction_set(const std::string& name);

// As many as asked for; 0: as many as this process may run on. Throws std::invalid_argument.
int32_t thread_count(int32_t wanted);

// Workspaces that no call is using.
class WorkspaceStore {
 public:
  // One for this size and so many images and workers at least, or none.
  std::unique_ptr<Workspace> take(Size size, int64_t images, int32_t workers);
  void put(std::unique_ptr<Workspace> workspace, size_t most);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
};

// A call gets the pool's threads if no other has them, and runs on its own thread if one has. After a fork the child
// gets new threads.
class Engine {
 public:
  Engine(Plan plan, int32_t threads) : plan_(std::move(plan)), threads_(threads) {}
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Plan& plan() const { return plan_; }
  int32_t threads() const { return threads_; }

  // What of one call belongs to it: the pool's lock, where it has got it.
  class Call {
   public:
    explicit Call(Engine& engine);
    // The pool, or the calling thread alone.
    Workers& workers() { return pool_lock_.owns_lock() ? pool_ : static_cast<Workers&>(alone_); }

   private:
    friend class Engine;
    Workers alone_;
    ThreadPool& pool_;
    std::unique_lock<std::mutex> pool_lock_;
  };

  // Memory that is taken and given back.
  std::unique_ptr<Workspace> take(Size size, int64_t images, int32_t workers);
  void put(std::unique_ptr<Workspace> workspace);

 private:
  struct Shared;
  Shared& of_process();

  Plan plan_;
  int32_t threads_;
  std::mutex mutex_;
  Shared* shared_ = nullptr;
};

}  // namespace frnet::runtime
