"""Fewer triangles by half-edge collapse: vertices go, none moves, so blendshapes need no interpolation."""

from __future__ import annotations

import heapq

import numpy as np

__all__ = ["decimate"]


def decimate(points: np.ndarray, triangles: np.ndarray, count: int, fixed: np.ndarray | None = None) -> np.ndarray:
    """Collapses the edges that change the surface least (Garland and Heckbert, SIGGRAPH 1997).

    Args:
        points: [N, 3].
        triangles: [T, 3].
        count: of triangles that are wanted.
        fixed: bool [N], vertices that stay; those of the border stay anyhow.

    Returns:
        int64 [about count, 3], over the same vertices.
    """
    alive = {number: tuple(corners) for number, corners in enumerate(triangles.tolist())}
    around: list[set[int]] = [set() for _ in range(len(points))]
    for number, corners in alive.items():
        for vertex in corners:
            around[vertex].add(number)
    quadrics = np.zeros((len(points), 4, 4))
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=1, keepdims=True)
    plane = np.concatenate([across, -(across * a).sum(1, keepdims=True)], 1) / np.maximum(area, 1e-12)
    for corner in range(3):
        np.add.at(quadrics, triangles[:, corner], area[:, :, None] * plane[:, :, None] * plane[:, None, :])
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
    border = _border(triangles, len(points))
    stays = border | (np.zeros(len(points), bool) if fixed is None else fixed)

    def neighbours(vertex: int) -> set[int]:
        return {other for number in around[vertex] for other in alive[number]} - {vertex}

    def cost(gone: int, kept: int) -> float:
        x = homogeneous[kept]
        length = float(((points[gone] - points[kept]) ** 2).sum())
        return float(x @ (quadrics[gone] + quadrics[kept]) @ x) + 1e-4 * length**2

    def may(gone: int, kept: int) -> bool:
        """Whether the surface stays one: no fold, no fourth triangle at an edge, no bridge between two borders."""
        ours, theirs = neighbours(gone), neighbours(kept)
        if len(ours & theirs) != 2 or (border[kept] and any(border[other] for other in ours - theirs - {kept})):
            return False
        return not _flips(points, alive, around[gone] - around[kept], gone, kept)

    heap: list[tuple[float, int, int, int]] = []
    version = [0] * len(points)

    def push(vertex: int) -> None:
        if not stays[vertex] and around[vertex]:
            best = min((cost(vertex, other), other) for other in neighbours(vertex))
            heapq.heappush(heap, (best[0], vertex, best[1], version[vertex]))

    for vertex in range(len(points)):
        push(vertex)
    while len(alive) > count and heap:
        _, gone, kept, stamp = heapq.heappop(heap)
        if stamp != version[gone] or not around[gone]:
            continue
        if kept not in neighbours(gone):
            version[gone] += 1
            push(gone)
            continue
        if not may(gone, kept):
            version[gone] += 1  # not this edge; the next best one that will do, if there is one
            others = sorted((cost(gone, other), other) for other in neighbours(gone) if other != kept)
            for price, other in others:
                if may(gone, other):
                    heapq.heappush(heap, (price, gone, other, version[gone]))
                    break
            continue
        shared = around[gone] & around[kept]
        moved = around[gone] - shared
        for number in shared:
            for vertex in alive[number]:
                around[vertex].discard(number)
            del alive[number]
        for number in moved:
            alive[number] = tuple(kept if vertex == gone else vertex for vertex in alive[number])
            around[kept].add(number)
        around[gone] = set()
        quadrics[kept] += quadrics[gone]
        for vertex in neighbours(kept) | {kept}:
            version[vertex] += 1
            push(vertex)
    return np.array([alive[number] for number in sorted(alive)], np.int64)


def _border(triangles: np.ndarray, count: int) -> np.ndarray:
    """Which vertices lie on an edge of one triangle alone."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    border = np.zeros(count, bool)
    border[edges[uses == 1].reshape(-1)] = True
    return border


def _flips(points: np.ndarray, alive: dict[int, tuple], moved: set[int], gone: int, kept: int) -> bool:
    for number in moved:
        before = points[list(alive[number])]
        after = points[[kept if vertex == gone else vertex for vertex in alive[number]]]
        old = np.cross(before[1] - before[0], before[2] - before[0])
        new = np.cross(after[1] - after[0], after[2] - after[0])
        if old @ new < 0.2 * np.linalg.norm(old) * np.linalg.norm(new):
            return True
    return False
