// Sizes of a batch of faces of one 3D morphable model, and a choice of its vertices.
#pragma once

#include <cstdint>

namespace frnet {

struct MorphableShape {
  int64_t batch;
  int64_t vertices;      // of the model
  int64_t coefficients;  // shape plus expression
};

// Some of the model's vertices, in any order and with repetitions. The CPU's launchers take indices that were checked;
// on CUDA, where nobody has looked, a vertex out of range is NaN.
struct VertexSet {
  const int64_t* indices;  // [count]; null: vertices 0 to count - 1
  int64_t count;
};

namespace cpu {

// More coefficients are refused by the callers. (FLAME's 400 are the most of any published face model.)
inline constexpr int64_t kMaxCoefficients = 512;

}  // namespace cpu
}  // namespace frnet
