"""Errors of dense meshes: alignment in the image, and shape after alignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frnet.geometry.procrustes import sadrnet_alignment, similarity_alignment

__all__ = ["dense_nme_percent", "reconstruction_nme_percent"]

_ALIGNMENTS = {"umeyama": similarity_alignment, "sadrnet": sadrnet_alignment}


def dense_nme_percent(
    prediction: ArrayLike, truth: ArrayLike, dims: Literal[2, 3] = 3, subset: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Mean distance of corresponding vertices in the image, over the size of the true face.

    ``100 mean_i |v_i - t_i| / sqrt(w h)`` over x, y and z or over x and y alone; w and h are the sides of the box
    around the true vertices. As depth has no origin in one picture, the mean z is subtracted from both sides.
    ``subset`` is taken first: the means of z and the box are those of the subset. Source: SADRNet and DSFNet,
    ``NME`` and ``NME2D`` of their loss, there on the 43,867 points of a mask in UV space.

    Args:
        prediction: [..., V, 3] (or 2 where dims is 2), image pixels, z in pixels too.
        truth: [..., V, 3 or 2], the same mesh in the same frame.
        dims: 2 or 3.
        subset: indices [S] of the vertices to compare; all by default. Those of the 68 landmarks give the
            ``KptNME`` of the same sources.

    Returns:
        float64 [...], percent.

    Raises:
        ValueError: another ``dims``, shapes that differ, indices that there are not, values that are not
            finite, or a true face that spans no area.

    Example:
        >>> truth = np.array([[0.0, 0, 5], [10, 0, 5], [0, 10, 5], [10, 10, 9]])
        >>> float(dense_nme_percent(truth + [0.3, 0.4, 100], truth).round(9))
        5.0
    """
    if dims not in (2, 3):
        raise ValueError(f"dense_nme_percent: dims must be 2 or 3, got {dims}")
    prediction, truth, shape = _meshes(prediction, truth, dims, "dense_nme_percent")
    chosen = _subset(subset, truth.shape[1], "dense_nme_percent")
    errors = [_distance_in_image(p[chosen], t[chosen], dims) for p, t in _pairs(prediction, truth, "dense_nme_percent")]
    return np.array(errors, np.float64).reshape(shape)


def reconstruction_nme_percent(
    prediction: ArrayLike,
    truth: ArrayLike,
    outer_eyes: Sequence[int],
    subset: ArrayLike | None = None,
    alignment: Literal["umeyama", "sadrnet"] = "umeyama",
) -> NDArray[np.float64]:
    """Mean distance of corresponding vertices after a similarity alignment, over the distance of the eyes.

    ``100 mean_i |A(v_i) - t_i| / |t_36 - t_45|``: A is fitted on the compared vertices themselves, the denominator
    is the distance in 3D between the outer corners of the true eyes, landmarks 36 and 45 counting from 0.

    Args:
        prediction: [..., V, 3], any unit.
        truth: [..., V, 3], the same mesh, any unit.
        outer_eyes: indices of the two vertices that are landmarks 36 and 45, in the whole mesh.
        subset: indices [S] of the vertices to align and compare; all by default.
        alignment: ``"umeyama"``: the similarity of least squares with a proper rotation
            (:func:`similarity_alignment`). ``"sadrnet"``: what SADRNet's and DSFNet's published figures were
            taken with (:func:`sadrnet_alignment`).

    Returns:
        float64 [...], percent.

    Raises:
        ValueError: another ``alignment``, shapes that differ, indices that there are not, values that are not
            finite, or eyes in one place.

    Example:
        >>> truth = np.random.default_rng(0).normal(size=(10, 3))
        >>> turned = 7 * truth @ np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]) + 5
        >>> bool(reconstruction_nme_percent(turned, truth, (0, 1)) < 1e-10)
        True
    """
    if alignment not in _ALIGNMENTS:
        raise ValueError(f"reconstruction_nme_percent: alignment must be umeyama or sadrnet, got {alignment!r}")
    prediction, truth, shape = _meshes(prediction, truth, 3, "reconstruction_nme_percent")
    left, right = _subset(outer_eyes, truth.shape[1], "reconstruction_nme_percent", count=2, name="outer_eyes")
    chosen = _subset(subset, truth.shape[1], "reconstruction_nme_percent")
    align, errors = _ALIGNMENTS[alignment], []
    for p, t in _pairs(prediction, truth, "reconstruction_nme_percent"):
        eyes = np.linalg.norm(t[left] - t[right])
        if eyes == 0:
            raise ValueError("reconstruction_nme_percent: the true outer eye corners lie in one place")
        aligned = align(p[chosen], t[chosen]).apply(p[chosen])
        errors.append(100 * np.linalg.norm(aligned - t[chosen], axis=-1).mean() / eyes)
    return np.array(errors, np.float64).reshape(shape)


def _distance_in_image(prediction: NDArray, truth: NDArray, dims: int) -> float:
    area = np.ptp(truth[:, :2], axis=0).prod()
    if not area > 0:
        raise ValueError("dense_nme_percent: the true vertices span no area")
    difference = prediction[:, :dims] - truth[:, :dims]
    if dims == 3:
        difference[:, 2] -= difference[:, 2].mean()
    return 100 * np.linalg.norm(difference, axis=-1).mean() / np.sqrt(area)


def _meshes(prediction: ArrayLike, truth: ArrayLike, dims: int, caller: str) -> tuple[NDArray, NDArray, tuple]:
    """Both as [n, V, ...], and the leading shape; nothing is copied, as meshes are large."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if (
        prediction.ndim < 2
        or truth.ndim < 2
        or prediction.shape[:-1] != truth.shape[:-1]
        or not all(dims <= array.shape[-1] <= 3 for array in (prediction, truth))
    ):
        raise ValueError(
            f"{caller}: prediction and truth must be [..., V, {'2 or 3' if dims == 2 else 3}] with the same V and "
            f"leading dimensions, got {list(prediction.shape)} and {list(truth.shape)}"
        )
    flat = [array.reshape(-1, *array.shape[-2:]) for array in (prediction, truth)]
    return *flat, truth.shape[:-2]


def _pairs(prediction: NDArray, truth: NDArray, caller: str) -> Iterator[tuple[NDArray, NDArray]]:
    """One face at a time in float64."""
    for index, pair in enumerate(zip(prediction, truth, strict=True)):
        for name, mesh in zip(("prediction", "truth"), pair, strict=True):
            if not np.isfinite(mesh).all():
                raise ValueError(f"{caller}: {name} of face {index} holds values that are NaN or infinite")
        yield pair[0].astype(np.float64), pair[1].astype(np.float64)


def _subset(indices: ArrayLike | None, vertices: int, caller: str, count: int | None = None, name: str = "subset"):
    if indices is None:
        return slice(None)
    indices = np.asarray(indices)
    if indices.ndim != 1 or not len(indices) or indices.dtype.kind not in "iu" or count not in (None, len(indices)):
        wanted = "at least one index" if count is None else f"{count} indices"
        raise ValueError(f"{caller}: {name} must hold {wanted}, got {indices.dtype} {list(indices.shape)}")
    if indices.min() < 0 or indices.max() >= vertices:
        raise ValueError(f"{caller}: {name} must lie in 0 to {vertices - 1}, got {indices.min()} to {indices.max()}")
    return indices
