// Which of a model's vertices a test takes.
#pragma once

#include <cstdint>
#include <vector>

namespace test {

// Indices in no order, with repetitions.
inline std::vector<int64_t> some_vertices(int64_t count, int64_t vertices) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back((i * 7919 + i / 3) % vertices);
  return indices;
}

}  // namespace test
