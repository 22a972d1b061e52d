"""Crops that are turned, moved, scaled or mirrored, and what that does to a label.

Two coordinates of a crop are told apart here. A **label position** is where :func:`frnet.geometry.crop_to_image`
and its inverse put an image point: ``u = (x - x0) / s`` with ``s = (x1 - x0) / size`` image pixels per crop pixel.
The **pixel** that shows the point lies at ``u - (1 - 1 / s) / 2``, since resizing aligns the corners of pixels and
labels do not. That offset, a quarter of a pixel at s = 2, belongs to the field's convention and is the same at
training and at inference; the functions below keep it, so that a crop that is turned or scaled is read like any
other.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from frnet.geometry.labels import Frame, first_pixel
from frnet.geometry.roi import require_roi

__all__ = [
    "crop_affine",
    "crop_view",
    "label_positions",
    "relative_affine",
    "resize_params",
    "transform_params",
    "transform_points",
]

_SIMILARITY_TOLERANCE = 1e-6


def label_positions(vertices: Any, *, size: int = 120, frame: Frame = "3ddfa-v2") -> np.ndarray:
    """Vertices in the crop frame as label positions: x right, y down, counting from 0.

    Args:
        vertices: [..., N, 3], ``f R S + t``.
        size: side of the crop.
        frame: the crop frame, as for :func:`frnet.geometry.params_from_pose_para`.

    Returns:
        float64 [..., N, 2], crop pixels.

    Example:
        >>> label_positions([[61.0, 70.0, 0.0]]).tolist()
        [[60.0, 50.0]]
        >>> label_positions([[61.0, 70.0, 0.0]], frame="3ddfa-v1").tolist()
        [[61.0, 51.0]]
    """
    one = first_pixel(frame)
    return np.asarray(vertices, np.float64)[..., :2] * (1, -1) + (-one, size + 1 - one)


def crop_affine(roi: Any, *, angle: float = 0.0, flip: bool = False, size: int = 120) -> np.ndarray:
    """Image pixels to label positions of a crop that shows a roi, turned about its centre.

    ``u = Rot(angle) F (x - c) / s + size / 2`` with the roi's centre c; ``F = diag(-1, 1)`` where mirrored, else 1.

    Args:
        roi: [4], square, image pixels.
        angle: degrees, positive turns the content clockwise, as positive roll does.
        flip: whether left and right change places, before turning.
        size: side of the crop.

    Returns:
        float64 [2, 3].

    Raises:
        ValueError: a roi that is not valid or not square.

    Example:
        >>> crop_affine([10, 20, 250, 260]).tolist()
        [[0.5, 0.0, -5.0], [0.0, 0.5, -10.0]]
    """
    roi = require_roi(roi)
    side = roi[2:] - roi[:2]
    if roi.shape != (4,) or abs(side[0] - side[1]) > _SIMILARITY_TOLERANCE * side[0]:
        raise ValueError(f"crop_affine: roi must be one square [x0, y0, x1, y1], got {roi.tolist()}")
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if flip else 1.0, 1.0]) * (size / side[0])
    return np.column_stack([matrix, size / 2 - matrix @ ((roi[:2] + roi[2:]) / 2)])


def relative_affine(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Label positions under one crop to those under another one of the same image: ``after . before^-1``.

    Args:
        before: [2, 3], from :func:`crop_affine`.
        after: [2, 3].

    Returns:
        float64 [2, 3].

    Example:
        >>> relative_affine(crop_affine([0, 0, 120, 120]), crop_affine([0, 0, 60, 60])).tolist()
        [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """
    matrix = after[:, :2] @ np.linalg.inv(before[:, :2])
    return np.column_stack([matrix, after[:, 2] - matrix @ before[:, 2]])


def crop_view(image: np.ndarray, affine: np.ndarray, size: int = 120) -> np.ndarray:
    """The crop that :func:`crop_affine` describes, in one bilinear warp; black outside the image.

    Upright and with a roi of whole pixels it is :func:`frnet.geometry.crop` to within rounding.

    Args:
        image: [H, W, 3], uint8.
        affine: [2, 3], image pixels to label positions.
        size: side of the crop.

    Returns:
        uint8 [size, size, 3].

    Example:
        >>> image = np.full((100, 80, 3), 255, np.uint8)
        >>> face = crop_view(image, crop_affine([-20, 0, 60, 80], angle=90))
        >>> int(face[10, 60, 0]), int(face[60, 60, 0])
        (0, 255)
    """
    matrix = np.array(affine, np.float64)
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # crop pixels per image pixel
    matrix[:, 2] -= (1 - scale) / 2
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def transform_points(points: Any, affine: np.ndarray) -> np.ndarray:
    """Points [..., 2] under an affine map [2, 3]; float64.

    Example:
        >>> transform_points([[1.0, 2.0]], np.array([[2.0, 0.0, 5.0], [0.0, 2.0, 6.0]])).tolist()
        [[7.0, 10.0]]
    """
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def transform_params(
    params: Any,
    affine: np.ndarray,
    *,
    size: int = 120,
    frame: Frame = "3ddfa-v2",
    scale_depth: bool = True,
    mirror: np.ndarray | None = None,
) -> np.ndarray:
    """The label of a crop whose label positions went through a similarity: the face lands where they do.

    With ``u = D w + h`` between label positions u (y down) and the crop frame w (y up), ``D = diag(1, -1)``, and
    the affine map ``u' = A u + b`` with ``A = g Rot`` (or ``g Rot F``): the rows for x and y of ``[f R | t]`` are
    multiplied by ``D A D`` and ``D (A h + b - h)`` is added to t; the row for z is multiplied by g. Then ``f' R'``
    is a scaled rotation again. In a mirrored crop ``f R`` is also multiplied by ``diag(-1, 1, 1)`` from the right,
    and the coefficients by ``mirror``.

    Args:
        params: [..., P], not whitened.
        affine: [2, 3], old label positions to new ones, counting from 0: :func:`relative_affine`.
        size: side of the crop.
        frame: the crop frame of the label, as for :func:`frnet.geometry.params_from_pose_para`.
        scale_depth: whether t_z scales with the crop; where not, it stays as it is.
        mirror: [P - 12, P - 12], takes the coefficients of a face to those of its mirror image.

    Returns:
        float64 [..., P].

    Raises:
        ValueError: an affine map that shears, or one that mirrors without ``mirror``.

    Example:
        >>> params = np.zeros(62)
        >>> params[[0, 5, 10, 3, 7]] = 5e-4, 5e-4, 5e-4, 61, 70   # at label position (60, 50)
        >>> turned = transform_params(params, crop_affine([0, 0, 120, 120], angle=90))
        >>> turned[[3, 7]].round(9).tolist()  # now at (70, 60)
        [71.0, 60.0]
    """
    params = np.array(params, np.float64)
    linear, shift = np.asarray(affine, np.float64)[:, :2], np.asarray(affine, np.float64)[:, 2]
    determinant = np.linalg.det(linear)
    scale = np.sqrt(abs(determinant))
    if not np.allclose(linear @ linear.T, scale**2 * np.eye(2), rtol=0, atol=_SIMILARITY_TOLERANCE * scale**2):
        raise ValueError(f"transform_params: affine must turn, scale, move or mirror, but it shears: {linear.tolist()}")
    if determinant < 0 and mirror is None:
        raise ValueError("transform_params: affine mirrors, and there is no `mirror` to take the coefficients along")
    one = first_pixel(frame)
    axes = np.array([1.0, -1.0])  # D
    origin = np.array([-one, size + 1 - one])  # h
    pose = params[..., :12].reshape(*params.shape[:-1], 3, 4)
    pose[..., :2, :] = (axes[:, None] * linear * axes) @ pose[..., :2, :]
    pose[..., :2, 3] += axes * (linear @ origin + shift - origin)
    pose[..., 2, :3] *= scale
    if scale_depth:
        pose[..., 2, 3] = (pose[..., 2, 3] - one) * scale + one
    if determinant < 0:
        pose[..., 0] *= -1
        params[..., 12:] = params[..., 12:] @ np.asarray(mirror, np.float64).T
    params[..., :12] = pose.reshape(*params.shape[:-1], 12)
    return params


def resize_params(params: np.ndarray, factor: float) -> np.ndarray:
    """The label of a crop that was brought to another size, its label positions with it.

    The crop frame counts x and depth from 1, and y from below the last row, so that it needs no shift.

    Args:
        params: [..., P], not whitened.
        factor: new side over the old one.

    Returns:
        [..., P], of the same dtype.

    Example:
        >>> resize_params(np.array([1.0, 0, 0, 61, 0, 1, 0, 71, 0, 0, 1, -9]), 0.5)[[0, 3, 7, 11]].tolist()
        [0.5, 31.0, 35.5, -4.0]
    """
    resized = np.array(params)
    resized[..., :12] *= resized.dtype.type(factor)
    resized[..., [3, 11]] += resized.dtype.type(1 - factor)
    return resized
