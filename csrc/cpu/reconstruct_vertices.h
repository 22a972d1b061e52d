// The copies of the vertex reconstruction, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/reconstruct_vertices.h"

FRNET_IN_EVERY_ISA(template <typename T>
                   void reconstruct_vertices(const T* params, const T* mean, const T* basis, const VertexSet& set,
                                             T* vertices_out, const MorphableShape& shape, const Parallel& parallel);

                   template <typename T>
                   size_t reconstruct_vertices_backward_workspace(const VertexSet& set, const MorphableShape& shape);

                   template <typename T>
                   void reconstruct_vertices_backward(const T* grad_vertices, const T* params, const T* mean,
                                                      const T* basis, const VertexSet& set, T* grad_params,
                                                      const MorphableShape& shape, void* workspace,
                                                      const Parallel& parallel);)

// Everything a translation unit has to instantiate for one type, in the namespace it stands in.
#define FRNET_INSTANTIATE_RECONSTRUCT_VERTICES(T)                                                                  \
  template void reconstruct_vertices<T>(const T*, const T*, const T*, const VertexSet&, T*, const MorphableShape&, \
                                        const Parallel&);                                                          \
  template size_t reconstruct_vertices_backward_workspace<T>(const VertexSet&, const MorphableShape&);             \
  template void reconstruct_vertices_backward<T>(const T*, const T*, const T*, const T*, const VertexSet&, T*,     \
                                                 const MorphableShape&, void*, const Parallel&);
