"""What colour a head's vertices have: skin, brows, lips, beards, make-up, wrinkles, eyes, teeth. Linear light, BGR."""

from __future__ import annotations

import numpy as np

from frnet.datasets.faces.fields import Fields
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients

__all__ = ["HAIR_COLOURS", "Skin", "linear"]

HAIR_COLOURS = np.array([
    (12, 12, 14), (18, 19, 24), (20, 24, 34), (22, 35, 55), (40, 60, 95), (70, 110, 150), (110, 150, 185),
    (150, 155, 160), (200, 200, 205), (25, 35, 90), (60, 60, 62),
])  # fmt: skip
_TONES = np.array([
    (150, 175, 225), (130, 160, 215), (105, 140, 195), (80, 115, 170), (60, 90, 140), (40, 62, 100), (28, 42, 70),
    (165, 185, 235), (140, 160, 200),
])  # fmt: skip
_IRISES = np.array([(40, 50, 70), (25, 35, 50), (110, 90, 60), (70, 90, 70), (18, 22, 28), (130, 120, 90)])
_PUPIL = 0.16  # radians, seen from the middle of the eyeball; the iris is part of the mesh
_GAZE = np.deg2rad(27.0)  # how far the eyes turn at a blendshape's weight of 1


def linear(colours: np.ndarray) -> np.ndarray:
    """Linear light, 0 to 1, of colours from 0 to 255."""
    return ((np.asarray(colours, np.float32) / 255) ** 2.2).astype(np.float32)


class Skin:
    """Paints heads.

    Args:
        head: the mesh.
        fields: patterns on it.
        colours: uint8 [K, V, 3], measured on portraits; None: skin of one tone.
        ingredients: which of all this is wanted.
    """

    def __init__(self, head: Head, fields: Fields, colours: np.ndarray | None, ingredients: Ingredients) -> None:
        self._head, self._fields, self._wanted = head, fields, ingredients
        self._colours = colours if ingredients.photo_colours else None
        table = linear(np.arange(256))
        self._linear = table
        own = head.points[68:136]
        at, marks = head.neutral, head.neutral[own]
        skin = head.parts == 0
        front = skin & (at[:, 2] > 2)
        self._front = np.flatnonzero(front & (at[:, 1] > -8) & (at[:, 1] < 9))[::5]
        self._lips = _near(at, marks[48:60], front & (at[:, 2] > 8), 0.23)
        self._brows = [_brows(at, marks, front, width) for width in (0.28, 0.38, 0.5, 0.65)]
        self._beards = [(mask * front).astype(np.float32) for mask in _beards(at, marks)]
        self._folds = np.stack([(fold * front).astype(np.float32) for fold in _folds(at, marks)])
        self._lids = (_near(at, marks[36:48], front, 0.35) * (at[:, 1] > marks[36:48, 1].mean())).astype(np.float32)
        self._cheeks = _near(at, marks[[31, 35]] + [[-2.6, 0.6, 0], [2.6, 0.6, 0]], front, 1.5)
        self._eyes = []
        for white, iris in ((5, 7), (6, 8)):  # parts of the left and of the right eye
            vertices = np.flatnonzero((head.parts == white) | (head.parts == iris))
            ring = np.flatnonzero(head.parts == iris)
            middle = (at[vertices, :2].min(0) + at[vertices, :2].max(0)) / 2
            depth = at[vertices, 2].max() - np.ptp(at[vertices, 0]) / 2
            self._eyes.append((vertices, np.isin(vertices, ring), np.float32([*middle, depth])))

    def paint(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """float32 [count, V, 3], albedo."""
        fields, wanted = self._fields, self._wanted
        albedo = self._base(rng, count)
        painted = rng.random(count) < (0.3 if self._colours is not None else 1.0)
        hair = linear(HAIR_COLOURS[rng.integers(len(HAIR_COLOURS), size=count)] * rng.uniform(0.7, 1.2, (count, 1)))
        if wanted.brows_and_lips:
            brow = np.stack([self._brows[width] for width in rng.integers(len(self._brows), size=count)])
            strength = np.where(painted, rng.uniform(0.4, 0.95, count), 0).astype(np.float32)
            _cover(albedo, brow * strength[:, None], hair)
            tint = np.float32([0.4, 0.4, 0.8]) * rng.uniform(0.7, 1.35, (count, 3)).astype(np.float32)
            _tint(albedo, self._lips * np.float32(painted)[:, None], tint)
        if wanted.beard:
            drawn = rng.random(count) < np.where(painted, 0.45, 0.15)
            mask = np.stack([self._beards[kind] for kind in rng.integers(len(self._beards), size=count)])
            mask *= (0.85 + 0.2 * fields.draw(rng, 0.4, count) + 0.15 * fields.draw(rng, 2.0, count)).clip(0, 1)
            _cover(albedo, mask * np.where(drawn, rng.uniform(0.15, 0.95, count), 0).astype(np.float32)[:, None], hair)
        if wanted.make_up:
            self._make_up(rng, albedo)
        if wanted.wrinkles:
            strength = rng.uniform(0, 0.5, (count, len(self._folds))) * (rng.random((count, 1)) < 0.4)
            albedo *= np.exp(-(strength.astype(np.float32) @ self._folds))[:, :, None]
        fine = rng.uniform(0, 0.09, (count, 1)).astype(np.float32) * fields.draw(
            rng, rng.uniform(0.4, 1.5, count), count
        )
        fine += rng.uniform(0, 0.12, (count, 1)).astype(np.float32) * fields.draw(rng, 5.0, count)
        grain = np.where(rng.random(count) < 0.6, rng.uniform(0, 0.08, count), 0).astype(np.float32)
        albedo *= np.exp(fine + grain[:, None] * fields.noise(rng, count))[:, :, None]
        self._inside(rng, albedo)
        return albedo

    def _base(self, rng: np.random.Generator, count: int) -> np.ndarray:
        target = linear(_TONES[rng.integers(len(_TONES), size=count)] * rng.uniform(0.75, 1.15, (count, 1)))[:, None]
        if self._colours is None:
            return np.repeat(target, len(self._head.neutral), 1)
        albedo = self._one(rng, count)
        mean = albedo[:, self._front].mean(1, keepdims=True)
        if self._wanted.mixed_colours:
            chosen = np.flatnonzero(rng.random(count) < 0.5)
            second = self._one(rng, len(chosen))
            mask = self._fields.draw(rng, 6.0, len(chosen)) + rng.uniform(-0.7, 0.7, (len(chosen), 1)).astype(
                np.float32
            )
            mask = (1 / (1 + np.exp(-4 * mask)))[:, :, None]
            power = rng.uniform(0, 1, (len(chosen), 1, 1)).astype(np.float32)
            second *= (mean[chosen] / second[:, self._front].mean(1, keepdims=True)) ** power
            albedo[chosen] += mask * (second - albedo[chosen])
        power = np.where(rng.random(count) < 0.65, rng.uniform(0.3, 1, count), 0).astype(np.float32)[:, None, None]
        albedo *= ((target / mean) ** power).clip(0.15, 4)
        return albedo

    def _one(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Measured colours; every other face is mirrored."""
        colours = self._colours[rng.integers(len(self._colours), size=count)]
        flipped = rng.random(count) < 0.5
        colours[flipped] = colours[flipped][:, self._head.mirror]
        return self._linear[colours]

    def _make_up(self, rng: np.random.Generator, albedo: np.ndarray) -> None:
        count = len(albedo)
        lips = np.where(rng.random(count) < 0.2, rng.uniform(0.5, 1, count), 0).astype(np.float32)
        tint = rng.uniform((0.15, 0.1, 0.6), (0.7, 0.5, 1.2), (count, 3)).astype(np.float32)
        _tint(albedo, self._lips * lips[:, None], tint)
        lids = np.where(rng.random(count) < 0.2, rng.uniform(0.3, 1, count), 0).astype(np.float32)
        _tint(albedo, self._lids * lids[:, None], rng.uniform(0.1, 1.0, (count, 3)).astype(np.float32))
        cheeks = np.where(rng.random(count) < 0.2, rng.uniform(0.2, 0.8, count), 0).astype(np.float32)
        _tint(albedo, self._cheeks * cheeks[:, None], np.tile(np.float32([0.6, 0.55, 1.1]), (count, 1)))

    def _inside(self, rng: np.random.Generator, albedo: np.ndarray) -> None:
        """Eyes, teeth, gums, tongue and the dark of the mouth."""
        parts, count = self._head.parts, len(albedo)

        def shaded(colour: tuple[float, float, float], low: float, high: float) -> np.ndarray:
            return (np.float32(colour) * rng.uniform(low, high, (count, 1)).astype(np.float32))[:, None]

        albedo[:, parts == 4] = shaded((0.45, 0.56, 0.62), 0.4, 1.3)
        albedo[:, parts == 2] = shaded((0.1, 0.09, 0.3), 0.4, 1.2)
        albedo[:, parts == 3] = shaded((0.14, 0.12, 0.38), 0.4, 1.2)
        albedo[:, parts == 1] *= 0.12
        albedo[:, parts == 9] *= 0.5
        iris = linear(_IRISES[rng.integers(len(_IRISES), size=count)] * rng.uniform(0.6, 1.2, (count, 1)))[:, None]
        white = shaded((0.62, 0.64, 0.68), 0.5, 1.1)
        for vertices, of_iris, centre in self._eyes:
            rays = self._head.neutral[vertices] - centre
            pupil = np.arccos(rays[:, 2] / np.linalg.norm(rays, axis=1)) < _PUPIL
            colours = np.where(of_iris[:, None], iris, white)
            albedo[:, vertices] = np.where(pupil[:, None], np.float32(0.004), colours)

    def turn_eyes(self, vertices: np.ndarray, coefficients: np.ndarray) -> None:
        """Turns the eyeballs to where the lids' blendshapes look; in place."""
        index = {name: self._head.identities + column for column, name in enumerate(self._head.names)}
        if not self._wanted.gaze:
            return
        for (balls, _, centre), side in zip(self._eyes, "LR", strict=True):
            outwards = coefficients[:, index[f"eyeLookOut_{side}"]] - coefficients[:, index[f"eyeLookIn_{side}"]]
            up = coefficients[:, index[f"eyeLookUp_{side}"]] - coefficients[:, index[f"eyeLookDown_{side}"]]
            yaw, pitch = _GAZE * outwards * (1 if side == "L" else -1), -_GAZE * up
            ball = vertices[:, balls]
            middle = centre + (ball - self._head.neutral[balls]).mean(1)[:, None]
            x, y, z = np.moveaxis(ball - middle, -1, 0)
            cy, sy, cp, sp = (
                f[:, None].astype(np.float32) for f in (np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch))
            )
            y, z = cp * y - sp * z, sp * y + cp * z
            x, z = cy * x + sy * z, cy * z - sy * x
            vertices[:, balls] = middle + np.stack([x, y, z], -1)


def _cover(albedo: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    albedo += mask[:, :, None] * (colour[:, None] - albedo)


def _tint(albedo: np.ndarray, mask: np.ndarray, factor: np.ndarray) -> None:
    albedo *= 1 - mask[:, :, None] * (1 - factor[:, None])


def _near(at: np.ndarray, marks: np.ndarray, where: np.ndarray, width: float) -> np.ndarray:
    """1 at the marks, falling off around them as seen from the front."""
    squared = ((at[:, None, :2] - marks[None, :, :2]) ** 2).sum(2).min(1)
    return (np.exp(-squared / width) * where).astype(np.float32)


def _brows(at: np.ndarray, marks: np.ndarray, front: np.ndarray, width: float) -> np.ndarray:
    along = np.linspace(0, 4, 16)
    lines = [np.stack([np.interp(along, np.arange(5), marks[first : first + 5, axis]) for axis in (0, 1)], 1)
             for first in (17, 22)]  # fmt: skip
    away = at[:, None, :2] - np.concatenate(lines)[None]
    return (np.exp(-((away**2 * [1, 2.5]).sum(2).min(1)) / width**2) * front).astype(np.float32)


def _beards(at: np.ndarray, marks: np.ndarray) -> list[np.ndarray]:
    """Full, stubble up the cheeks, moustache, goatee, and moustache with goatee; none on the lips."""
    x, y = at[:, 0], at[:, 1]
    lips = np.exp(-((at[:, None, :2] - marks[None, 48:68, :2]) ** 2).sum(2).min(1) / 0.12)
    low = 1 / (1 + np.exp((y - np.interp(np.abs(x), [0, 2.2, 5, 7.5], [-1.3, -1.6, -1.2, 3])) / 0.35))
    high = 1 / (1 + np.exp((y - np.interp(np.abs(x), [0, 2.2, 5, 7.5], [-1.2, -1.1, 0.2, 4])) / 0.5))
    lip = marks[51]
    moustache = np.exp(-((x / 2.2) ** 4) - ((y - lip[1] - 0.35) / 0.5) ** 2)
    goatee = np.exp(-((x / 1.9) ** 4) - ((y - marks[8, 1] - 0.6) / 1.6) ** 4)
    bare = 1 - lips
    return [low * bare, high * bare, moustache * bare, goatee * bare, np.maximum(moustache, goatee) * bare]


def _folds(at: np.ndarray, marks: np.ndarray) -> list[np.ndarray]:
    """Dark lines: three across the forehead, two between the brows, beside the eyes, from the nose past the mouth."""
    x, y = at[:, 0], at[:, 1]
    brow = marks[[19, 24], 1].mean()

    def line(points: np.ndarray, width: float) -> np.ndarray:
        return np.exp(-((at[:, None, :2] - points[None]) ** 2).sum(2).min(1) / width**2)

    folds = [
        np.exp(-(((y - brow - level - 0.05 * np.abs(x)) / 0.16) ** 2) - (x / 4.2) ** 4) for level in (1.1, 2.0, 2.9)
    ]
    folds.append(sum(np.exp(-(((np.abs(x) - 0.5) / 0.15) ** 2) - ((y - brow + 0.1) / 0.7) ** 2) for _ in range(1)))
    for nose, corner, eye, outward in ((31, 48, 36, -1), (35, 54, 45, 1)):
        start, end = marks[nose, :2] + [0.5 * outward, 0.3], marks[corner, :2] + [0.7 * outward, -0.3]
        folds.append(line(start + np.linspace(0, 1, 14)[:, None] * (end - start), 0.2))
        fan = [marks[eye, :2] + [outward * (0.5 + 0.9 * t), slope * t] for slope in (-0.6, 0, 0.6) for t in (0, 0.5, 1)]
        folds.append(line(np.array(fan), 0.15))
        bag = [marks[eye, :2] + [-outward * t, -0.75 - 0.3 * np.sin(np.pi * t / 2.6)] for t in np.linspace(0, 2.6, 12)]
        folds.append(line(np.array(bag), 0.22))
    return folds
