"""Labels of 300W-LP and AFLW2000-3D: their projection, and their pose as parameters of a crop.

``Pose_Para`` = [pitch, yaw, roll, t_x, t_y, t_z, f], angles in radians. A face is ``f R S + t`` in an image
frame that counts from 1, x right, y up from the lower edge: ``x_image = x`` and ``y_image = height + 1 - y``,
counting from 1.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from frnet.geometry.pose import decompose_pose, euler_from_rotation, place, rotation_from_euler
from frnet.geometry.roi import require_roi

__all__ = ["Frame", "first_pixel", "params_from_pose_para", "pose_para_from_params", "project_300wlp"]

Frame = Literal["3ddfa-v2", "3ddfa-v1"]


def project_300wlp(vertices: Any, pose_para: Any, image_height: int) -> np.ndarray:
    """Model vertices to image pixels under a label of 300W-LP.

    ``(x, y, z) = f R S + t``; then ``x - 1`` and ``height - y``, as the labels count from 1 and pixels here
    from 0. Adding 1 to x and y gives ``pt3d_68`` of AFLW2000-3D to a bias of (-0.04, -0.07) pixels.

    Args:
        vertices: [..., N, 3], model units.
        pose_para: [..., 7], as stored (pitch, yaw, roll in radians, t_x, t_y, t_z, f).
        image_height: pixels.

    Returns:
        float64 [..., N, 3]: image pixels counting from 0, y down; z = (f R S + t)_z, towards the viewer.

    Raises:
        ValueError: another shape.

    Example:
        >>> project_300wlp([[0.0, 0.0, 0.0]], [0, 0, 0, 226.0, 225.0, -80.0, 1e-3], 450).tolist()
        [[225.0, 225.0, -80.0]]
    """
    vertices = np.asarray(vertices, np.float64)
    if vertices.ndim < 2 or vertices.shape[-1] != 3:
        raise ValueError(f"project_300wlp: vertices must be [..., N, 3], got {list(vertices.shape)}")
    rotation, translation, scale = _pose(pose_para, "project_300wlp")
    pose = np.concatenate([scale[..., None, None] * rotation, translation[..., None]], -1)
    x, y, z = np.moveaxis(place(vertices, pose), -1, 0)
    return np.stack([x - 1, image_height - y, z], -1)


def params_from_pose_para(
    pose_para: Any,
    shape_para: Any,
    exp_para: Any,
    roi: Any,
    image_height: int,
    *,
    num_shape: int = 40,
    num_expression: int = 10,
    size: int = 120,
    frame: Frame = "3ddfa-v2",
    scale_depth: bool = True,
) -> np.ndarray:
    """A label of 300W-LP as the parameter vector of a crop.

    With ``k = size / (x1 - x0)``: ``P = k f R``, ``t_x' = (t_x - 1 - x0) k + 1``, ``t_y' = size - (height -
    t_y - y0) k``, ``t_z' = k t_z + 1``. Then ``crop_to_image(f' R S + t', roi)`` equals
    :func:`project_300wlp` exactly. For a roi that is not square the rows of P have the scales of their axes,
    as ``crop_to_image`` has.

    ``frame="3ddfa-v1"`` goes with :func:`crop_to_image_3ddfa_v1` instead, whose crop frame lies one pixel
    off: t_x' is one less, t_y' one more and t_z' one less. 3DDFA's published training labels seem to be of
    this kind, with ``scale_depth=False``: their t_z' is t_z itself, unscaled. No loss of this package looks
    at t_z'.

    Args:
        pose_para: [..., 7], as stored.
        shape_para: [..., at least num_shape]; 300W-LP has 199 (as a column: pass ``Shape_Para[:, 0]``).
        exp_para: [..., at least num_expression]; 300W-LP has 29.
        roi: [..., 4], image pixels counting from 0, for both frames.
        image_height: pixels.
        num_shape: shape coefficients to keep, the first ones.
        num_expression: expression coefficients to keep.
        size: side of the crop, pixels.
        frame: which crop frame the parameters are in.
        scale_depth: whether the depth is scaled with the crop.

    Returns:
        float64 [..., 12 + num_shape + num_expression], not whitened.

    Raises:
        ValueError: another shape, too few coefficients, a roi that is not valid, an unknown frame.

    Example:
        >>> params = params_from_pose_para([0, 0, 0, 226, 225, -80, 1e-3], np.zeros(199), np.zeros(29),
        ...                                [105, 105, 345, 345], 450)
        >>> params[[0, 3, 7, 11]].round(6).tolist()
        [0.0005, 61.0, 60.0, -39.0]
    """
    rotation, translation, scale = _pose(pose_para, "params_from_pose_para")
    shape = _coefficients(shape_para, num_shape, "shape_para")
    expression = _coefficients(exp_para, num_expression, "exp_para")
    roi, factor = _roi_factor(roi, size)
    one = first_pixel(frame)
    tx, ty, tz = np.moveaxis(translation, -1, 0)
    moved = np.stack(
        np.broadcast_arrays(
            (tx - 1 - roi[..., 0]) * factor[..., 0] + one,
            size + 1 - one - (image_height - ty - roi[..., 1]) * factor[..., 1],
            tz * factor[..., 2] + one if scale_depth else tz,
        ),
        -1,
    )
    matrix = factor[..., None] * scale[..., None, None] * rotation
    pose = np.concatenate([matrix, moved[..., None]], -1)
    lead = np.broadcast_shapes(pose.shape[:-2], shape.shape[:-1], expression.shape[:-1])
    parts = (pose.reshape(*pose.shape[:-2], 12), shape, expression)
    return np.concatenate([np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts], -1)


def pose_para_from_params(
    params: Any,
    roi: Any,
    image_height: int,
    *,
    num_shape: int = 40,
    num_expression: int = 10,
    size: int = 120,
    frame: Frame = "3ddfa-v2",
    scale_depth: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters of a crop as a label of 300W-LP; the inverse of :func:`params_from_pose_para`.

    Exact where the parameters hold a scaled rotation; otherwise its nearest reading, :func:`decompose_pose`.

    Args:
        params: [..., 12 + num_shape + num_expression], not whitened.
        roi: [..., 4], image pixels counting from 0.
        image_height: pixels.
        num_shape: shape coefficients.
        num_expression: expression coefficients.
        size: side of the crop, pixels.
        frame: which crop frame the parameters are in.
        scale_depth: whether the depth was scaled with the crop.

    Returns:
        ``Pose_Para`` [..., 7] (angles in radians), shape [..., num_shape] and expression [...,
        num_expression] coefficients, float64.

    Raises:
        ValueError: another shape, a roi that is not valid, an unknown frame.

    Example:
        >>> label = [0.1, -0.5, 0.05, 226, 225, -80, 1e-3]
        >>> roi = [105, 105, 345, 345]
        >>> params = params_from_pose_para(label, np.zeros(40), np.zeros(10), roi, 450)
        >>> np.allclose(pose_para_from_params(params, roi, 450)[0], label)
        True
    """
    params = np.asarray(params, np.float64)
    wanted = 12 + num_shape + num_expression
    if params.ndim == 0 or params.shape[-1] != wanted:
        raise ValueError(f"pose_para_from_params: params must be [..., {wanted}], got {list(params.shape)}")
    roi, factor = _roi_factor(roi, size)
    one = first_pixel(frame)
    matrix = params[..., :12].reshape(*params.shape[:-1], 3, 4)
    tx, ty, tz = np.moveaxis(matrix[..., 3], -1, 0)
    pose = decompose_pose(matrix / factor[..., None])
    yaw, pitch, roll = np.moveaxis(np.deg2rad(euler_from_rotation(pose.rotation)), -1, 0)
    label = (
        pitch,
        yaw,
        roll,
        (tx - one) / factor[..., 0] + 1 + roi[..., 0],
        image_height - roi[..., 1] - (size + 1 - one - ty) / factor[..., 1],
        (tz - one) / factor[..., 2] if scale_depth else tz,
        pose.scale,
    )
    shape, expression = params[..., 12 : 12 + num_shape], params[..., 12 + num_shape :]
    return np.stack(np.broadcast_arrays(*label), -1), shape, expression


def _pose(pose_para: Any, caller: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(pose_para, np.float64)
    if values.ndim == 0 or values.shape[-1] != 7:
        raise ValueError(
            f"{caller}: pose_para must be [..., 7] (pitch, yaw, roll, t_x, t_y, t_z, f), got {list(values.shape)}"
        )
    pitch, yaw, roll = np.moveaxis(np.rad2deg(values[..., :3]), -1, 0)
    return rotation_from_euler(yaw, pitch, roll), values[..., 3:6], values[..., 6]


def _coefficients(values: Any, count: int, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim == 0 or values.shape[-1] < count:
        raise ValueError(f"params_from_pose_para: {name} must be [..., at least {count}], got {list(values.shape)}")
    return values[..., :count]


def _roi_factor(roi: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The roi, and crop pixels per image pixel along x, y and z: [..., 3]."""
    roi = require_roi(roi)
    side = roi[..., 2:] - roi[..., :2]
    return roi, size / np.concatenate([side, side.mean(-1, keepdims=True)], -1)


def first_pixel(frame: str) -> float:
    """Where the crop frame has the first pixel: at 1 in V2, at 0 in what V1's formula inverts."""
    if frame not in ("3ddfa-v2", "3ddfa-v1"):
        raise ValueError(f'frame must be "3ddfa-v2" or "3ddfa-v1", got {frame!r}')
    return 1.0 if frame == "3ddfa-v2" else 0.0
