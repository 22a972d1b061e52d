// The copies of the multi-scale stage, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/hierarchical_depthwise_conv2d.h"

FRNET_IN_EVERY_ISA(template <typename T> void hierarchical_depthwise_conv2d(const HierarchicalConv<T>& conv, T* y,
                                                                            const HierarchicalShape& shape,
                                                                            void* workspace, const Parallel& parallel);

                   template <typename T>
                   size_t hierarchical_depthwise_conv2d_workspace(const HierarchicalShape& shape);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_HIERARCHICAL_DEPTHWISE_CONV2D(T)                                                        \
  template void hierarchical_depthwise_conv2d<T>(const HierarchicalConv<T>&, T*, const HierarchicalShape&, void*, \
                                                 const Parallel&);                                                \
  template size_t hierarchical_depthwise_conv2d_workspace<T>(const HierarchicalShape&);
