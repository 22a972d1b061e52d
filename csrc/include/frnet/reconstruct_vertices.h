// Vertices of a 3D morphable model under a pose, and the gradient with respect to the parameters.
//
// A parameter vector is [r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz  a_0 .. a_{K-1}]: the 3x4 matrix
// (f R | t) row by row, then the K basis coefficients.
//
//   s[b,n,:] = mean[n,:] + sum_k basis[n,:,k] * a[b,k]
//   v[b,n,:] = (f R)[b] s[b,n,:] + t[b]
//
// T is float or double. mean is [vertices, 3], basis [vertices, 3, coefficients], params
// [batch, 12 + coefficients], vertices_out and its gradient [batch, vertices, 3], all dense.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/parallel.h"

namespace frnet {

struct ReconstructVerticesShape {
  int64_t batch;
  int64_t vertices;
  int64_t coefficients;  // shape plus expression
};

namespace cpu {

// More coefficients are refused by the callers. (FLAME's 400 are the most of any published face model.)
inline constexpr int64_t kMaxCoefficients = 512;

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, T* vertices_out,
                          const ReconstructVerticesShape& shape, const Parallel& parallel);

// Depends on the shape alone, so that the result does not depend on the number of threads.
template <typename T>
size_t reconstruct_vertices_backward_workspace(const ReconstructVerticesShape& shape);

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   T* grad_params, const ReconstructVerticesShape& shape, void* workspace,
                                   const Parallel& parallel);

}  // namespace cpu

// The same on the current CUDA device; stream is a cudaStream_t. All pointers are device pointers.
namespace cuda {

template <typename T>
void reconstruct_vertices(const T* params, const T* mean, const T* basis, T* vertices_out,
                          const ReconstructVerticesShape& shape, void* stream);

template <typename T>
size_t reconstruct_vertices_backward_workspace(const ReconstructVerticesShape& shape);

template <typename T>
void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean, const T* basis,
                                   T* grad_params, const ReconstructVerticesShape& shape, void* workspace,
                                   void* stream);

}  // namespace cuda
}  // namespace frnet
