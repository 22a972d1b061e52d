// The copies of normalisation, activation and gate, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/batch_norm_act_sge.h"

FRNET_IN_EVERY_ISA(template <typename T>
                   void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                                           const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean,
                                           accumulator_t<T>* variance, T* y, const BatchNormActShape& shape,
                                           int64_t groups, void* workspace, const Parallel& parallel);

                   template <typename T> void batch_norm_act_sge_backward(
                       const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                       const SgeGate<accumulator_t<T>>& gate, const BatchNormActGradient<T>& gradient,
                       accumulator_t<T>* grad_weight, accumulator_t<T>* grad_bias, const BatchNormActShape& shape,
                       int64_t groups, void* workspace, const Parallel& parallel);

                   template <typename T>
                   size_t batch_norm_act_sge_workspace(const BatchNormActShape& shape, int64_t groups);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_BATCH_NORM_ACT_SGE(T)                                                                    \
  template void batch_norm_act_sge<T>(const T*, const BatchNorm<accumulator_t<T>>&, Activation,                    \
                                      const SgeGate<accumulator_t<T>>&, accumulator_t<T>*, accumulator_t<T>*, T*,  \
                                      const BatchNormActShape&, int64_t, void*, const Parallel&);                  \
  template void batch_norm_act_sge_backward<T>(const T*, const T*, const BatchNorm<accumulator_t<T>>&, Activation, \
                                               const SgeGate<accumulator_t<T>>&, const BatchNormActGradient<T>&,   \
                                               accumulator_t<T>*, accumulator_t<T>*, const BatchNormActShape&,     \
                                               int64_t, void*, const Parallel&);                                   \
  template size_t batch_norm_act_sge_workspace<T>(const BatchNormActShape&, int64_t);
