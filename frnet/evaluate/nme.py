"""Normalised mean error of landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["nme"]


def nme(
    prediction: ArrayLike, truth: ArrayLike, *, visible: ArrayLike | None = None, box: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Mean distance of the landmarks in the image plane, over the size of the true face.

    ``mean_k |(x, y)_k - truth_k| / sqrt(w h)``, w and h the sides of the box around the true landmarks, as
    3DDFA's evaluation on AFLW2000-3D computes it. Times 100 it is the percentage of the published tables.

    Args:
        prediction: [..., K, 2 or 3], pixels; a third coordinate is not looked at.
        truth: [..., K, 2 or 3], pixels, the same leading dimensions.
        visible: bool [..., K], the landmarks that count; all of them by default.
        box: [..., M, 2 or 3], pixels, points whose bounding box gives w and h; ``truth`` by default. On AFLW
            they are 68 fitted landmarks, while 21 annotated ones are compared.

    Returns:
        float64 [...], a fraction (not percent).

    Raises:
        ValueError: shapes that differ, true landmarks that span no area, or a face with none visible.

    Example:
        >>> truth = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
        >>> float(nme(truth + [0.3, 0.4], truth).round(9))
        0.05
    """
    prediction, truth = (np.asarray(points, np.float64)[..., :2] for points in (prediction, truth))
    if prediction.shape != truth.shape or prediction.ndim < 2 or prediction.shape[-1] != 2:
        raise ValueError(
            "nme: prediction and truth must be [..., K, 2 or 3] with the same K and leading dimensions, "
            f"got {list(prediction.shape)} and {list(truth.shape)}"
        )
    area = np.ptp(truth if box is None else np.asarray(box, np.float64)[..., :2], axis=-2).prod(axis=-1)
    if not (area > 0).all():
        raise ValueError("nme: the true landmarks span no area")
    distance = np.linalg.norm(prediction - truth, axis=-1)
    if visible is None:
        return distance.mean(axis=-1) / np.sqrt(area)
    visible = np.asarray(visible, bool)
    if visible.shape != distance.shape:
        raise ValueError(f"nme: visible must be {list(distance.shape)}, got {list(visible.shape)}")
    if not visible.any(axis=-1).all():
        raise ValueError("nme: a face has no visible landmark")
    return distance.mean(axis=-1, where=visible) / np.sqrt(area)
