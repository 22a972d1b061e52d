"""A mesh whose vertices are mixtures of another's, so that every blendshape of that one carries over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, vstack

__all__ = ["Mesh", "clip", "closest", "insert_points", "join", "normals"]

_ON_THE_CUT = 0.04  # of an edge: a cut so near a vertex goes through it, or slivers would be left


@dataclass
class Mesh:
    """Triangles over mixtures of source vertices.

    Attributes:
        weights: sparse [N, source vertices], rows that sum to 1.
        triangles: int64 [T, 3], counter-clockwise seen from outside.
        labels: int64 [T], what each triangle is.
        source: float64 [source vertices, 3], where those are on the neutral face.
    """

    weights: csr_matrix
    triangles: np.ndarray
    labels: np.ndarray
    source: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """float64 [N, 3], on the neutral face."""
        return self.weights @ self.source

    def keep(self, triangles: np.ndarray) -> Mesh:
        """Some of the triangles, without the vertices that none of them needs."""
        chosen = self.triangles[triangles]
        used, index = np.unique(chosen, return_inverse=True)
        return Mesh(self.weights[used], index.reshape(-1, 3), self.labels[triangles], self.source)

    def reordered(self, order: np.ndarray) -> Mesh:
        """Vertices in another order, without those not named, which no triangle may need."""
        place = np.full(self.weights.shape[0], -1)
        place[order] = np.arange(len(order))
        return Mesh(self.weights[order], place[self.triangles], self.labels, self.source)


def join(parts: list[Mesh]) -> Mesh:
    """Several meshes side by side."""
    starts = np.cumsum([0, *(part.weights.shape[0] for part in parts)])
    return Mesh(
        vstack([part.weights for part in parts]).tocsr(),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.labels for part in parts]),
        parts[0].source,
    )


def normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [T, 3]."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    return across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)


def clip(mesh: Mesh, level: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """Cuts triangles where a function on the vertices changes its sign, so that none lies on both sides.

    Args:
        mesh: to cut.
        level: [N] the function, linear along edges.

    Returns:
        The whole mesh, and bool [T]: which of its triangles lie where the function is positive.
    """
    level = level.copy()
    edges = np.unique(np.sort(np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]],
                                              mesh.triangles[:, [2, 0]]]), axis=1), axis=0)  # fmt: skip
    for near, far in (edges.T, edges.T[::-1]):  # vertices close to the cut are put on it
        crossing = level[near] * level[far] < 0
        share = np.abs(level[near[crossing]]) / np.abs(level[near[crossing]] - level[far[crossing]])
        level[near[crossing][share < _ON_THE_CUT]] = 0
    crossing = edges[level[edges[:, 0]] * level[edges[:, 1]] < 0]
    first, second = crossing.T
    share = level[first] / (level[first] - level[second])
    rows = _scaled(mesh.weights[first], 1 - share) + _scaled(mesh.weights[second], share)
    count = mesh.weights.shape[0]
    middle = {(int(a), int(b)): count + number for number, (a, b) in enumerate(crossing)}

    pieces, labels = [], []
    for corners, label in zip(mesh.triangles.tolist(), mesh.labels.tolist(), strict=True):
        ring = []
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            ring.append(a)
            if (min(a, b), max(a, b)) in middle:
                ring.append(middle[min(a, b), max(a, b)])
        for piece in _fans(ring, level, count):
            pieces.append(piece)
            labels.append(label)
    whole = Mesh(vstack([mesh.weights, rows]).tocsr(), np.array(pieces), np.array(labels), mesh.source)
    signs = np.concatenate([level, np.zeros(len(crossing))])
    return whole, signs[whole.triangles].sum(1) > 0


def _fans(ring: list[int], level: np.ndarray, count: int) -> list[list[int]]:
    """The polygon's pieces on both sides, as triangles."""
    sides: dict[int, list[int]] = {1: [], -1: []}
    for vertex in ring:
        sign = 0 if vertex >= count else int(np.sign(level[vertex]))
        for side, polygon in sides.items():
            if sign in (side, 0):
                polygon.append(vertex)
    if len(ring) == 3:
        return [ring]
    return [
        [polygon[0], polygon[k], polygon[k + 1]]
        for polygon in sides.values() if len(polygon) > 2
        for k in range(1, len(polygon) - 1)
    ]  # fmt: skip


def insert_points(mesh: Mesh, targets: np.ndarray, allowed: np.ndarray) -> tuple[Mesh, np.ndarray, np.ndarray]:
    """Gives the mesh vertices at these places of its surface, so that landmarks need not be the nearest old ones.

    Args:
        mesh: without two equal vertices.
        targets: [n, 3] places on or near the surface.
        allowed: bool [T], which triangles may be split.

    Returns:
        The mesh; int64 [n]: the vertices at the places; and ``allowed`` of its triangles.
    """
    numbers = []
    for target in targets:
        points = mesh.points
        candidates = np.flatnonzero(allowed)
        weights, distance = closest(target, points[mesh.triangles[candidates]])
        nearest = int(distance.argmin())
        triangle, weight = int(candidates[nearest]), weights[nearest]
        corners = mesh.triangles[triangle]
        if weight.max() > 1 - _ON_THE_CUT:
            numbers.append(int(corners[weight.argmax()]))
            continue
        weight = np.where(weight < _ON_THE_CUT, 0, weight)
        weight /= weight.sum()
        new = mesh.weights.shape[0]
        row = csr_matrix(weight[None]) @ mesh.weights[corners]
        on_edge = np.flatnonzero(weight == 0)
        edge = set(corners.tolist()) - {int(corners[k]) for k in on_edge}
        split = [t for t in np.flatnonzero(np.isin(mesh.triangles, corners).sum(1) >= 2)
                 if (t == triangle if len(edge) == 3 else edge <= set(mesh.triangles[t].tolist()))]  # fmt: skip
        pieces, labels, may = [], [], []
        for t in split:
            a, b, c = mesh.triangles[t].tolist()
            for piece in ([a, b, new], [b, c, new], [c, a, new]):
                if not (len(edge) == 2 and edge == set(piece[:2])):
                    pieces.append(piece)
                    labels.append(mesh.labels[t])
                    may.append(allowed[t])
        kept = np.setdiff1d(np.arange(len(mesh.triangles)), split)
        mesh = Mesh(
            vstack([mesh.weights, row]).tocsr(),
            np.concatenate([mesh.triangles[kept], pieces]),
            np.concatenate([mesh.labels[kept], labels]),
            mesh.source,
        )
        allowed = np.concatenate([allowed[kept], may])
        numbers.append(new)
    return mesh, np.array(numbers), allowed


def closest(point: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barycentric weights [T, 3] of the nearest point of each triangle [T, 3, 3], and its distance [T]."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    best = np.full(len(corners), np.inf)
    weights = np.zeros((len(corners), 3))

    def offer(w: np.ndarray) -> None:
        distance = np.linalg.norm(w[:, :1] * a + w[:, 1:2] * b + w[:, 2:] * c - point, axis=1)
        distance[(w < 0).any(1)] = np.inf
        better = distance < best
        best[better], weights[better] = distance[better], w[better]

    u, v, p = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    pu, pv = (p * u).sum(1), (p * v).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-18)
    second, third = (vv * pu - uv * pv) / area, (uu * pv - uv * pu) / area
    offer(np.stack([1 - second - third, second, third], 1))
    for first, last in ((0, 1), (1, 2), (2, 0)):
        start, step = corners[:, first], corners[:, last] - corners[:, first]
        along = (((point - start) * step).sum(1) / np.maximum((step * step).sum(1), 1e-18)).clip(0, 1)
        w = np.zeros((len(corners), 3))
        w[:, first], w[:, last] = 1 - along, along
        offer(w)
    return weights, best


def _scaled(rows: csr_matrix, factors: np.ndarray) -> csr_matrix:
    return csr_matrix(rows.multiply(factors[:, None]))
