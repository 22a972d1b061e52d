"""Error of the head's pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PoseError", "pose_mae"]


@dataclass(frozen=True, eq=False)
class PoseError:
    """Mean absolute errors in degrees.

    Attributes:
        yaw, pitch, roll: of each angle.
        mean: of the three.
        counted: bool [n], the images that count.
    """

    yaw: float
    pitch: float
    roll: float
    mean: float
    counted: NDArray[np.bool_]


def pose_mae(prediction: ArrayLike, truth: ArrayLike, limit: float = 99.0) -> PoseError:
    """Mean absolute error of yaw, pitch and roll, over the images whose true angles are all within a limit.

    On AFLW2000-3D the limit of 99 degrees leaves out 31 images of 2000 and keeps 1969, the number that pose
    tables since FSA-Net (Yang et al., CVPR 2019) are about. Differences are taken as they are, not modulo 360.
    Angles are those of ``Pose_Para``, as :func:`frnet.geometry.pose_angles` decodes them exactly; those that
    3DDFA prints are others.

    Args:
        prediction: [n, 3], yaw, pitch, roll in degrees; NaN where no face was found, which leaves the image
            out.
        truth: [n, 3], the same.
        limit: degrees.

    Raises:
        ValueError: shapes that differ, a true angle that is not finite, or no image left.

    Example:
        >>> error = pose_mae([[10.0, 0, 0], [0, 0, 0]], [[13.0, 0, 0], [120, 0, 0]])
        >>> error.yaw, error.mean, int(error.counted.sum())
        (3.0, 1.0, 1)
    """
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if prediction.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != 3:
        raise ValueError(
            "pose_mae: prediction and truth must be [n, 3] alike (yaw, pitch, roll), "
            f"got {list(prediction.shape)} and {list(truth.shape)}"
        )
    if not np.isfinite(truth).all():
        raise ValueError(f"pose_mae: true angles of face {np.isfinite(truth).all(1).argmin()} are not finite")
    counted = (np.abs(truth) <= limit).all(1) & np.isfinite(prediction).all(1)
    if not counted.any():
        raise ValueError(f"pose_mae: no image has a prediction and true angles within {limit} degrees")
    yaw, pitch, roll = np.abs(prediction - truth)[counted].mean(0).tolist()
    return PoseError(yaw, pitch, roll, (yaw + pitch + roll) / 3, counted)
