"""Whether a face model mirrors, and how its parameters do.

A mirrored photograph of a face is a photograph of the mirrored face. A label can follow only if the model can make
every mirrored face: the vertices must pair up, and the mirrored basis must lie in the span of the basis. The Basel
Face Model's does not, quite, which is why 300W-LP brings its mirrored images with labels of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frnet.morphable import LANDMARK_MIRROR, MorphableModel

__all__ = ["Mirror", "find_mirror"]


@dataclass(frozen=True, eq=False)
class Mirror:
    """How a face model mirrors: ``F S(a)[vertices] = S(coefficients a)`` with ``F = diag(-1, 1, 1)``.

    Attributes:
        vertices: int64 [N], the vertex that lies on the other side; its own inverse.
        coefficients: float64 [S + E, S + E].
    """

    vertices: np.ndarray
    coefficients: np.ndarray


def find_mirror(morphable: MorphableModel, tolerance: float = 1e-3) -> Mirror:
    """How a model mirrors in the plane x = 0.

    Vertices are paired by their mean positions, landmarks by what they are. The coefficients' map is the least-squares
    solution of ``basis Q = F basis[vertices]``, accepted if it leaves no more than ``tolerance`` of any column's
    length.

    Args:
        morphable: with 68 landmarks.
        tolerance: of the positions as a share of the model's extent, and of the columns.

    Raises:
        ValueError: the model has no 68 landmarks, or does not mirror; says by how much.
    """
    from scipy.spatial import KDTree

    if morphable.landmarks is None or len(morphable.landmarks) != 68:
        raise ValueError(f"find_mirror: expected a model with 68 landmarks, got {morphable!r}")
    mean = morphable.mean.double().cpu().numpy().reshape(-1, 3)
    landmarks = morphable.landmarks.cpu().numpy()
    flip = np.array([-1.0, 1.0, 1.0])
    vertices = KDTree(mean).query(mean * flip)[1]
    vertices[landmarks] = landmarks[LANDMARK_MIRROR]
    distance = np.linalg.norm(mean[vertices] * flip - mean, axis=1).max() / np.ptp(mean, axis=0).max()
    if distance > tolerance or not np.array_equal(vertices[vertices], np.arange(len(mean))):
        raise ValueError(
            f"{morphable.name!r} does not mirror: its vertices do not pair up across x = 0 (off by up to "
            f"{distance:.2%} of its extent), so labels cannot follow a flipped image"
        )
    basis = morphable.basis.double().cpu().numpy()
    mirrored = (basis.reshape(len(mean), 3, -1)[vertices] * flip[:, None]).reshape(basis.shape)
    coefficients = np.linalg.lstsq(basis, mirrored, rcond=None)[0]
    lengths = np.maximum(np.linalg.norm(mirrored, axis=0), np.finfo(float).tiny)
    left = np.linalg.norm(basis @ coefficients - mirrored, axis=0) / lengths
    if (left > tolerance).any():
        raise ValueError(
            f"{morphable.name!r} does not mirror: {left.max():.1%} of its mirrored component {left.argmax()} is no "
            "face of the model, so labels cannot follow a flipped image"
        )
    return Mirror(vertices, coefficients)
