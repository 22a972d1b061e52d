"""Heads from points on portraits: a scaled orthographic camera, identity and expression, by ridge regression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frnet.datasets.faces.head import Head

__all__ = ["FACE_MESH_68", "Fit", "fit_head", "is_a_knee"]

# The points of MediaPipe's face mesh that are the 68 landmarks in the manner of Multi-PIE.
FACE_MESH_68 = np.array([
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336, 296,
    334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61,
    39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
])  # fmt: skip

_IDENTITIES = 40  # as many as 68 points can tell
_RIDGE = 0.2
_JAW, _BRIDGE = 0.05, 0.6  # weights: the mesh's outline is no jaw line, its bridge of the nose is vague
_ROUNDS = 10


class Fit(NamedTuple):
    """A head in a picture: pixels are ``scale (R v)_xy + offset`` with y up.

    Attributes:
        rotation: [3, 3].
        scale: pixels per centimetre.
        offset: [2].
        coefficients: [C] of the head.
        error: mean distance of the inner landmarks, by the root of the face's area.
    """

    rotation: np.ndarray
    scale: float
    offset: np.ndarray
    coefficients: np.ndarray
    error: float

    @property
    def yaw(self) -> float:
        """Degrees to the viewer's right."""
        return float(np.degrees(np.arcsin(np.clip(self.rotation[0, 2], -1, 1))))

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """Pixels [..., 2], y down."""
        return (self.scale * vertices @ self.rotation[:2].T + self.offset) * [1.0, -1.0]


def fit_head(head: Head, points: np.ndarray) -> Fit:
    """The head whose landmarks of Multi-PIE are nearest to 68 points of a picture [68, 2]."""
    own = head.points[68:136]
    expressions = len(head.names)
    used = np.concatenate([np.arange(_IDENTITIES), head.identities + np.arange(expressions)])
    modes = head.modes.reshape(len(head.modes), -1, 3)[used][:, own].transpose(1, 2, 0).astype(np.float64)
    base = head.neutral[own].astype(np.float64)
    weight = np.ones(68)
    weight[:17], weight[27:31] = _JAW, _BRIDGE
    wanted = points * [1.0, -1.0]
    alpha = np.zeros(len(used))
    share = weight / weight.sum()
    for _ in range(_ROUNDS):
        face = base + modes @ alpha
        middle, target = share @ face, share @ wanted
        root = np.sqrt(share)[:, None]
        linear = np.linalg.lstsq(root * (face - middle), root * (wanted - target), rcond=None)[0].T
        left, values, right = np.linalg.svd(linear, full_matrices=False)
        turn, scale = left @ right, values.mean()
        offset = target - scale * turn @ middle
        left_over = (wanted - offset) / scale - base @ turn.T
        rows = np.einsum("ij,kjm->kim", turn, modes).reshape(136, -1)
        weighted = rows * np.repeat(weight, 2)[:, None]
        alpha = np.linalg.solve(weighted.T @ rows + _RIDGE * np.eye(len(used)), weighted.T @ left_over.reshape(-1))
        alpha[:_IDENTITIES] = alpha[:_IDENTITIES].clip(-2.5, 2.5)
        alpha[_IDENTITIES:] = alpha[_IDENTITIES:].clip(-0.2, 1.2)
    rotation = np.stack([*turn, np.cross(*turn)])
    coefficients = np.zeros(head.identities + expressions)
    coefficients[used] = alpha
    found = Fit(rotation, float(scale), offset, coefficients, 0.0)
    off = np.linalg.norm(found.project(base + modes @ alpha) - points, axis=1)[17:].mean()
    return found._replace(error=float(off / np.sqrt(np.ptp(points, axis=0).prod())))


def is_a_knee(name: str, box: np.ndarray) -> bool:
    """Whether MediaPipe took a knee for a face in this picture: of whole bodies, what lies low."""
    return "posture" in name and box[1] > 600
