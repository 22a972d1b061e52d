"""Where the field's 68 landmarks lie on ICT-FaceKit's surface.

ICT-FaceKit brings 68 landmarks of its own, in the manner of Multi-PIE. Those of 300W-LP and AFLW2000-3D are vertices of
another model: their jaw line lies at the edge of jaw and neck, their brows further in, the bridge of the nose lower,
the inner lips outside the line where the lips meet. Places of the landmarks on that model's mean face are published
(3DDFA, MIT). ICT's face is bent until it is that mean face, and the places are read off; what is taken over is where 68
points lie, nothing of the other model's statistics.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from builtin_face.mesh import closest
from frnet.morphable import LANDMARK_MIRROR

__all__ = ["landmark_targets"]

_ANCHORS = np.array([36, 39, 42, 45, 30, 33, 48, 54, 51, 57, 62, 66])  # the same places by anatomy
_ROUNDS = 25
_RIDGE, _ANCHOR_WEIGHT = 8.0, 3.0
_FLIP = np.array([-1.0, 1.0, 1.0])


def landmark_targets(
    landmark_basis: Path, grid: Path, points: np.ndarray, identity: np.ndarray, triangles: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Places of the 68 landmarks on the neutral face, float64 [68, 3], symmetric.

    Args:
        landmark_basis: 3DDFA's folder with ``u_base.txt``, the landmarks of its mean face.
        grid: ``bfm_grid64_basis.npz``, 4096 more points of the same face.
        points: [N, 3], the neutral face; its outer skin alone.
        identity: [S, N, 3].
        triangles: [T, 3].
        own: ICT's 68 landmarks, vertex numbers.
    """
    wanted = np.loadtxt(landmark_basis / "u_base.txt").reshape(-1, 3) / 1e4
    wanted = (wanted + wanted[LANDMARK_MIRROR] * _FLIP) / 2
    with np.load(grid) as stored:
        surface = stored["mean"].reshape(-1, 3) / 1e4
    surface = np.concatenate([surface, surface * _FLIP])
    anchors = own[_ANCHORS]
    scale, rotation, offset = _similarity(wanted[27:], points[own[27:]])
    bent = points
    for step in range(_ROUNDS):
        seen = scale * surface @ rotation.T + offset
        marks = scale * wanted @ rotation.T + offset
        distance, nearest = cKDTree(bent).query(seen)
        near = distance < max(0.5, 1.5 - 0.1 * step)  # centimetres
        nearest, weight = nearest[near], 1 / np.sqrt(1 + (distance[near] / 0.3) ** 2)
        normal = _vertex_normals(bent, triangles)[nearest] * weight[:, None]
        rows = np.einsum("knc,nc->nk", identity[:, nearest], normal)
        right = ((seen[near] - points[nearest]) * normal).sum(1)
        pins = identity[:, anchors].reshape(len(identity), -1).T * _ANCHOR_WEIGHT
        pulled = (marks[_ANCHORS] - points[anchors]).reshape(-1) * _ANCHOR_WEIGHT
        rows, right = np.concatenate([rows, pins]), np.concatenate([right, pulled])
        bending = np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(len(identity)), rows.T @ right)
        bent = points + np.tensordot(bending, identity, 1)
        distance, nearest = cKDTree(bent).query(seen)
        near = distance < 0.6
        ours = np.concatenate([bent[nearest[near]], np.repeat(bent[anchors], 30, 0)])
        theirs = np.concatenate([surface[near], np.repeat(wanted[_ANCHORS], 30, 0)])
        scale, rotation, offset = _similarity(theirs, ours)
    targets = np.empty((68, 3))
    for number in range(68):
        weights, distance = closest(scale * wanted[number] @ rotation.T + offset, bent[triangles])
        triangle = distance.argmin()
        targets[number] = weights[triangle] @ points[triangles[triangle]]
    return (targets + targets[LANDMARK_MIRROR] * _FLIP) / 2


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and offset (Umeyama, PAMI 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    left, values, right = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = left * signs @ right
    scale = (values * signs).sum() / (a * a).sum()
    return scale, rotation, target_mean - scale * rotation @ source_mean


def _vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    summed = np.zeros_like(points)
    for corner in range(3):
        np.add.at(summed, triangles[:, corner], across)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
