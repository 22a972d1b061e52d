"""Boxes about faces as they would be if the faces stood upright."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["clockwise", "straight_box", "upright_box"]


def clockwise(degrees: Any) -> np.ndarray:
    """Rotations [..., 2, 2] that turn clockwise where y points down.

    Example:
        >>> (clockwise(90.0) @ [1, 0]).round(9).tolist()
        [0.0, 1.0]
    """
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)


def upright_box(points: Any, roll: float) -> np.ndarray:
    """Middle, width and height of the box about points in the frame of a face turned clockwise by ``roll`` degrees.

    Args:
        points: [N, 2 or more], pixels.
        roll: degrees.

    Returns:
        float64 [4]: x and y of the middle, in the picture; width and height along the face's own axes.

    Example:
        >>> upright_box([[0, 0], [4, 0], [4, 10], [0, 10]], 90.0).round(9).tolist()  # the face lies on its side
        [2.0, 5.0, 10.0, 4.0]
    """
    turn = clockwise(roll)
    upright = np.asarray(points, np.float64)[:, :2] @ turn
    low, high = upright.min(0), upright.max(0)
    return np.concatenate([turn @ (low + high) / 2, high - low])


def straight_box(boxes: Any, rolls: Any) -> np.ndarray:
    """Boxes along the picture's axes about ellipses in the boxes of :func:`upright_box`: about what landmarks take up.

    Args:
        boxes: [..., 4], x, y, width, height.
        rolls: [...], degrees.

    Returns:
        float64 [..., 4]: x0, y0, x1, y1.

    Example:
        >>> straight_box([2, 5, 10, 4], 90.0).round(9).tolist()
        [0.0, 0.0, 4.0, 10.0]
    """
    boxes = np.asarray(boxes, np.float64)
    half = np.sqrt((clockwise(rolls) ** 2 @ (boxes[..., 2:, None] / 2) ** 2)[..., 0])
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
