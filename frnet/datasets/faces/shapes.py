"""Simple meshes to put around a head: sheets, tubes, boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Piece", "box", "grid_triangles", "ribbon", "sheet", "tube"]


class Piece(NamedTuple):
    """A small mesh, seen from both sides.

    Attributes:
        vertices: float32 [n, 3], centimetres.
        triangles: int32 [t, 3].
        albedo: float32 [n, 3], linear BGR.
        turn: whose directions they are in: float64 [3, 3] to the camera's; None: the head's.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    albedo: np.ndarray
    turn: np.ndarray | None = None


_GRIDS: dict[tuple[int, int, bool], np.ndarray] = {}


def grid_triangles(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """Triangles of a grid of vertices, row by row; closed: the last column meets the first."""
    key = rows, columns, closed
    if key not in _GRIDS:
        cell = np.arange(rows * columns).reshape(rows, columns)
        if closed:
            cell = np.concatenate([cell, cell[:, :1]], 1)
        a, b, c, d = cell[:-1, :-1], cell[:-1, 1:], cell[1:, 1:], cell[1:, :-1]
        pairs = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
        _GRIDS[key] = np.concatenate(pairs).astype(np.int32)
    return _GRIDS[key]


def sheet(vertices: np.ndarray, albedo: np.ndarray, turn: np.ndarray | None = None, closed: bool = False) -> Piece:
    """A piece of a grid of places [rows, columns, 3]; colours [3] or [rows, columns, 3]."""
    rows, columns = vertices.shape[:2]
    colours = np.broadcast_to(np.asarray(albedo, np.float32), (rows, columns, 3)).reshape(-1, 3)
    return Piece(vertices.reshape(-1, 3).astype(np.float32), grid_triangles(rows, columns, closed), colours, turn)


def tube(line: np.ndarray, radii: np.ndarray, albedo: np.ndarray, turn: np.ndarray | None = None, flat: float = 1.0,
         sides: int = 8) -> Piece:  # fmt: skip
    """About a line [k, 3], with rounded ends; ``flat`` is how thick it is against its width."""
    line, radii = np.asarray(line, np.float64), np.asarray(radii, np.float64)
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    helper = np.array([0.0, 0.0, 1.0]) if abs(along[:, 2]).mean() < 0.8 else np.array([0.0, 1.0, 0.0])
    across = np.cross(helper, along)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    other = np.cross(along, across) * flat
    ends = [(line[0] - along[0] * radii[0] * 0.8, 0.02), (line[0] - along[0] * radii[0] * 0.45, 0.8)]
    tips = [(line[-1] + along[-1] * radii[-1] * 0.45, 0.8), (line[-1] + along[-1] * radii[-1] * 0.8, 0.02)]
    centres = np.stack([ends[0][0], ends[1][0], *line, tips[0][0], tips[1][0]])
    widths = np.concatenate([[ends[0][1] * radii[0], ends[1][1] * radii[0]], radii,
                             [tips[0][1] * radii[-1], tips[1][1] * radii[-1]]])  # fmt: skip
    index = np.concatenate([[0, 0], np.arange(len(line)), [len(line) - 1] * 2])
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * across[index][:, None] + np.sin(angle)[None, :, None] * other[index][:, None]
    return sheet(centres[:, None] + widths[:, None, None] * ring, albedo, turn, closed=True)


def ribbon(inner: np.ndarray, outer: np.ndarray, albedo: np.ndarray, closed: bool) -> Piece:
    """Between two lines [k, 3]."""
    return sheet(np.stack([inner, outer]), albedo, closed=closed)


def box(centre: np.ndarray, half: np.ndarray, turn: np.ndarray, albedo: np.ndarray, to_camera: np.ndarray) -> Piece:
    """A box; its faces do not share vertices, so that its edges are sharp."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    corners = signs * half @ turn.T + centre
    faces = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
    first = 4 * np.arange(6)[:, None]
    triangles = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])]).astype(np.int32)
    colours = np.tile(np.asarray(albedo, np.float32), (24, 1))
    return Piece(corners[faces.reshape(-1)].astype(np.float32), triangles, colours, to_camera)
