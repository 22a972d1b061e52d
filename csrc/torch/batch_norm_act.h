// The shape of a normalisation of its own input.
#pragma once

#include "frnet/batch_norm_act.h"
#include "torch/normalization.h"

namespace frnet::binding {

inline BatchNormActShape batch_norm_act_shape(const char* op, const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 4, op, ": wanted x [n, c, h, w]");
  return {x.size(0), x.size(1), x.size(2) * x.size(3), layout_of(x)};
}

}  // namespace frnet::binding
