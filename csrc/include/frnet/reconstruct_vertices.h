// Vertices of a 3D morphable model under a pose, and the gradient with respect to the parameters.
//
// A parameter vector is [r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz  a_0 .. a_{K-1}]: the 3x4 matrix
// (f R | t) row by row, then the K basis coefficients.
//
//   s[b,n,:] = mean[n,:] + sum_k basis[n,:,k] * a[b,k]
//   v[b,n,:] = (f R)[b] s[b,n,:] + t[b]
//
// for the vertices n of a set. T is float or double. mean is [vertices, 3], basis [vertices, 3, coefficients], params
// [batch, 12 + coefficients], vertices_out and its gradient [batch, set.count, 3], all dense.
#pragma once

#include <cstddef>

#include "frnet/morphable.h"
#include "frnet/parallel.h"

namespace frnet {

namespace cpu {

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                          const MorphableShape& shape, const Parallel& parallel);

// Depends on the shape alone, so that the result does not depend on the number of threads.
template <typename T>
size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const MorphableShape& shape);

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   const VertexSet& set, T* grad_params, const MorphableShape& shape, void* workspace,
                                   const Parallel& parallel);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set, T* vertices_out,
                          const MorphableShape& shape, void* stream);

template <typename T>
size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const MorphableShape& shape);

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   const VertexSet& set, T* grad_params, const MorphableShape& shape, void* workspace,
                                   void* stream);

}  // namespace cuda
}  // namespace frnet
