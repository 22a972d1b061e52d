// Threads of one call: a pool's, or the caller's alone.
#pragma once

#include <cstdint>

namespace frnet::runtime {

class Workers {
 public:
  using Body = void (*)(void* context, int64_t task, int32_t worker);

  virtual ~Workers() = default;
  virtual int32_t count() const { return 1; }
  // Calls body for tasks 0 to tasks - 1, each once, by workers 0 to count() - 1, and returns when all are done.
  virtual void run(int64_t tasks, Body body, void* context) {
    for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
  }

  template <typename F>
  void operator()(int64_t tasks, const F& body) {
    run(
        tasks, [](void* context, int64_t task, int32_t worker) { (*static_cast<const F*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
};

}  // namespace frnet::runtime
