// The copies of the spatial group-wise enhance gate, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/sge_gate.h"

FRNET_IN_EVERY_ISA(template <typename T>
                   void sge_gate(const T* x, const SgeGate<accumulator_t<T>>& gate, T* y, const SgeGateShape& shape,
                                 void* workspace, const Parallel& parallel);

                   template <typename T>
                   void sge_gate_backward(const T* grad_y, const T* x, const SgeGate<accumulator_t<T>>& gate, T* grad_x,
                                          accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias,
                                          const SgeGateShape& shape, void* workspace, const Parallel& parallel);

                   template <typename T> size_t sge_gate_workspace(const SgeGateShape& shape);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_SGE_GATE(T)                                                                             \
  template void sge_gate<T>(const T*, const SgeGate<accumulator_t<T>>&, T*, const SgeGateShape&, void*,           \
                            const Parallel&);                                                                     \
  template void sge_gate_backward<T>(const T*, const T*, const SgeGate<accumulator_t<T>>&, T*, accumulator_t<T>*, \
                                     accumulator_t<T>*, const SgeGateShape&, void*, const Parallel&);             \
  template size_t sge_gate_workspace<T>(const SgeGateShape&);
