// A predicted and a target face of one morphable model, and the vertices at which losses compare them.
//
// A face is a whitened parameter vector z; p = z * param_std + param_mean is the vector of reconstruct_vertices.h, and
// v[n] are its vertices. T is float or double; everything is dense.
#pragma once

#include <cstdint>

#include "frnet/morphable.h"

namespace frnet {

template <typename T>
struct FacePair {
  const T* pred;        // [batch, 12 + coefficients], whitened
  const T* target;      // [batch, 12 + coefficients], whitened
  const T* param_mean;  // [12 + coefficients]
  const T* param_std;   // [12 + coefficients]
  const T* mean;        // [vertices, 3]
  const T* basis;       // [vertices, 3, coefficients]
};

// What the products with the basis may be computed in. It is a permission: who has no such unit computes in T.
enum class ProductPrecision : int32_t {
  full,      // T
  tf32,      // float with 10 bits behind the point
  bfloat16,  // 7 bits
};

// How vertices are compared: d[n] = v_pred[n] - v_target[n].
template <typename T>
struct VertexComparison {
  VertexSet set;
  const T* weights;  // [set.count], which sum to 1; null: 1 / set.count each
  bool target_tz;    // the prediction is placed at the target's tz
  ProductPrecision precision;
};

}  // namespace frnet
