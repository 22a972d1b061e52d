"""Cutting a face out of an image, and the form in which a network takes it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from frnet.geometry.roi import require_roi

__all__ = ["crop", "normalize"]

# Largest padded cut-out that is made before resizing. Above it the pixels that bilinear sampling needs are
# gathered directly, so that memory depends on the output's size only.
_LARGEST_CUT = 2**24


def crop(image: Any, roi: Any, size: int = 120) -> np.ndarray:
    """The roi of an image, black where it leaves the image, resized to ``size`` x ``size``.

    The corners are rounded (halves to even), the cut-out spans ``x0 <= x < x1``, and OpenCV's INTER_LINEAR
    resizes it without anti-aliasing, as 3DDFA_V2's ``crop_img`` and ``cv2.resize`` do. A cut-out above 2**24
    pixels is never made; its samples are taken from the image itself, within one grey level of the same.

    Args:
        image: [H, W, 3], uint8 or float32, any channel order.
        roi: [4] or [n, 4], (x0, y0, x1, y1) in pixels of the image.
        size: side of the result.

    Returns:
        [size, size, 3] for one roi, [n, size, size, 3] for several; dtype of the image.

    Raises:
        ValueError: another shape or dtype, an empty image, NaN in the roi, a roi without a pixel, or one that
            lies outside the image.

    Example:
        >>> image = np.full((100, 80, 3), 255, np.uint8)
        >>> face = crop(image, [-20, 0, 60, 80])
        >>> face.shape, int(face[60, 10, 0]), int(face[60, 60, 0])
        ((120, 120, 3), 0, 255)
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"crop: image must be [H, W, 3], uint8 or float32, not empty, got {list(image.shape)} {image.dtype}"
        )
    if size < 1:
        raise ValueError(f"crop: size must be at least 1, got {size}")
    height, width = image.shape[:2]
    roi = require_roi(roi, width, height)
    if roi.ndim > 2:
        raise ValueError(f"crop: roi must be [4] or [n, 4], got {list(roi.shape)}")
    corners = np.rint(roi).astype(np.int64).reshape(-1, 4)
    faces = np.empty((len(corners), size, size, 3), image.dtype)
    for face, (x0, y0, x1, y1) in zip(faces, corners.tolist(), strict=True):
        if (x1 - x0) * (y1 - y0) > _LARGEST_CUT:
            face[:] = _sample(image, x0, y0, x1, y1, size)
            continue
        cut = np.zeros((y1 - y0, x1 - x0, 3), image.dtype)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        cut[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
        face[:] = cv2.resize(cut, (size, size), interpolation=cv2.INTER_LINEAR)
    return faces[0] if roi.ndim == 1 else faces


def _sample(image: np.ndarray, x0: int, y0: int, x1: int, y1: int, size: int) -> np.ndarray:
    """Bilinear samples of the padded cut-out at the places where cv2.resize takes them."""
    rows, row_weights = _taps(y0, y1, image.shape[0], size)
    columns, column_weights = _taps(x0, x1, image.shape[1], size)
    taps = image[rows[:, :, None, None], columns[None, None]].astype(np.float64)  # [size, 2, size, 2, 3]
    values = np.einsum("ya,xb,yaxbc->yxc", row_weights, column_weights, taps)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8) if image.dtype == np.uint8 else values


def _taps(start: int, end: int, extent: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image indices [size, 2] along one axis, and their weights; zero weight where there is no image."""
    place = (np.arange(size) + 0.5) * ((end - start) / size) - 0.5
    low = np.floor(place)
    weights = np.stack([1 - (place - low), place - low], -1)
    cut_index = np.clip(np.stack([low, low + 1], -1).astype(np.int64), 0, end - start - 1)
    index = cut_index + start
    return np.clip(index, 0, extent - 1), np.where((index >= 0) & (index < extent), weights, 0.0)


def normalize(crops: Any, mean: float = 127.5, scale: float = 128.0) -> np.ndarray:
    """What a network takes: ``(x - mean) / scale``, channels first.

    The channel order is kept; the networks of this family are trained on BGR, as OpenCV reads it. Source:
    3DDFA ``utils/ddfa.py``.

    Args:
        crops: [H, W, 3] or [n, H, W, 3], 0 to 255, BGR; or a sequence of [H, W, 3].
        mean: taken from every sample; 3DDFA's by default, as ``scale``.
        scale: what is left is divided by it.

    Returns:
        float32 [n, 3, H, W], contiguous; by default in [-0.996, 0.996].

    Raises:
        ValueError: another shape.

    Example:
        >>> normalize(np.full((120, 120, 3), 255, np.uint8)).shape
        (1, 3, 120, 120)
    """
    crops = np.asarray(crops)
    if crops.ndim == 3:
        crops = crops[None]
    if crops.ndim != 4 or crops.shape[3] != 3:
        raise ValueError(f"normalize: crops must be [H, W, 3] or [n, H, W, 3], got {list(crops.shape)}")
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    planes -= np.float32(mean)
    planes *= np.float32(1 / scale)
    return planes
