// The copies of WPDC and Wing, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/wpdc_wing.h"

FRNET_IN_EVERY_ISA(
    template <typename T> void wpdc_wing(const FacePair<T>& faces, const Wpdc& wpdc, const Wing<T>& wing,
                                         const VertexComparison<T>& comparison, const WpdcWingOutput<T>& output,
                                         const MorphableShape& shape, void* workspace, const Parallel& parallel);

    template <typename T>
    size_t wpdc_wing_workspace(const Wpdc& wpdc, const VertexComparison<T>& comparison, const MorphableShape& shape);

    template <typename T> void wpdc_weights(const FacePair<T>& faces, const Wpdc& wpdc, T* weights,
                                            const MorphableShape& shape, void* workspace, const Parallel& parallel);

    template <typename T> size_t wpdc_weights_workspace(const Wpdc& wpdc, const MorphableShape& shape);)

// Everything a translation unit has to instantiate for one type, in the namespace it stands in.
#define FRNET_INSTANTIATE_WPDC_WING(T)                                                                               \
  template void wpdc_wing<T>(const FacePair<T>&, const Wpdc&, const Wing<T>&, const VertexComparison<T>&,            \
                             const WpdcWingOutput<T>&, const MorphableShape&, void*, const Parallel&);               \
  template size_t wpdc_wing_workspace<T>(const Wpdc&, const VertexComparison<T>&, const MorphableShape&);            \
  template void wpdc_weights<T>(const FacePair<T>&, const Wpdc&, T*, const MorphableShape&, void*, const Parallel&); \
  template size_t wpdc_weights_workspace<T>(const Wpdc&, const MorphableShape&);
