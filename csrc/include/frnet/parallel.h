// How a CPU kernel is given threads: by its caller, through one callback.
//
// The torch binding passes torch's own pool and the runtime passes its own, so the library never starts
// threads beside those that are already there.
#pragma once

#include <cstdint>

namespace frnet {

struct Parallel {
  using Body = void (*)(int64_t begin, int64_t end, void* context);
  // Calls body over disjoint ranges that cover [0, count), none shorter than grain unless it is the last,
  // and returns when all are done.
  using For = void (*)(int64_t count, int64_t grain, Body body, void* context);

  For run;

  template <typename F>
  void operator()(int64_t count, int64_t grain, const F& body) const {
    run(
        count, grain, [](int64_t begin, int64_t end, void* context) { (*static_cast<const F*>(context))(begin, end); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
};

inline constexpr Parallel serial{[](int64_t count, int64_t, Parallel::Body body, void* context) {
  if (count > 0) body(0, count, context);
}};

}  // namespace frnet
