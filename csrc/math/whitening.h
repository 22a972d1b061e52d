// Whitening of parameter vectors: p = z * std + mean.
#pragma once

#include "math/host_device.h"

namespace frnet {
namespace math {

template <typename A>
FRNET_HD A dewhiten(A z, A mean, A std) {
  return z * std + mean;
}

// The difference of two de-whitened parameters, without the cancellation of their mean.
template <typename A>
FRNET_HD A dewhiten_difference(A z, A other, A std) {
  return (z - other) * std;
}

}  // namespace math
}  // namespace frnet
