// Sums over partial results, in an order that does not depend on the number of threads.
#pragma once

#include <cstdint>

#include "cpu/depthwise_forward.h"
#include "frnet/parallel.h"
#include "math/conv_index.h"

namespace frnet::cpu::FRNET_ISA {

// to[k] = the sum over n of partials[n, k].
template <typename A>
void sum_partials(const A* partials, int64_t count, int64_t columns, A* to, const Parallel& parallel) {
  constexpr int64_t kTogether = 64;
  parallel(math::ceil_div(columns, kTogether), math::ceil_div(kOutputsPerThread, kTogether * max(1, count)),
           [&](int64_t begin, int64_t end) {
             for (int64_t first = begin * kTogether; first < min(end * kTogether, columns); first += kTogether) {
               const int64_t size = min(kTogether, columns - first);
               double sums[kTogether] = {};
               for (int64_t n = 0; n < count; ++n) {
                 for (int64_t k = 0; k < size; ++k) sums[k] += partials[n * columns + first + k];
               }
               for (int64_t k = 0; k < size; ++k) to[first + k] = static_cast<A>(sums[k]);
             }
           });
}

}  // namespace frnet::cpu::FRNET_ISA
