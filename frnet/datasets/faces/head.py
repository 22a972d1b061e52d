"""The head that training faces are rendered with: all of ICT-FaceKit's modes on a lighter mesh."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np

from frnet.morphable import MorphableModel
from frnet.morphable.builtin import builtin_parts
from frnet.morphable.ict_facekit import read_ict_facekit

__all__ = ["Head"]

_MIXTURES = Path(__file__).parent / "data" / "head.npz"
_DENSE = 264  # points of a label beside the landmarks, or one more
_OF_LANDMARKS = 20  # weight of a landmark against another vertex when parameters are fitted


class Head:
    """Vertices of heads from ICT-FaceKit's coefficients, and the built-in face's parameters of them.

    The first vertices and triangles are those of :meth:`frnet.morphable.MorphableModel.builtin`.

    Args:
        ict: ICT-FaceKit's model, as :func:`frnet.morphable.ict_facekit.read_ict_facekit` takes it; all of it.

    Attributes:
        neutral: float32 [V, 3], centimetres.
        modes: float32 [C, V * 3], identities before expressions.
        names: of the expressions.
        triangles: int32 [T, 3].
        parts: uint8 [V], see :func:`frnet.morphable.builtin.builtin_parts`; 0 is skin, behind the face too.
        mirror: int64 [V].
        face: the built-in face.
        points: int64 [P], the vertices that labels hold: the 68 landmarks of 300W-LP, the 68 of Multi-PIE, and some all
            over the face.

    Raises:
        ValueError: not the whole of ICT Face Model Light.
    """

    def __init__(self, ict: str | os.PathLike[str]) -> None:
        from scipy.sparse import csr_matrix

        model = read_ict_facekit(ict)
        with np.load(_MIXTURES) as stored:
            mixtures = {name: stored[name] for name in stored.files}
        count = len(mixtures["indptr"]) - 1
        identities, expressions = model["basis_shape"].shape[1], model["basis_expression"].shape[1]
        source = len(model["mean"]) // 3
        if source <= mixtures["indices"].max() or identities < 100 or expressions < 50:
            raise ValueError(
                f"{ict}: expected ICT Face Model Light with 26719 vertices, 100 identities and its expressions, got "
                f"{source} vertices, {identities} identities and {expressions} expressions"
            )
        rows = csr_matrix((mixtures["weights"], mixtures["indices"], mixtures["indptr"]), (count, source))
        self.neutral = (rows @ model["mean"].reshape(-1, 3)).astype(np.float32)
        basis = np.concatenate([model["basis_shape"], model["basis_expression"]], 1)
        self.modes = np.stack([rows @ mode.reshape(-1, 3) for mode in basis.T]).reshape(-1, 3 * count)
        self.identities = identities
        self.names = model["expression_names"]
        self.triangles = mixtures["triangles"].astype(np.int32)
        self.parts, self.mirror = mixtures["parts"], mixtures["mirror"].astype(np.int64)
        self.face_vertices = int(mixtures["face"][0])
        self.face = MorphableModel.builtin()
        self.landmarks = self.face.landmarks.numpy()
        own = MorphableModel.builtin("multi-pie").landmarks.numpy()
        self.points = np.concatenate([self.landmarks, own, self._spread_points()])

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Heads from coefficients [n, C]: float32 [n, V, 3]."""
        return (coefficients.astype(np.float32) @ self.modes).reshape(len(coefficients), -1, 3) + self.neutral

    def alphas(self, coefficients: np.ndarray) -> np.ndarray:
        """Shape and expression coefficients of the built-in face nearest to each head: float64 [n, 50]."""
        return coefficients @ self._to_alphas[0] + self._to_alphas[1]

    @cached_property
    def _to_alphas(self) -> tuple[np.ndarray, np.ndarray]:
        """Least squares over the skin and, above all, the landmarks; linear, so found once."""
        rows = np.flatnonzero(builtin_parts().parts == 0)
        weight = np.full(len(rows), 1.0)
        weight[np.isin(rows, self.landmarks)] = _OF_LANDMARKS
        flat = (3 * rows[:, None] + np.arange(3)).reshape(-1)
        basis = self.face.basis.double().numpy()[flat]
        weighted = (basis * np.repeat(weight, 3)[:, None]).T
        solve = np.linalg.solve(weighted @ basis, weighted)
        offset = self.neutral.reshape(-1)[flat] - self.face.mean.double().numpy()[flat]
        return (solve @ self.modes[:, flat].T).T, solve @ offset

    def _spread_points(self) -> np.ndarray:
        """Vertices all over the front of the face, in pairs, each as far from the others as can be."""
        front = (builtin_parts().parts == 0) & (self.neutral[: self.face_vertices, 2] > 0.5)
        half = np.flatnonzero(front & (self.neutral[: self.face_vertices, 0] > -1e-3))
        places, twins = self.neutral[half], self.mirror[half]
        chosen = [int(places[:, 2].argmax())]
        distance = np.full(len(half), np.inf)
        while sum(1 if half[one] == twins[one] else 2 for one in chosen) < _DENSE:
            for place in (places[chosen[-1]], self.neutral[twins[chosen[-1]]]):
                distance = np.minimum(distance, ((places - place) ** 2).sum(1))
            chosen.append(int(distance.argmax()))
        pairs = np.stack([half[chosen], twins[chosen]], 1)
        return np.concatenate([pairs[:, 0], pairs[pairs[:, 0] != pairs[:, 1], 1]])
