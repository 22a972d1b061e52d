// The copies of the vertex distance cost, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/vdc.h"

FRNET_IN_EVERY_ISA(template <typename T>
                   void vdc(const FacePair<T>& faces, const VertexComparison<T>& comparison, T* vdc, T* slope,
                            const MorphableShape& shape, void* workspace, const Parallel& parallel);

                   template <typename T> size_t vdc_workspace(const VertexComparison<T>& comparison, bool slope,
                                                              const MorphableShape& shape);)

// Everything a translation unit has to instantiate for one type, in the namespace it stands in.
#define FRNET_INSTANTIATE_VDC(T)                                                                             \
  template void vdc<T>(const FacePair<T>&, const VertexComparison<T>&, T*, T*, const MorphableShape&, void*, \
                       const Parallel&);                                                                     \
  template size_t vdc_workspace<T>(const VertexComparison<T>&, bool, const MorphableShape&);
