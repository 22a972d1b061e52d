"""Normalised mean error of landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["nme_percent"]


def nme_percent(
    prediction: ArrayLike, truth: ArrayLike, *, visible: ArrayLike | None = None, box: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Mean distance of the landmarks in the image plane, over the size of the true face.

    ``100 mean_k |(x, y)_k - truth_k| / sqrt(w h)``, w and h the sides of the box around the true landmarks, as
    3DDFA's evaluation on AFLW2000-3D computes it and the published tables have it.

    Args:
        prediction: [..., K, 2 or 3], pixels; a third coordinate is not looked at.
        truth: [..., K, 2 or 3], pixels, the same leading dimensions.
        visible: bool [..., K], the landmarks that count; all of them by default.
        box: [..., M, 2 or 3], pixels, points whose bounding box gives w and h; ``truth`` by default. On AFLW
            they are 68 fitted landmarks, while 21 annotated ones are compared.

    Returns:
        float64 [...], percent.

    Raises:
        ValueError: shapes that differ, true landmarks that span no area, or a face with none visible.

    Example:
        >>> truth = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
        >>> float(nme_percent(truth + [0.3, 0.4], truth).round(9))
        5.0
    """
    prediction, truth = (np.asarray(points, np.float64)[..., :2] for points in (prediction, truth))
    if prediction.shape != truth.shape or prediction.ndim < 2 or prediction.shape[-1] != 2:
        raise ValueError(
            "nme_percent: prediction and truth must be [..., K, 2 or 3] with the same K and leading dimensions, "
            f"got {list(prediction.shape)} and {list(truth.shape)}"
        )
    area = np.ptp(truth if box is None else np.asarray(box, np.float64)[..., :2], axis=-2).prod(axis=-1)
    if not (area > 0).all():
        raise ValueError("nme_percent: the true landmarks span no area")
    distance = np.linalg.norm(prediction - truth, axis=-1)
    if visible is None:
        return 100 * distance.mean(axis=-1) / np.sqrt(area)
    visible = np.asarray(visible, bool)
    if visible.shape != distance.shape:
        raise ValueError(f"nme_percent: visible must be {list(distance.shape)}, got {list(visible.shape)}")
    if not visible.any(axis=-1).all():
        raise ValueError("nme_percent: a face has no visible landmark")
    return 100 * distance.mean(axis=-1, where=visible) / np.sqrt(area)
