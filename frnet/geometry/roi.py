"""Region of interest (roi) of a face: [x0, y0, x1, y1] in image pixels, usually square.

It may reach beyond the image; what lies outside is black in the crop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "benchmark_roi",
    "clamp_roi",
    "require_roi",
    "roi_from_box",
    "roi_from_landmarks",
    "roi_from_landmarks_benchmark",
    "roi_is_valid",
]

# Beyond this a coordinate is a mistake, and integer arithmetic on it would not be safe everywhere.
_LARGEST = 2.0**30


def roi_from_landmarks(points: Any) -> np.ndarray:
    """Square roi about the bounding box of landmarks, sqrt(2) times its longer side.

    ``c`` = centre of the bounding box, ``l = sqrt(2) max(w, h)``, ``roi = [c - l/2, c + l/2]``.
    Source: 3DDFA and 3DDFA_V2, ``parse_roi_box_from_landmark``.

    Args:
        points: [..., N, 2 or 3] in image pixels, one point per row; a third coordinate is ignored.

    Returns:
        roi [..., 4], float64, not rounded.

    Raises:
        ValueError: another shape, NaN, or points that all coincide.

    Example:
        >>> roi_from_landmarks([[10, 20], [30, 40]]).round(3).tolist()
        [5.858, 15.858, 34.142, 44.142]
    """
    low, high = _bounds(points, "roi_from_landmarks")
    side = np.sqrt(2.0) * (high - low).max(-1, keepdims=True)
    if not (side > 0).all():
        raise ValueError("roi_from_landmarks: all points of a face coincide, so its roi would be empty")
    centre = (low + high) / 2
    return np.concatenate([centre - side / 2, centre + side / 2], -1)


def roi_from_landmarks_benchmark(points: Any) -> np.ndarray:
    """The roi of 3DDFA's published benchmark crops: as :func:`roi_from_landmarks`, then rounded.

    ``x0, y0`` are rounded, the side is added to them, and the sum is rounded again; halves go away from
    zero, as in MATLAB. The published file holds ``clamp_roi`` of this, in coordinates that count from 1.
    Source: 3DDFA ``benchmark/ImageROI.m``.

    Args:
        points: [..., N, 2 or 3], one point per row, in the frame that the roi is to be in.

    Returns:
        roi [..., 4], whole numbers in float64.

    Raises:
        ValueError: as for :func:`roi_from_landmarks`.

    Example:
        >>> roi_from_landmarks_benchmark([[10, 20], [30, 40]]).tolist()
        [6.0, 16.0, 34.0, 44.0]
    """
    roi = roi_from_landmarks(points)
    corner = _round_half_away(roi[..., :2])
    return np.concatenate([corner, _round_half_away(corner + (roi[..., 2:] - roi[..., :2]))], -1)


def benchmark_roi(points: Any, rule: str, width: int, height: int) -> np.ndarray:
    """The crop that true landmarks give, by one of the two rules under which results are published.

    Args:
        points: [..., N, 2 or 3], as published: counting from 1.
        rule: ``"exact"``: :func:`roi_from_landmarks`. ``"3ddfa-compat"``: :func:`roi_from_landmarks_benchmark` cut
            off at the image border by :func:`clamp_roi`, as in 3DDFA's ``AFLW2000-3D_crop.roi_box.npy``; for the
            few faces near a border it is not quite square.
        width: image width, pixels.
        height: image height, pixels.

    Returns:
        roi [..., 4], float64.

    Raises:
        ValueError: another rule, or as for :func:`roi_from_landmarks`.

    Example:
        >>> benchmark_roi([[10, 20], [30, 40]], "3ddfa-compat", 450, 40).tolist()
        [6.0, 16.0, 34.0, 40.0]
    """
    if rule == "exact":
        return roi_from_landmarks(points)
    if rule == "3ddfa-compat":
        return clamp_roi(roi_from_landmarks_benchmark(points), width, height)
    raise ValueError(f"benchmark_roi: roi must be 'exact' or '3ddfa-compat', got {rule!r}")


def roi_from_box(box: Any) -> np.ndarray:
    """Square roi from a face detector's box: 1.58 times its size, moved down by 0.14 of it.

    ``s = (w + h) / 2``, centre ``(x1 - w/2, y1 - h/2 + 0.14 s)``, side ``int(1.58 s)``. The constants are
    empirical, made for boxes that reach from the brows to the chin. Source: 3DDFA and 3DDFA_V2,
    ``parse_roi_box_from_bbox``, after PRNet.

    Args:
        box: [..., 4], [x0, y0, x1, y1] in image pixels.

    Returns:
        roi [..., 4], float64.

    Raises:
        ValueError: another shape, NaN, or a box without area.

    Example:
        >>> roi_from_box([100, 100, 200, 220]).tolist()
        [63.5, 88.9, 236.5, 261.9]
    """
    box = _four(box, "roi_from_box", "box")
    width, height = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
    if not ((width > 0) & (height > 0)).all():
        raise ValueError(f"roi_from_box: expected boxes [x0, y0, x1, y1] with x1 > x0 and y1 > y0, got {box.tolist()}")
    old = (width + height) / 2
    x = box[..., 2] - width / 2
    y = box[..., 3] - height / 2 + old * 0.14
    size = np.trunc(old * 1.58)
    if not (size > 0).all():
        raise ValueError(f"roi_from_box: expected boxes of a pixel or more, got {box.tolist()}")
    x0, y0 = x - size / 2, y - size / 2
    return np.stack([x0, y0, x0 + size, y0 + size], -1)


def clamp_roi(roi: Any, width: int, height: int) -> np.ndarray:
    """The roi cut to [1, width] x [1, height], as 3DDFA's benchmark files store it.

    The published crops were padded with black and cover the whole roi, but the roi written down beside them
    is this one. Mapping landmarks back with it reproduces the published figures; mapping them back with the
    whole roi is right (AFLW2000-3D: 55 of 2000 images differ).

    Args:
        roi: [..., 4], in coordinates that count from 1.
        width: image width, pixels.
        height: image height, pixels.

    Returns:
        roi [..., 4], float64.

    Raises:
        ValueError: another shape or NaN.

    Example:
        >>> clamp_roi([-20, 30, 400, 450], 450, 440).tolist()
        [1.0, 30.0, 400.0, 440.0]
    """
    roi = _four(roi, "clamp_roi", "roi")
    return np.clip(roi, 1.0, np.array([width, height, width, height], np.float64))


def roi_is_valid(roi: Any, width: int | None = None, height: int | None = None) -> np.ndarray:
    """Whether a roi can be cropped: finite, at least a pixel wide and high once rounded, touching the image.

    Args:
        roi: [..., 4].
        width: image width; without it and ``height`` the image is not looked at.
        height: image height.

    Returns:
        bool [...] (a NumPy bool for one roi).

    Raises:
        ValueError: the last dimension is not 4.

    Example:
        >>> roi_is_valid([[0, 0, 9, 9], [5, 5, 5, 9], [200, 0, 210, 9]], 100, 100).tolist()
        [True, False, False]
    """
    roi = np.asarray(roi, np.float64)
    if roi.ndim == 0 or roi.shape[-1] != 4:
        raise ValueError(f"roi_is_valid: roi must be [..., 4] (x0, y0, x1, y1), got {list(roi.shape)}")
    with np.errstate(invalid="ignore"):
        finite = (np.abs(roi) < _LARGEST).all(-1)
        x0, y0, x1, y1 = np.moveaxis(np.rint(np.where(finite[..., None], roi, 0.0)), -1, 0)
    valid = finite & (x1 > x0) & (y1 > y0)
    if width is not None:
        valid &= (x1 > 0) & (x0 < width)
    if height is not None:
        valid &= (y1 > 0) & (y0 < height)
    return valid


def require_roi(roi: Any, width: int | None = None, height: int | None = None) -> np.ndarray:
    """The roi as float64, or an error that says what is wrong with it.

    Args:
        roi: [..., 4].
        width: image width; without it and ``height`` the image is not looked at.
        height: image height.

    Returns:
        roi [..., 4], float64.

    Raises:
        ValueError: NaN, a side below one pixel, or a roi that lies outside the image.

    Example:
        >>> require_roi([0, 0, 10, 10]).tolist()
        [0.0, 0.0, 10.0, 10.0]
    """
    roi = _four(roi, "roi", "roi")
    for one in roi.reshape(-1, 4):
        if not roi_is_valid(one):
            raise ValueError(
                f"roi: expected [x0, y0, x1, y1] in pixels, at least one pixel wide and high, got {one.tolist()}"
            )
        if not roi_is_valid(one, width, height):
            raise ValueError(f"roi: {one.tolist()} lies outside the image of {width}x{height} pixels")
    return roi


def _four(values: Any, caller: str, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim == 0 or values.shape[-1] != 4:
        raise ValueError(f"{caller}: {name} must be [..., 4] (x0, y0, x1, y1), got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{caller}: {name} must be finite, got {values.tolist()}")
    return values


def _bounds(points: Any, caller: str) -> tuple[np.ndarray, np.ndarray]:
    points = np.asarray(points, np.float64)
    if points.ndim < 2 or points.shape[-1] not in (2, 3) or points.shape[-2] == 0:
        raise ValueError(
            f"{caller}: points must be [..., N, 2] or [..., N, 3], one point per row, got {list(points.shape)}"
        )
    xy = points[..., :2]
    if not np.isfinite(xy).all():
        raise ValueError(f"{caller}: points must be finite")
    return xy.min(-2), xy.max(-2)


def _round_half_away(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.floor(np.abs(values) + 0.5)
