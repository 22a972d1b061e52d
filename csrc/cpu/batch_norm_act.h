// The copies of batch normalisation and activation, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/batch_norm_act.h"

FRNET_IN_EVERY_ISA(
    template <typename T>
    void batch_norm_act(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        accumulator_t<T>* mean, accumulator_t<T>* variance, T* y, const BatchNormActShape& shape,
                        void* workspace, const Parallel& parallel);

    template <typename T>
    void batch_norm_act_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const BatchNormActGradient<T>& gradient,
                                 const BatchNormActShape& shape, void* workspace, const Parallel& parallel);

    template <typename T> size_t batch_norm_act_workspace(const BatchNormActShape& shape);

    // Steps of them that other ops have too, with the same workspace.

    template <typename T>
    void batch_norm_statistics(const T* x, accumulator_t<T>* mean, accumulator_t<T>* variance,
                               const BatchNormActShape& shape, void* workspace, const Parallel& parallel);

    // Of the normalisation alone, from the sums over batch and plane of grad_y and of its products
    // with x less the mean. grad_x must be given and may be grad_y.
    template <typename T>
    void batch_norm_backward_from_sums(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                       const accumulator_t<T>* sum_g, const accumulator_t<T>* sum_gv,
                                       const BatchNormActGradient<T>& gradient, const BatchNormActShape& shape,
                                       void* workspace, const Parallel& parallel);)

// Everything a translation unit has to instantiate for one storage type, in the namespace it stands in.
#define FRNET_INSTANTIATE_BATCH_NORM_ACT(T)                                                                    \
  template void batch_norm_act<T>(const T*, const BatchNorm<accumulator_t<T>>&, Activation, accumulator_t<T>*, \
                                  accumulator_t<T>*, T*, const BatchNormActShape&, void*, const Parallel&);    \
  template void batch_norm_act_backward<T>(const T*, const T*, const BatchNorm<accumulator_t<T>>&, Activation, \
                                           const BatchNormActGradient<T>&, const BatchNormActShape&, void*,    \
                                           const Parallel&);                                                   \
  template size_t batch_norm_act_workspace<T>(const BatchNormActShape&);
