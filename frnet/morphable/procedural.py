"""A face-like model made of formulas: for examples and tests that need a face and no file.

It resembles a face as a mannequin does, and is no statistical model of faces: nothing trained on it aligns photographs.
"""

from __future__ import annotations

import numpy as np

from frnet.morphable.landmarks import LANDMARK_MIRROR
from frnet.morphable.model import MorphableModel

__all__ = ["procedural_face"]

_MICROMETRES = 1000.0  # per millimetre, in which the tables below are; as the Basel Face Model's units
_HALF_AXES = 78.0, 115.0, 95.0  # of the ellipsoid: x, y, z
_WIDEST, _LOWEST, _HIGHEST = np.deg2rad([100.0, -76.0, 62.0])  # longitude and latitudes at the border of the mesh
_COLUMNS, _ROWS = 57, 57

# Bumps of the mean: x and y of their centre (x > 0 has a twin at -x), widths along both, height along z.
_RELIEF = np.array([
    (0, -8, 9, 12, 17), (0, 12, 7, 22, 11), (9, -15, 6, 6, 6),  # nose: tip, bridge, wings
    (31, 28, 15, 10, -9), (31, 28, 9, 6, 5), (30, 45, 20, 7, 4),  # sockets, eyeballs, brows
    (0, -41, 17, 5, 6), (0, -55, 15, 5, 6), (0, -48, 20, 2.5, -3),  # lips, the groove between them
    (0, -90, 20, 14, 11), (46, 5, 18, 15, 5), (0, -30, 4, 6, -2),  # chin, cheekbones, philtrum
])  # fmt: skip

# One standard deviation of each component: centre and widths of a bump as above, then how far it moves along x, y,
# z. On the other side it moves to the mirrored place; with -1 in the last column, to the opposite of that.
_SHAPE = np.array([
    (0, 40, 90, 35, 0, 5, 2, 1), (0, -60, 70, 40, 0, -5, 1, 1), (60, -60, 35, 45, 4, 0, 0, 1),
    (60, 10, 30, 60, 4, 0, 0, 1), (0, -8, 12, 14, 0, 0, 4, 1), (0, 10, 9, 25, 0, 0, 3, 1),
    (9, -14, 9, 9, 2.5, 0, 0, 1), (0, -12, 14, 12, 0, 3, 0, 1), (31, 28, 18, 14, 2.5, 0, 0, 1),
    (31, 28, 18, 14, 0, 2.5, 0, 1), (31, 28, 14, 10, 0, 0, 2.5, 1), (40, 28, 8, 10, 2, 1, 0, 1),
    (20, 28, 8, 10, -1.5, 0, 0, 1), (30, 46, 24, 9, 0, 2.5, 0, 1), (30, 46, 22, 9, 0, 0, 2.5, 1),
    (40, 44, 10, 8, 1, 2, 0, 1), (20, -48, 12, 14, 2.5, 0, 0, 1), (0, -48, 26, 14, 0, 2.5, 0, 1),
    (0, -48, 24, 14, 0, 0, 3, 1), (0, -42, 20, 6, 0, 1.5, 1, 1), (0, -55, 18, 6, 0, -1.5, 1, 1),
    (0, -90, 24, 18, 0, 0, 4, 1), (0, -92, 24, 16, 0, -4, 0, 1), (20, -90, 16, 16, 2.5, 0, 0, 1),
    (46, 5, 22, 18, 1, 0, 3, 1), (42, -28, 22, 22, 1.5, 0, 3, 1), (50, -50, 22, 22, 2.5, 0, 1, 1),
    (0, 70, 50, 25, 0, 0, 4, 1), (40, 65, 25, 25, 2.5, 0, 1, 1), (70, 20, 20, 40, 2, 0, 3, 1),
    (0, 28, 10, 14, 0, 0, 2.5, 1), (0, -28, 14, 8, 0, 2, 1, 1), (31, 28, 20, 16, 0, 1.2, 0, -1),
    (0, -12, 14, 20, 1.5, 0, 0, -1), (20, -48, 16, 14, 0, 1.2, 0, -1), (0, -88, 28, 20, 1.5, 0, 0, -1),
    (46, -10, 24, 26, 0, 0, 1.5, -1), (34, 54, 24, 16, 1.2, 0, 0, -1), (60, -60, 30, 40, 1.5, 0, 0, -1),
    (40, 60, 30, 30, 0, 0, 1.5, -1),
])  # fmt: skip
_EXPRESSION = np.array([
    (0, -72, 40, 24, 0, -9, -3, 1), (22, -48, 12, 12, 4, 3.5, -1.5, 1),  # open mouth, smile
    (20, -48, 14, 12, -4, 0, 3, 1), (0, -41, 18, 7, 0, 3, 1, 1),  # pucker, upper lip
    (28, 46, 24, 10, 0, 4, 1, 1), (14, 44, 10, 9, -2.5, -2, 0, 1),  # raised brows, frown
    (31, 33, 14, 5, 0, -3.5, 0, 1), (42, -30, 18, 18, 3, 0, 4, 1),  # blink, cheeks
    (22, -48, 12, 12, 2.5, 2.5, 0, -1), (28, 46, 22, 10, 0, 2.5, 0, -1),  # smile and brow of one side
])  # fmt: skip

# Landmarks in the middle and at x > 0, by their numbers: the jaw as longitude and latitude in degrees, the others as x
# and y of the ellipsoid seen from the front.
_JAW = {
    8: (0, -52), 9: (18, -49), 10: (36, -43), 11: (54, -36), 12: (68, -27), 13: (77, -18), 14: (80, -9), 15: (82, 0),
    16: (84, 9),
}  # fmt: skip
_LANDMARKS = {
    22: (12, 43), 23: (20, 47.5), 24: (29, 49), 25: (38, 47), 26: (46, 42),
    27: (0, 27), 28: (0, 17), 29: (0, 7), 30: (0, -4), 33: (0, -20), 34: (5.5, -19), 35: (11, -17),
    42: (19, 27), 43: (26, 32.5), 44: (35, 32.5), 45: (43, 28), 46: (35, 24.5), 47: (26, 24),
    51: (0, -41.5), 52: (6, -40), 53: (15, -43), 54: (24, -48), 55: (16, -54), 56: (7, -58), 57: (0, -59),
    62: (0, -46.5), 63: (8, -46.5), 64: (20, -48), 65: (8, -50), 66: (0, -50),
}  # fmt: skip


def procedural_face() -> MorphableModel:
    """A mannequin's face: an ellipsoid with a nose, eyes, lips and a chin, 40 shape and 10 expression components.

    Every component is one smooth bump (and its twin on the other side) that moves along one direction; coefficients
    are in standard deviations. The model mirrors exactly in x = 0. Its last 68 vertices are the landmarks; they lie
    on the surface and belong to no triangle.

    Returns:
        3,317 vertices in micrometres, 6,272 triangles; without whitening (``frnet.datasets.ProceduralFaces`` gives it
        one).

    Example:
        >>> model = procedural_face()
        >>> model.name, model.num_vertices, len(model.triangles), model.layout
        ('procedural-face', 3317, 6272, ParamLayout(num_shape=40, num_expression=10))
    """
    across, along = _symmetric(_COLUMNS), _symmetric(_ROWS)
    longitude = _WIDEST * (0.6 * across + 0.4 * across**3)  # denser in the middle
    latitude = (_HIGHEST + _LOWEST) / 2 + (_HIGHEST - _LOWEST) / 2 * (0.8 * along + 0.2 * along**3)
    grid = np.stack(np.broadcast_arrays(longitude[None, :], latitude[:, None]), -1).reshape(-1, 2)
    places = np.concatenate([grid, _landmark_places()])
    front = _ellipsoid(places)
    weight = np.cos(places[:, 0] / 2) ** 4 * (np.abs(places[:, 0]) < _WIDEST + 0.1)  # bumps belong to the front

    mean = front.copy()
    for x, y, width, height, depth in _RELIEF:
        mean[:, 2] += depth * weight * _bump(front, x, y, width, height)
    mean[:, 0] *= 1 - 0.3 * np.clip((-front[:, 1] - 15) / 100, 0, 1) ** 1.5  # the jaw
    cell = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS)  # rows from the chin up, columns to the viewer's right
    low_left, low_right, top_left, top_right = cell[:-1, :-1], cell[:-1, 1:], cell[1:, :-1], cell[1:, 1:]
    triangles = [(low_left, low_right, top_right), (low_left, top_right, top_left)]
    return MorphableModel(
        (mean * _MICROMETRES).reshape(-1).astype(np.float32),
        _basis(_SHAPE, front, weight),
        _basis(_EXPRESSION, front, weight),
        landmarks=np.arange(len(grid), len(places)),
        triangles=np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in triangles]),
        name="procedural-face",
    )


def _symmetric(count: int) -> np.ndarray:
    """-1 to 1; exactly antisymmetric, as a mirror asks for."""
    half = np.linspace(0, 1, count // 2 + 1)
    return np.concatenate([-half[:0:-1], half])


def _ellipsoid(places: np.ndarray) -> np.ndarray:
    longitude, latitude = places.T
    a, b, c = _HALF_AXES
    return np.stack(
        [a * np.sin(longitude) * np.cos(latitude), b * np.sin(latitude), c * np.cos(longitude) * np.cos(latitude)], -1
    )


def _bump(front: np.ndarray, x: float, y: float, width: float, height: float) -> np.ndarray:
    """A Gaussian about (x, y) as seen from the front; with its twin about (-x, y) where x is not 0."""
    one = _one_bump(front, x, y, width, height)
    return one + _one_bump(front, -x, y, width, height) if x else one


def _one_bump(front: np.ndarray, x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.exp(-(((front[:, 0] - x) / width) ** 2) - ((front[:, 1] - y) / height) ** 2)


def _basis(table: np.ndarray, front: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[3N, components] in model units."""
    columns = []
    for x, y, width, height, *direction, sign in table:
        there = _one_bump(front, x, y, width, height)[:, None] * np.array(direction)
        twin = _one_bump(front, -x, y, width, height)[:, None] * np.array([-direction[0], *direction[1:]])
        bump = there + sign * twin if x else there  # one in the middle is its own twin
        columns.append((bump * weight[:, None] * _MICROMETRES).reshape(-1))
    return np.stack(columns, 1).astype(np.float32)


def _landmark_places() -> np.ndarray:
    """Longitude and latitude of the 68 points, in their order."""
    points = np.empty((68, 2))
    for index, (x, y) in (_JAW | _LANDMARKS).items():
        points[LANDMARK_MIRROR[index]] = -x, y
        points[index] = x, y
    jaw, (x, y) = np.deg2rad(points[:17]), points[17:].T
    latitude = np.arcsin(y / _HALF_AXES[1])
    longitude = np.arcsin(x / (_HALF_AXES[0] * np.cos(latitude)))
    return np.concatenate([jaw, np.stack([longitude, latitude], -1)])
