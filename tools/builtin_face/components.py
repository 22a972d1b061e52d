"""Few components that say most about faces, with the right scale and, for expressions, with names."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["EXPRESSIONS", "Components", "expression_components", "metric", "shape_components"]

EXPRESSIONS: dict[str, dict[str, float]] = {
    "jaw open": {"jawOpen": 1.0, "mouthLowerDown": 0.1},
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.4, "mouthDimple": 0.2},
    "pucker": {"mouthPucker": 0.7, "mouthFunnel": 0.5},
    "show teeth": {"mouthUpperUp": 0.8, "mouthLowerDown": 0.8},
    "mouth sideways": {"mouthLeft": 1.0, "mouthRight": -1.0},
    "jaw sideways": {"jawLeft": 1.0, "jawRight": -1.0},
    "brows up": {"browInnerUp": 0.8, "browOuterUp": 0.8},
    "frown": {"browDown": 1.0, "noseSneer": 0.6},
    "eyes closed": {"eyeBlink": 1.0},
    "sulk": {"mouthFrown": 1.0, "mouthShrugLower": 0.7, "mouthShrugUpper": 0.3},
}
"""What each expression component is to do, in ICT-FaceKit's blendshapes; a name without a side stands for both."""

_FLIP = np.array([-1.0, 1.0, 1.0])
_OF_LANDMARKS = 0.3  # of the metric's weight; the rest is the skin's, by area


class Components(NamedTuple):
    """Components [K, N, 3] whose coefficients have deviation 1, and how much of the variance they keep."""

    basis: np.ndarray
    kept: float


def metric(points: np.ndarray, skin: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Weights of the vertices [N], summing to 1: area of the skin around them, and more for the landmarks."""
    a, b, c = (points[skin[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    weights = np.zeros(len(points))
    for corner in range(3):
        np.add.at(weights, skin[:, corner], area)
    weights *= (1 - _OF_LANDMARKS) / weights.sum()
    weights[landmarks] += _OF_LANDMARKS / len(landmarks)
    return weights


def shape_components(
    modes: np.ndarray, points: np.ndarray, weights: np.ndarray, mirror: np.ndarray, count: int
) -> Components:
    """Principal components of faces whose ``modes`` [S, N, 3] have independent coefficients of deviation 1.

    The population is that of the faces and their mirror images, so that the components mirror too.
    """
    both = _with_mirrored(modes, mirror)
    directions, kept = _principal(both, weights, count)
    return Components(_signed(np.tensordot(directions, both, 1), points), kept)


def expression_components(
    modes: np.ndarray, coefficients: np.ndarray, weights: np.ndarray, mirror: np.ndarray, names: list[str]
) -> tuple[Components, np.ndarray]:
    """Components that span what the principal ones do, turned so that each does what its name in EXPRESSIONS says.

    A rotation of principal components of deviation 1 leaves both their span and their deviations alone, so names cost
    nothing: of all rotations, that one is taken whose components are nearest the named targets (orthogonal Procrustes).

    Args:
        modes: [E, N, 3], blendshapes.
        coefficients: [n, E], a sample of the population.
        weights: [N], see :func:`metric`.
        mirror: [N].
        names: of the blendshapes.

    Returns:
        The components, and the coefficients [K] of the population's mean face.
    """
    values, vectors = np.linalg.eigh(np.cov(coefficients.T))
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    both = _with_mirrored(np.tensordot(root, modes, 1), mirror)
    directions, kept = _principal(both, weights, len(EXPRESSIONS))
    principal = np.tensordot(directions, both, 1)
    targets = np.stack([np.tensordot(_blendshapes(target, names), modes, 1) for target in EXPRESSIONS.values()])
    places = _project(targets, principal, weights)  # [targets, K]
    left, _, right = np.linalg.svd(places / np.linalg.norm(places, axis=1, keepdims=True))
    basis = np.tensordot(left @ right, principal, 1)
    mean = np.tensordot(coefficients.mean(0), modes, 1)
    mean = (mean + mean[mirror] * _FLIP) / 2
    return Components(basis, kept), _project(mean[None], basis, weights)[0]


def _blendshapes(target: dict[str, float], names: list[str]) -> np.ndarray:
    weights = np.zeros(len(names))
    for name, value in target.items():
        for full in (name,) if name in names else (f"{name}_L", f"{name}_R"):
            weights[names.index(full)] = value
    return weights


def _with_mirrored(modes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return np.concatenate([modes, modes[:, mirror] * _FLIP]) / np.sqrt(2)


def _principal(modes: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    flat = (modes * np.sqrt(weights)[:, None]).reshape(len(modes), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    return vectors.T[::-1][:count], float(values[::-1][:count].sum() / values.sum())


def _project(faces: np.ndarray, basis: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least-squares coefficients of offsets [n, N, 3]: [n, K]."""
    root = np.sqrt(weights)[:, None]
    a = (basis * root).reshape(len(basis), -1)
    return np.linalg.solve(a @ a.T, a @ (faces * root).reshape(len(faces), -1).T).T


def _signed(basis: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Eigenvectors have no sign of their own: on the right half, what moves most moves up, right or forward."""
    flat = basis[:, points[:, 0] > 0.1].reshape(len(basis), -1)  # of both halves it would be a toss-up
    most = flat[np.arange(len(flat)), np.abs(flat).argmax(1)]
    return basis * np.sign(most)[:, None, None]
