// sge_gate(batch_norm_act(x)): see frnet/batch_norm_act.h and frnet/sge_gate.h. The gate's statistics are taken from
// the activations as they are stored in T.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frnet/batch_norm_act.h"
#include "frnet/sge_gate.h"

namespace frnet {
namespace cpu {

// norm.mean and norm.variance are not read: they are mean and variance, which are written.
template <typename T>
void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean, accumulator_t<T>* variance, T* y,
                        const BatchNormActShape& shape, int64_t groups, void* workspace, const Parallel& parallel);

// gradient.grad_x must be given: it is scratch too.
template <typename T>
void batch_norm_act_sge_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const SgeGate<accumulator_t<T>>& gate,
                                 const BatchNormActGradient<T>& gradient, accumulator_t<T>* grad_weight,
                                 accumulator_t<T>* grad_bias, const BatchNormActShape& shape, int64_t groups,
                                 void* workspace, const Parallel& parallel);

// For both.
template <typename T>
size_t batch_norm_act_sge_workspace(const BatchNormActShape& shape, int64_t groups);

}  // namespace cpu

namespace cuda {

template <typename T>
void batch_norm_act_sge(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation,
                        const SgeGate<accumulator_t<T>>& gate, accumulator_t<T>* mean, accumulator_t<T>* variance, T* y,
                        const BatchNormActShape& shape, int64_t groups, void* workspace, void* stream);

template <typename T>
void batch_norm_act_sge_backward(const T* grad_y, const T* x, const BatchNorm<accumulator_t<T>>& norm,
                                 Activation activation, const SgeGate<accumulator_t<T>>& gate,
                                 const BatchNormActGradient<T>& gradient, accumulator_t<T>* grad_weight,
                                 accumulator_t<T>* grad_bias, const BatchNormActShape& shape, int64_t groups,
                                 void* workspace, void* stream);

template <typename T>
size_t batch_norm_act_sge_workspace(const BatchNormActShape& shape, int64_t groups);

}  // namespace cuda
}  // namespace frnet
