// The copies of squeeze and excitation, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/se_gate.h"

FRNET_IN_EVERY_ISA(template <typename T>
                   void se_gate(const T* x, const SeGate<accumulator_t<T>>& gate, T* y, const SeGateShape& shape,
                                void* workspace, const Parallel& parallel);

                   template <typename T>
                   void se_gate_backward(const T* grad_y, const T* x, const SeGate<accumulator_t<T>>& gate, T* grad_x,
                                         const SeGateGradient<accumulator_t<T>>& gradient, const SeGateShape& shape,
                                         void* workspace, const Parallel& parallel);

                   template <typename T> size_t se_gate_workspace(const SeGateShape& shape);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_SE_GATE(T)                                                                                   \
  template void se_gate<T>(const T*, const SeGate<accumulator_t<T>>&, T*, const SeGateShape&, void*, const Parallel&); \
  template void se_gate_backward<T>(const T*, const T*, const SeGate<accumulator_t<T>>&, T*,                           \
                                    const SeGateGradient<accumulator_t<T>>&, const SeGateShape&, void*,                \
                                    const Parallel&);                                                                  \
  template size_t se_gate_workspace<T>(const SeGateShape&);
