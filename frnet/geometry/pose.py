"""Head pose: yaw, pitch, roll, and the 3x4 matrix at the head of the parameter vector.

Angles are those of 300W-LP: ``R = Rx(pitch) Ry(yaw) Rz(roll)``, in degrees. They act on the model's axes (x
right, y up, z towards the viewer).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Pose",
    "decompose_pose",
    "euler_from_rotation",
    "matrix2angle_3ddfa",
    "place",
    "pose_angles",
    "rotation_from_euler",
]

# Below this cosine of yaw, pitch and roll turn about the same axis and only their combination is defined.
_GIMBAL = 1e-6


class Pose(NamedTuple):
    """Scale [...], rotation [..., 3, 3] and translation [..., 3] of a 3x4 matrix."""

    scale: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray


def rotation_from_euler(yaw: Any, pitch: Any, roll: Any) -> np.ndarray:
    """Rotation matrix of 300W-LP's angles, ``R = Rx(pitch) Ry(yaw) Rz(roll)``.

    ``Rx = [[1,0,0],[0,c,s],[0,-s,c]]``, ``Ry = [[c,0,-s],[0,1,0],[s,0,c]]``, ``Rz =
    [[c,s,0],[-s,c,0],[0,0,1]]``. Source: face3d ``angle2matrix_3ddfa``; ``Pose_Para`` of 300W-LP holds pitch,
    yaw, roll in radians.

    Args:
        yaw: [...], degrees.
        pitch: [...], degrees.
        roll: [...], degrees; the three broadcast.

    Returns:
        float64 [..., 3, 3].

    Example:
        >>> (rotation_from_euler(90.0, 0.0, 0.0) @ [0, 0, 1]).round(3).tolist()  # the nose
        [-1.0, 0.0, 0.0]
    """
    from scipy.spatial.transform import Rotation

    angles = np.stack(np.broadcast_arrays(*(np.asarray(angle, np.float64) for angle in (pitch, yaw, roll))), -1)
    # SciPy's turns are counter-clockwise, these are clockwise.
    matrices = Rotation.from_euler("XYZ", -angles.reshape(-1, 3), degrees=True).as_matrix()
    return matrices.reshape(*angles.shape[:-1], 3, 3)


def euler_from_rotation(rotation: Any) -> np.ndarray:
    """Yaw, pitch and roll of a rotation; the exact inverse of :func:`rotation_from_euler`.

    ``yaw = -asin(R02)``, ``pitch = atan2(R12, R22)``, ``roll = atan2(R01, R00)``; yaw is computed as
    ``atan2(-R02, |(R00, R01)|)``, which is exact near 90 degrees too. At |yaw| = 90 degrees (cosine below
    1e-6) only pitch - roll (or, at -90, pitch + roll) is defined: roll is then 0 and pitch carries both, so
    the rotation is still reproduced.

    SciPy's ``Rotation.as_euler`` would first move a matrix to the nearest rotation. Those that a network predicts are
    not quite rotations, and its angles would differ from these, which the field's figures are of, by up to a degree.

    Args:
        rotation: [..., 3, 3], of determinant +1.

    Returns:
        float64 [..., 3]: yaw in [-90, 90], pitch and roll in [-180, 180], degrees.

    Raises:
        ValueError: another shape.

    Example:
        >>> euler_from_rotation(rotation_from_euler(30, -20, 10)).round(9).tolist()
        [30.0, -20.0, 10.0]
    """
    r = _matrices(rotation, "euler_from_rotation")
    cosine = np.hypot(r[..., 0, 0], r[..., 0, 1])
    gimbal = cosine < _GIMBAL
    yaw = np.arctan2(-r[..., 0, 2], cosine)
    upright = np.arctan2(np.where(r[..., 0, 2] < 0, r[..., 1, 0], -r[..., 1, 0]), r[..., 1, 1])
    pitch = np.where(gimbal, upright, np.arctan2(r[..., 1, 2], r[..., 2, 2]))
    roll = np.where(gimbal, 0.0, np.arctan2(r[..., 0, 1], r[..., 0, 0]))
    return np.rad2deg(np.stack([yaw, pitch, roll], -1))


def matrix2angle_3ddfa(rotation: Any) -> np.ndarray:
    """Angles as 3DDFA_V2 computes them, in **radians**; not the angles of 300W-LP.

    ``a = asin(R20)``, ``b = atan2(R21, R22)``, ``c = atan2(R10, R00)``, which 3DDFA calls yaw, pitch and
    roll. They are kept to compare with its figures; :func:`euler_from_rotation` gives the angles that
    ``Pose_Para`` holds (the two differ by 15 degrees on average on AFLW2000-3D). Where |R20| > 0.998, a is a
    right angle and c is 0. Source: 3DDFA_V2 ``utils/pose.py``; 3DDFA's first version is the same but for the
    threshold, which is 1 there.

    Args:
        rotation: [..., 3, 3].

    Returns:
        float64 [..., 3], radians.

    Raises:
        ValueError: another shape.

    Example:
        >>> matrix2angle_3ddfa(np.eye(3)).tolist()
        [0.0, 0.0, 0.0]
    """
    r = _matrices(rotation, "matrix2angle_3ddfa")
    r20 = r[..., 2, 0]
    gimbal = np.abs(r20) > 0.998
    first = np.where(gimbal, np.copysign(np.pi / 2, r20), np.arcsin(np.clip(r20, -1, 1)))
    cosine = np.where(gimbal, 1.0, np.cos(first))
    second = np.arctan2(r[..., 2, 1] / cosine, r[..., 2, 2] / cosine)
    third = np.arctan2(r[..., 1, 0] / cosine, r[..., 0, 0] / cosine)
    upright = np.where(r20 < 0, np.arctan2(r[..., 0, 1], r[..., 0, 2]), np.arctan2(-r[..., 0, 1], -r[..., 0, 2]))
    return np.stack([first, np.where(gimbal, upright, second), np.where(gimbal, 0.0, third)], -1)


def decompose_pose(params: Any) -> Pose:
    """Scale, rotation and translation of ``[f R | t]``.

    ``f`` is the mean norm of the first two rows, the rotation's first two rows are those rows normalised, its
    third is their cross product. A predicted matrix is not exactly a scaled rotation, so the result's rows
    may deviate from orthogonality as the first two rows do. Source: 3DDFA ``P2sRt``.

    Args:
        params: parameter vectors [..., 12 or more] (not whitened), or matrices [..., 3, 4].

    Returns:
        Pose of float64 arrays: scale [...], rotation [..., 3, 3], translation [..., 3].

    Raises:
        ValueError: another shape, or a row without length.

    Example:
        >>> matrix = np.hstack([2 * rotation_from_euler(10, 0, 0), [[5], [6], [7]]])
        >>> pose = decompose_pose(matrix)
        >>> float(pose.scale.round(9)), pose.translation.tolist()
        (2.0, [5.0, 6.0, 7.0])
    """
    values = np.asarray(params, np.float64)
    if values.ndim >= 2 and values.shape[-2:] == (3, 4):
        matrix = values
    elif values.ndim >= 1 and values.shape[-1] >= 12:
        matrix = values[..., :12].reshape(*values.shape[:-1], 3, 4)
    else:
        raise ValueError(
            f"decompose_pose: expected parameters [..., 12 or more] or matrices [..., 3, 4], got {list(values.shape)}"
        )
    first, second = matrix[..., 0, :3], matrix[..., 1, :3]
    norm_first = np.linalg.norm(first, axis=-1, keepdims=True)
    norm_second = np.linalg.norm(second, axis=-1, keepdims=True)
    if not ((norm_first > 0) & (norm_second > 0) & np.isfinite(norm_first + norm_second)).all():
        raise ValueError("decompose_pose: the first two rows of the matrix must be finite and not zero")
    first, second = first / norm_first, second / norm_second
    rotation = np.stack([first, second, np.cross(first, second)], -2)
    return Pose(((norm_first + norm_second) / 2)[..., 0], rotation, matrix[..., 3])


def place(vertices: Any, pose: Any) -> Any:
    """Vertices under ``[f R | t]``: ``f R v + t``.

    Args:
        vertices: array or tensor [..., N, 3].
        pose: [..., 3, 4], of the same library.

    Returns:
        [..., N, 3].

    Example:
        >>> place(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7]])).tolist()
        [[7.0, 10.0, 13.0]]
    """
    return vertices @ pose[..., :3].swapaxes(-1, -2) + pose[..., None, :, 3]


def pose_angles(params: Any) -> np.ndarray:
    """Yaw, pitch, roll of parameter vectors, in degrees, as 300W-LP defines them.

    Args:
        params: as for :func:`decompose_pose`.

    Returns:
        float64 [..., 3].

    Raises:
        ValueError: as for :func:`decompose_pose`.

    Example:
        >>> matrix = np.hstack([5e-4 * rotation_from_euler(-40, 5, 3), np.zeros((3, 1))])
        >>> pose_angles(matrix).round(9).tolist()
        [-40.0, 5.0, 3.0]
    """
    return euler_from_rotation(decompose_pose(params).rotation)


def _matrices(rotation: Any, caller: str) -> np.ndarray:
    rotation = np.asarray(rotation, np.float64)
    if rotation.ndim < 2 or rotation.shape[-2:] != (3, 3):
        raise ValueError(f"{caller}: rotation must be [..., 3, 3], got {list(rotation.shape)}")
    return rotation
