// A step of batch_norm_act that other ops have too.
#pragma once

#include "frnet/batch_norm_act.h"

namespace frnet {
namespace cuda {

// By statistics that are there already; workspace as for batch_norm_act.
template <typename T>
void normalise_activate(const T* x, const BatchNorm<accumulator_t<T>>& norm, Activation activation, T* y,
                        const BatchNormActShape& shape, void* workspace, void* stream);

}  // namespace cuda
}  // namespace frnet
