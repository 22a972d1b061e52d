"""From the crop that a network sees to the image, and back.

The crop frame is that of 3DDFA: ``size`` pixels wide, counting from 1, x right, y up, z towards the viewer.
It is what ``f R S + t`` gives. Image pixels count from 0, x right, y down, z towards the viewer. These
functions are the one place where the two meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from frnet.geometry.roi import require_roi

__all__ = ["crop_to_image", "crop_to_image_3ddfa_v1", "image_to_crop"]


def crop_to_image(vertices: Any, roi: Any, size: int = 120, *, z_origin: Any = 0.0) -> np.ndarray:
    """Crop frame to image pixels.

    ``x = (x' - 1) s_x + x0``, ``y = (size - y') s_y + y0``, ``z = (z' - 1) (s_x + s_y) / 2 - z_origin``, with
    ``s_x = (x1 - x0) / size`` and ``s_y`` alike. Source: 3DDFA_V2 ``similar_transform``, except that 3DDFA_V2
    also subtracts each result's own smallest z; give that as ``z_origin``, the same one for the landmarks and
    the mesh of a face, where depth is to start at 0.

    Args:
        vertices: [..., N, 3] in the crop frame.
        roi: [..., 4], the box that was cropped; leading dimensions broadcast against those of ``vertices``.
        size: side of the crop, pixels.
        z_origin: image depth that becomes 0; a number, or [...] one per face.

    Returns:
        float64 [..., N, 3] in image pixels, depth in the same unit.

    Raises:
        ValueError: another shape, or a roi that is not valid.

    Example:
        >>> crop_to_image([[1.0, 120.0, 1.0]], [10, 20, 250, 260]).tolist()
        [[10.0, 20.0, 0.0]]
    """
    vertices, scale, corner = _frame(vertices, roi, size, "crop_to_image")
    x, y, z = np.moveaxis(vertices, -1, 0)
    depth = scale.mean(-1)
    origin = np.asarray(z_origin, np.float64)[..., None]
    return np.stack(
        [
            (x - 1) * scale[..., 0] + corner[..., 0],
            (size - y) * scale[..., 1] + corner[..., 1],
            (z - 1) * depth - origin,
        ],
        -1,
    )


def image_to_crop(points: Any, roi: Any, size: int = 120, *, z_origin: Any = 0.0) -> np.ndarray:
    """Image pixels to the crop frame; the exact inverse of :func:`crop_to_image`.

    Args:
        points: [..., N, 3] in image pixels, counting from 0.
        roi: [..., 4].
        size: side of the crop, pixels.
        z_origin: what :func:`crop_to_image` was given.

    Returns:
        float64 [..., N, 3] in the crop frame.

    Raises:
        ValueError: another shape, or a roi that is not valid.

    Example:
        >>> image_to_crop([[10.0, 20.0, 0.0]], [10, 20, 250, 260]).tolist()
        [[1.0, 120.0, 1.0]]
    """
    points, scale, corner = _frame(points, roi, size, "image_to_crop")
    x, y, z = np.moveaxis(points, -1, 0)
    origin = np.asarray(z_origin, np.float64)[..., None]
    return np.stack(
        [
            (x - corner[..., 0]) / scale[..., 0] + 1,
            size - (y - corner[..., 1]) / scale[..., 1],
            (z + origin) / scale.mean(-1) + 1,
        ],
        -1,
    )


def crop_to_image_3ddfa_v1(vertices: Any, roi: Any, size: int = 120) -> np.ndarray:
    """Crop frame to image pixels as 3DDFA's first version and its benchmark do it; **counts from 1**.

    ``x = x' s_x + x0``, ``y = (size + 1 - y') s_y + y0``, ``z = z' (s_x + s_y) / 2``, with a roi that counts
    from 1 too. In the same pixels, :func:`crop_to_image` lies one *crop* pixel up and to the left of it.
    Published landmarks (``pts68``) and roi boxes of AFLW2000-3D count from 1, so this one compares with them
    directly. Source: 3DDFA ``reconstruct_vertex``, ``_predict_vertices``.

    Args:
        vertices: [..., N, 3] in the crop frame.
        roi: [..., 4], counting from 1.
        size: side of the crop, pixels.

    Returns:
        float64 [..., N, 3] in image pixels that count from 1.

    Raises:
        ValueError: another shape, or a roi that is not valid.

    Example:
        >>> crop_to_image_3ddfa_v1([[1.0, 120.0, 1.0]], [10, 20, 250, 260]).tolist()
        [[12.0, 22.0, 2.0]]
    """
    vertices, scale, corner = _frame(vertices, roi, size, "crop_to_image_3ddfa_v1")
    x, y, z = np.moveaxis(vertices, -1, 0)
    return np.stack(
        [
            x * scale[..., 0] + corner[..., 0],
            (size + 1 - y) * scale[..., 1] + corner[..., 1],
            z * scale.mean(-1),
        ],
        -1,
    )


def _frame(points: Any, roi: Any, size: int, caller: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, and the roi's scale and corner as [..., 1, 2]."""
    points = np.asarray(points, np.float64)
    if points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(f"{caller}: points must be [..., N, 3], one point per row, got {list(points.shape)}")
    if size < 1:
        raise ValueError(f"{caller}: size must be at least 1, got {size}")
    roi = require_roi(roi)[..., None, :]
    return points, (roi[..., 2:] - roi[..., :2]) / size, roi[..., :2]
