"""Similarity transforms between point clouds whose points correspond."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Similarity", "sadrnet_alignment", "similarity_alignment"]


class Similarity(NamedTuple):
    """``x -> scale rotation x + translation``: scale [...], rotation [..., 3, 3], translation [..., 3]."""

    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """The points [..., N, 3] moved."""
        turned = np.asarray(points, np.float64) @ np.swapaxes(self.rotation, -1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]


def similarity_alignment(source: ArrayLike, target: ArrayLike) -> Similarity:
    """The similarity that brings ``source`` nearest to ``target`` in least squares, without a reflection.

    The rotation is that of least squares between the centred clouds (SciPy's ``Rotation.align_vectors``), and the scale
    ``sum (t - mean t) . R (s - mean s) / sum |s - mean s|^2``. Source: Umeyama, PAMI 1991, equations 40 to 42.

    Args:
        source: [..., N, 3], at least three points, not all in one place.
        target: [..., N, 3], the same shape.

    Returns:
        The transform; its rotation has determinant +1.

    Raises:
        ValueError: shapes that differ, values that are not finite, or a source that is one point.

    Example:
        >>> cloud = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
        >>> fit = similarity_alignment(cloud, 2 * cloud[:, [1, 2, 0]] + [5, 6, 7])
        >>> float(fit.scale.round(9)), fit.translation.round(9).tolist()
        (2.0, [5.0, 6.0, 7.0])
    """
    source, target, centred_source, centred_target = _centred(source, target, "similarity_alignment")
    rotation = _per_cloud(_rotation, centred_source, centred_target)
    turned = centred_source @ np.swapaxes(rotation, -1, -2)
    scale = (turned * centred_target).sum((-1, -2)) / np.square(centred_source).sum((-1, -2))
    return _placed(scale, rotation, source, target)


def sadrnet_alignment(source: ArrayLike, target: ArrayLike) -> Similarity:
    """The alignment of SADRNet's and DSFNet's reconstruction error, to compare with their figures.

    The scale is the ratio of the summed distances of the points to the first one; the rotation is the one of
    least squares **without** the correction of its determinant, so it may be a reflection. Neither is optimal.
    Source: the function ``cp`` in the loss of SADRNet and DSFNet; the 1e-8 of random noise that it adds is left
    out here.

    Args:
        source: [..., N, 3].
        target: [..., N, 3], the same shape.

    Raises:
        ValueError: as for :func:`similarity_alignment`.
    """
    source, target, centred_source, centred_target = _centred(source, target, "sadrnet_alignment")
    spread = [np.linalg.norm(points - points[..., :1, :], axis=-1).sum(-1) for points in (source, target)]
    rotation = _per_cloud(_orthogonal, centred_source, centred_target)
    return _placed(spread[1] / spread[0], rotation, source, target)


def _rotation(source: NDArray, target: NDArray) -> NDArray:
    from scipy.spatial.transform import Rotation

    return Rotation.align_vectors(target, source)[0].as_matrix()


def _orthogonal(source: NDArray, target: NDArray) -> NDArray:
    from scipy.linalg import orthogonal_procrustes

    return orthogonal_procrustes(source, target)[0].T


def _per_cloud(matrix: Callable[[NDArray, NDArray], NDArray], source: NDArray, target: NDArray) -> NDArray:
    """A matrix for each pair of clouds [..., N, 3], as [..., 3, 3]."""
    pairs = zip(*(points.reshape(-1, *points.shape[-2:]) for points in (source, target)), strict=True)
    return np.array([matrix(*pair) for pair in pairs]).reshape(*source.shape[:-2], 3, 3)


def _placed(scale: NDArray, rotation: NDArray, source: NDArray, target: NDArray) -> Similarity:
    """The transform that also takes the centre of ``source`` to that of ``target``."""
    turned = (rotation @ source.mean(-2)[..., None])[..., 0]
    return Similarity(scale, rotation, target.mean(-2) - scale[..., None] * turned)


def _centred(source: ArrayLike, target: ArrayLike, caller: str) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim < 2 or source.shape[-1] != 3 or source.shape[-2] < 3:
        raise ValueError(
            f"{caller}: source and target must be [..., N, 3] alike with N of 3 or more, "
            f"got {list(source.shape)} and {list(target.shape)}"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError(f"{caller}: source and target must be finite")
    centred = [points - points.mean(-2, keepdims=True) for points in (source, target)]
    if not np.square(centred[0]).sum((-1, -2)).all():
        raise ValueError(f"{caller}: all points of a source coincide")
    return source, target, *centred
