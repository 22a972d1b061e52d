"""Hair, beards that stand out, and cloth on the head: a second skin over the first, and sheets that hang down.

They are drawn as a layer of their own whose edges are frayed pixel by pixel along strands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frnet.datasets.faces.fields import Fields
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.shapes import Piece, grid_triangles, sheet
from frnet.datasets.faces.skin import HAIR_COLOURS, linear

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Cover", "Covers", "Hair"]

_ROWS, _COLUMNS = 14, 30  # of hanging sheets
_SHELL_ROWS, _SHELL_COLUMNS = 36, 61  # from the crown down, and around from the back; the last column lies on the first
_LOWEST = np.deg2rad(150.0)  # of the shell, from the crown
_MIDDLE = (0.0, 3.0, 0.0)  # of the head, centimetres


class Cover(NamedTuple):
    """Something over the head's skin, on the vertices of a shell about it.

    Attributes:
        vertices: float32 [S, 3], head's directions.
        alpha: float32 [S], covered above one half.
        albedo: float32 [S, 3], linear BGR.
        strand: float32 [S], where across the strands a vertex lies; in strands.
        fray: how ragged the edge is, in alpha.
        contrast: of the strands.
    """

    vertices: np.ndarray
    alpha: np.ndarray
    albedo: np.ndarray
    strand: np.ndarray
    fray: float
    contrast: float


class Covers(NamedTuple):
    """What one head wears: covers of its skin, and sheets, which are drawn as covers are.

    Attributes:
        over: covers with the shared triangles of :attr:`Hair.triangles`.
        hanging: sheets, the strands across them [n], and their contrast.
        solid: pieces without frayed edges, such as brims.
    """

    over: list[Cover]
    hanging: list[tuple[Piece, np.ndarray, float]]
    solid: list[Piece]


class Hair:
    """Dresses heads. Covers lie on a shell: a grid about the middle of the head that follows its skin, ears left out.

    Args:
        head: the mesh.
        ingredients: which of all this is wanted.

    Attributes:
        triangles: int32 [T, 3], of the shell.
    """

    def __init__(self, head: Head, ingredients: Ingredients) -> None:
        self._wanted = ingredients
        self._mixture = _shell(head)
        self._at = (self._mixture @ head.neutral).astype(np.float32)
        self._fields = Fields(self._at)
        x, y, z = self._at.T
        face = ((x / 5.0) ** 2 + ((y + 1.5) / 5.5) ** 2 < 1) & (z > 3)
        triangles = grid_triangles(_SHELL_ROWS, _SHELL_COLUMNS)[:, ::-1]
        self.triangles = triangles[~face[triangles].all(1)]
        self._out = self._at - np.float32(_MIDDLE)
        self._out /= np.linalg.norm(self._out, axis=1, keepdims=True)
        self._round = np.tile(np.linspace(-np.pi, np.pi, _SHELL_COLUMNS, dtype=np.float32), _SHELL_ROWS)
        self._ear = np.exp(-(((y - 1.5) / 3.2) ** 2) - ((z - 0.3) / 2.0) ** 2) * (np.abs(x) > 5.5)

    def dress(self, rng: np.random.Generator, vertices: np.ndarray, mean: np.ndarray) -> list[Covers]:
        """What each of the heads [n, V, 3] wears; ``mean`` [n, 3] is the colour of its skin."""
        return [self._one(rng, self._mixture @ head, skin) for head, skin in zip(vertices, mean, strict=True)]

    def _one(self, rng: np.random.Generator, skin: np.ndarray, mean: np.ndarray) -> Covers:
        covers = Covers([], [], [])
        colour = linear(HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))] * rng.uniform(0.6, 1.4))
        free = np.ones(len(skin), np.float32)  # of a hat
        if self._wanted.hats and rng.random() < 0.16:
            free = 1 - self._hat(rng, skin, covers)
        if self._wanted.hair and rng.random() < 0.86:
            self._head_of_hair(rng, skin, colour, free, covers)
        if self._wanted.beard and rng.random() < 0.07:
            covers.over.append(self._full_beard(rng, skin, colour, free))
        return covers

    def _field(self, rng: np.random.Generator, scale: float) -> np.ndarray:
        return self._fields.draw(rng, scale, 1)[0]

    def _head_of_hair(
        self, rng: np.random.Generator, skin: np.ndarray, colour: np.ndarray, free: np.ndarray, covers: Covers
    ) -> None:
        x, y, z = self._at.T
        fringe = rng.random() < 0.3
        front = rng.uniform(4.6, 7.5) if fringe else rng.uniform(7.0, 11.0)
        side, back = rng.uniform(-3, 4), rng.uniform(-9, -2)
        parting = rng.uniform(-1, 1) if rng.random() < 0.5 else 0.0
        line = np.where(
            z > 0,
            side + (front + 0.12 * parting * x - side) * ((z - 0.5) / 8.0).clip(0, 1) ** rng.uniform(0.6, 1.6),
            side + (back - side) * (-z / 8).clip(0, 1),
        )
        line += 0.35 * np.sin(x * rng.uniform(0.5, 2.5) + rng.uniform(0, 6))
        alpha = 1 / (1 + np.exp(-((y - line) / rng.uniform(0.3, 0.9)).clip(-30, 30)))
        curly = rng.random() < 0.25
        volume = rng.choice([0.25, 0.8, 1.8, 3.2], p=[0.35, 0.35, 0.2, 0.1]) * rng.uniform(0.6, 1.3)
        covered_ears = rng.random() < 0.5
        if not covered_ears:
            alpha = alpha * (1 - self._ear)
        alpha = alpha * free
        lump = (1 + 0.4 * self._field(rng, 3.0) + (0.35 if curly else 0.15) * self._field(rng, 1.2)).clip(0.1, 2.2)
        lift = volume * alpha * lump * (1 + 0.4 * ((y - 8) / 4).clip(0, 1))
        if fringe:
            lift += alpha * rng.uniform(0.2, 1.2) * ((z - 4) / 5).clip(0, 1)
        if covered_ears:
            lift += 1.2 * self._ear * alpha
        strands = rng.uniform(8, 22)
        strand = strands * (self._round if not curly else 0.2 * self._field(rng, 0.7)) + 0.8 * self._field(rng, 2.0)
        albedo = colour * np.exp(0.25 * self._field(rng, 2.0) + 0.12 * self._field(rng, 0.5))[:, None]
        places = skin + self._out * lift[:, None].astype(np.float32)
        contrast = rng.uniform(0.25, 0.8)
        covers.over.append(_cover(places, alpha, albedo, strand, rng.uniform(0.25, 0.8), contrast))
        if rng.random() < 0.42:
            covers.hanging.append((*self._curtain(rng, skin, colour, volume), contrast))

    def _curtain(
        self, rng: np.random.Generator, skin: np.ndarray, colour: np.ndarray, volume: float
    ) -> tuple[Piece, np.ndarray]:
        """Long hair: behind the shoulders or beside the cheeks."""
        u, v = np.meshgrid(np.linspace(0, 1, _COLUMNS), np.linspace(0, 1, _ROWS))
        length, half = rng.uniform(-26, -4), rng.uniform(1.6, 2.55)
        angle = (u - 0.5) * 2 * half + np.pi
        top = rng.uniform(5, 9.5)
        y = top + (length - top) * v
        width = np.abs(skin[:, 0]).max() + rng.uniform(-0.8, 1.2) + 0.5 * volume
        radius = width * (1 + 0.05 * np.sin(u * rng.uniform(5, 30) + rng.uniform(0, 6)) + rng.normal(0, 0.08) * v)
        radius *= 1 - 0.3 * ((y - 5) / 6).clip(0, 1)
        radius += 0.3 * np.sin(v * rng.uniform(2, 14) + 6 * u)
        middle = rng.uniform(-2.5, 0.8)
        deep = rng.uniform(0.9, 1.15)
        places = np.stack([radius * np.sin(angle), y, middle + deep * radius * np.cos(angle)], -1)
        shade = np.exp(rng.normal(0, 0.12, (_ROWS, _COLUMNS)) - 0.3 * v)[:, :, None]
        return sheet(places, colour * shade), (u * rng.uniform(25, 60) + 0.8 * np.sin(5 * v)).reshape(-1)

    def _full_beard(self, rng: np.random.Generator, skin: np.ndarray, colour: np.ndarray, free: np.ndarray) -> Cover:
        x, y, z = self._at.T
        alpha = 1 / (1 + np.exp((y - np.interp(np.abs(x), [0, 3, 6, 8], [-2.5, -2.6, -1.5, 2])) / 0.5))
        alpha = alpha * (z > -1.5) * (y > -12) * free
        lift = rng.uniform(0.4, 2.5) * alpha * (0.4 + (-(y + 2) / 5).clip(0, 1)) * (1 + 0.3 * self._field(rng, 1.2))
        drop = np.stack([0 * lift, -0.6 * lift, 0.4 * lift], 1)
        places = skin + self._out * lift[:, None] + drop
        strand = rng.uniform(10, 20) * self._round + 1.2 * self._field(rng, 1.2)
        albedo = colour * np.exp(0.2 * self._field(rng, 1.2))[:, None]
        return _cover(places, alpha, albedo, strand, 0.6, rng.uniform(0.3, 0.8))

    def _hat(self, rng: np.random.Generator, skin: np.ndarray, covers: Covers) -> np.ndarray:
        """Adds one; where it lies, [S]."""
        x, y, z = self._at.T
        cloth = linear(rng.uniform(5, 240, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(8, 235)))
        kind = rng.choice(4, p=[0.35, 0.3, 0.15, 0.2])
        low, tilt = rng.uniform(6.0, 9.0), rng.uniform(-0.15, 0.35)
        edge = low + tilt * (z - 6)
        if kind == 3:  # scarf or hood: all but the face
            reach = rng.uniform(0.95, 1.25)
            away = np.sqrt((x / (5.9 * reach)) ** 2 + ((y - 0.8) / (7.3 * reach)) ** 2)
            alpha = np.where(z > 1.5, ((away - 1) / 0.12 + 0.5).clip(0, 1), 1.0)
            lift = rng.uniform(0.3, 1.4) * (1 + 0.25 * self._field(rng, 3.0)) + 0.9 * self._ear
        else:
            alpha = ((y - edge) / 0.25 + 0.5).clip(0, 1)
            lift = rng.uniform(0.5, 1.6) * (1 + 0.12 * self._field(rng, 5.0)) + 0.5 * self._ear
        pattern = 0.2 * self._field(rng, 2.0) + rng.uniform(0, 0.5) * np.sign(np.sin(y * rng.uniform(1, 9))) * (
            rng.random() < 0.35
        )
        places = skin + self._out * (lift * alpha.clip(0.3, 1))[:, None]
        covers.over.append(_cover(places, alpha, cloth * np.exp(pattern)[:, None], y * 3, 0.03, rng.uniform(0, 0.2)))
        if kind in (1, 2):
            reach = rng.uniform(4.5, 8) if kind == 1 else rng.uniform(4, 9)
            covers.solid.append(self._brim(rng, skin, cloth, low, tilt, reach, kind == 2))
        return alpha.astype(np.float32)

    def _brim(
        self, rng: np.random.Generator, skin: np.ndarray, cloth: np.ndarray, low: float, tilt: float, reach: float,
        whole: bool,
    ) -> Piece:  # fmt: skip
        half = np.pi if whole else rng.uniform(0.9, 1.3)
        angle = np.linspace(-half, half, _COLUMNS)
        width = np.abs(skin[:, 0]).max() + 0.2
        deep = skin[:, 2].max() - 1.5
        out = np.stack([width * np.sin(angle), np.full(_COLUMNS, low), 0.5 + (deep + 1.0) * np.cos(angle)], 1)
        down = np.full(_COLUMNS, -rng.uniform(0, 0.35))
        away = np.stack([np.sin(angle) * (0.9 if whole else 0.5), down, np.cos(angle)], 1)
        far = out + reach * away * (1 if whole else np.cos(angle * np.pi / 2 / half)[:, None])
        for line in (out, far):
            line[:, 1] += tilt * (line[:, 2] - 6)
        return sheet(np.stack([out, far]), cloth * rng.uniform(0.5, 1.1))


def _shell(head: Head) -> csr_matrix:
    """[S, V]: each vertex of the shell as a mixture of four of the head's that lie in its direction."""
    from scipy.sparse import csr_matrix
    from scipy.spatial import KDTree

    x, y, z = head.neutral.T
    ear = (np.abs(x) > 6.9) & (np.abs(z - 0.3) < 2.8) & (np.abs(y - 1.5) < 4.5)
    skin = np.flatnonzero((head.parts == 0) & ~ear & (y > -17))
    rays = head.neutral[skin] - np.float32(_MIDDLE)
    polar, around = np.meshgrid(
        np.linspace(0.02, _LOWEST, _SHELL_ROWS), np.linspace(-np.pi, np.pi, _SHELL_COLUMNS), indexing="ij"
    )
    wanted = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1).reshape(
        -1, 3
    )
    distance, near = KDTree(rays / np.linalg.norm(rays, axis=1, keepdims=True)).query(wanted, 4)
    weight = 1 / (distance + 0.02)
    weight /= weight.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(wanted)), 4)
    return csr_matrix((weight.reshape(-1).astype(np.float32), (rows, skin[near].reshape(-1))), (len(wanted), len(x)))


def _cover(
    places: np.ndarray, alpha: np.ndarray, albedo: np.ndarray, strand: np.ndarray, fray: float, contrast: float
) -> Cover:
    parts = (np.asarray(part, np.float32) for part in (places, alpha, albedo, strand))
    return Cover(*parts, float(fray), float(contrast))
