// Vertex distance cost: the mean squared distance of vertices, with its gradient, per sample.
//
//   vdc[b] = sum over n of weight[n] * mean over x, y, z of d[b,n,:]^2             d: face_pair.h
//
// The slope is the derivative with respect to pred, NaN where the loss is.
#pragma once

#include <cstddef>

#include "frnet/face_pair.h"
#include "frnet/parallel.h"

namespace frnet {
namespace cpu {

// vdc: [batch]; slope: [batch, 12 + coefficients], null: no slope.
template <typename T>
void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope, const MorphableShape& shape,
         void* workspace, const Parallel& parallel);

// Depends on the sizes alone, so that the result does not depend on the number of threads.
template <typename T>
size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope, const MorphableShape& shape);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope, const MorphableShape& shape,
         void* workspace, void* stream);

template <typename T>
size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope, const MorphableShape& shape);

}  // namespace cuda
}  // namespace frnet
