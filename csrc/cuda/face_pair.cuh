// Predicted and target faces as the kernels of losses on vertices take them: the first shape of a sample is the
// target's, the second the predicted minus the target's, whose coefficients are differences of whitened parameters, so
// that nothing cancels.
#pragma once

#include "cuda/launch.cuh"
#include "frnet/face_pair.h"
#include "math/pose_transform.h"
#include "math/whitening.h"
#include "math/wpdc.h"

namespace frnet {
namespace cuda {

template <typename T>
struct PairCoefficients {
  const FacePair<T>& faces;
  int64_t params_size;

  __device__ __forceinline__ T operator()(int shape, int64_t sample, int k) const {
    const int i = math::kPoseSize + k;
    const int64_t at = sample * params_size + i;
    return shape == 0 ? math::dewhiten(faces.target[at], faces.param_mean[i], faces.param_std[i])
                      : math::dewhiten_difference(faces.pred[at], faces.target[at], faces.param_std[i]);
  }
};

// Of each sample the predicted pose, then its difference from the target's.
constexpr int kPosePairSize = 2 * math::kPoseSize;

// Pose pairs of `count` samples to shared memory; those past the end are zero. The whole block calls it.
template <typename T>
__device__ __forceinline__ void stage_poses(const FacePair<T>& faces, int64_t params_size, bool target_tz,
                                            int64_t first_sample, int64_t batch, int count, T* tile) {
  for (int at = threadIdx.x; at < count * kPosePairSize; at += blockDim.x) {
    const int64_t sample = first_sample + at / kPosePairSize;
    const int part = at % kPosePairSize;
    const int p = part % math::kPoseSize;
    T value = 0;
    if (sample < batch) {
      const T pred = faces.pred[sample * params_size + p];
      if (part < math::kPoseSize) {
        value = math::dewhiten(pred, faces.param_mean[p], faces.param_std[p]);
      } else if (p != math::kTz || !target_tz) {
        value = math::dewhiten_difference(pred, faces.target[sample * params_size + p], faces.param_std[p]);
      }
    }
    tile[at] = value;
  }
}

// A vertex of both faces of one sample, s on the target's shape and s + change on the predicted one: the weighted loss,
// and its gradient g with respect to the predicted vertex. Places that are none, past the end of the set, give zeros.
template <typename T, typename Loss>
__device__ __forceinline__ T compare_vertex(const Loss& loss, const T (&poses)[kPosePairSize], const T (&s)[3],
                                            const T (&change)[3], bool exists, T weight, T (&g)[3]) {
  T d[3];
  math::pose_transform_difference(poses, poses + math::kPoseSize, s, change, d);
  const T value = loss(d, g);
#pragma unroll
  for (int j = 0; j < 3; ++j) g[j] = exists ? weight * g[j] : T(0);
  return exists ? weight * value : T(0);
}

}  // namespace cuda
}  // namespace frnet
