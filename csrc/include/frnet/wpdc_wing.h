// Weighted parameter distance cost (WPDC) and the Wing loss on vertices, with their gradients, per sample.
//
//   wpdc[b] = mean over i of W[b,i] (pred[b,i] - target[b,i])^2                    W: math/wpdc.h
//   wing[b] = sum over n of weight[n] * mean over x, y, z of wing(d[b,n,:])        wing: math/wing.h, d: face_pair.h
//
// Slopes are the derivatives with respect to pred, W being a constant. They are NaN where the loss is.
#pragma once

#include <cstddef>

#include "frnet/face_pair.h"
#include "frnet/parallel.h"

namespace frnet {

struct Wpdc {
  VertexSet set;  // the vertices that the weights look at
  bool by_sum;    // the weights of a sample sum to 1 (Zhu et al., equation 8); else the largest is 1 (3DDFA's code)
  bool predicted_shape;  // lengths are those of the predicted shape (3DDFA until 2021); else of the target's
};

template <typename T>
struct Wing {
  T width;      // positive
  T curvature;  // positive
};

template <typename T>
struct WpdcWingOutput {
  T* wpdc;        // [batch]
  T* wing;        // [batch]
  T* slope_wpdc;  // [batch, 12 + coefficients]; null: no slopes
  T* slope_wing;  // the same
};

namespace cpu {

template <typename T>
void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing, const VertexComparison<T>& comparison,
               const WpdcWingOutput<T>& output, const MorphableShape& shape, void* workspace, const Parallel& parallel);

// Depends on the sizes alone, so that the result does not depend on the number of threads.
template <typename T>
size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const MorphableShape& shape);

// W alone, [batch, 12 + coefficients].
template <typename T>
void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights, const MorphableShape& shape, void* workspace,
                  const Parallel& parallel);

template <typename T>
size_t wpdc_weights_workspace(const Wpdc& wpdc, const MorphableShape& shape);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing, const VertexComparison<T>& comparison,
               const WpdcWingOutput<T>& output, const MorphableShape& shape, void* workspace, void* stream);

template <typename T>
size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const MorphableShape& shape);

template <typename T>
void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights, const MorphableShape& shape, void* workspace,
                  void* stream);

template <typename T>
size_t wpdc_weights_workspace(const Wpdc& wpdc, const MorphableShape& shape);

}  // namespace cuda
}  // namespace frnet
