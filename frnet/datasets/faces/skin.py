"""What colour a head's vertices have: skin, brows, lips, beards, make-up, wrinkles, eyes, teeth. Linear light, BGR."""

from __future__ import annotations

import numpy as np

from frnet.datasets.faces.fields import Fields
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.marks import FaceMarks

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
        self._colours = None if colours is None or not ingredients.photo_colours else linear(colours)
        self._marks = FaceMarks(head)
        at = head.neutral
        self._front = np.flatnonzero((head.parts == 0) & (at[:, 2] > 2) & (at[:, 1] > -8) & (at[:, 1] < 9))[::5]
        self._eyes = []
        for white, iris in ((5, 7), (6, 8)):  # parts of the left and of the right eye
            vertices = np.flatnonzero((head.parts == white) | (head.parts == iris))
            ring = np.flatnonzero(head.parts == iris)
            middle = (at[vertices, :2].min(0) + at[vertices, :2].max(0)) / 2
            depth = at[vertices, 2].max() - np.ptp(at[vertices, 0]) / 2
            self._eyes.append((vertices, np.isin(vertices, ring), np.float32([*middle, depth])))

    def paint(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """float32 [count, V, 3], albedo."""
        fields = self._fields
        albedo = self._base(rng, count)
        for face in albedo:
            self._details(rng, face)
        tone = fields.draw(rng, rng.uniform(0.4, 1.5, count), count) * rng.uniform(0, 0.05, (count, 1))
        tone += fields.draw(rng, 5.0, count) * rng.uniform(0, 0.12, (count, 1))
        tone += fields.noise(rng, count) * (rng.uniform(0, 0.06, (count, 1)) * (rng.random((count, 1)) < 0.6))
        albedo *= np.exp(tone.astype(np.float32))[:, :, None]
        self._inside(rng, albedo)
        return albedo

    def _details(self, rng: np.random.Generator, albedo: np.ndarray) -> None:
        """Brows, lips, a beard, make-up and folds on one head [V, 3]; in place."""
        marks, wanted = self._marks, self._wanted
        painted = rng.random() < (0.3 if self._colours is not None else 1.0)
        hair = linear(HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))] * rng.uniform(0.7, 1.2))
        if wanted.brows_and_lips and painted:
            marks.brows[rng.integers(len(marks.brows))].cover(albedo, rng.uniform(0.4, 0.95), hair)
            marks.lips.tint(albedo, 1.0, np.array([0.4, 0.4, 0.8]) * rng.uniform(0.7, 1.35, 3))
        if wanted.beard and rng.random() < (0.45 if painted else 0.15):
            beard = marks.beards[rng.integers(len(marks.beards))]
            patchy = 0.85 + 0.2 * self._fields.draw(rng, 0.4, 1)[0] + 0.15 * self._fields.draw(rng, 2.0, 1)[0]
            beard.cover(albedo, rng.uniform(0.15, 0.95) * patchy[beard.where].clip(0, 1), hair)
        if wanted.make_up:
            if rng.random() < 0.2:
                marks.lips.tint(albedo, rng.uniform(0.5, 1), rng.uniform((0.15, 0.1, 0.6), (0.7, 0.5, 1.2)))
            if rng.random() < 0.2:
                marks.lids.tint(albedo, rng.uniform(0.3, 1), rng.uniform(0.1, 1.0, 3))
            if rng.random() < 0.2:
                marks.cheeks.tint(albedo, rng.uniform(0.2, 0.8), np.array([0.6, 0.55, 1.1]))
        if wanted.wrinkles and rng.random() < 0.4:
            for fold in marks.folds:
                fold.tint(albedo, rng.uniform(0, 0.4), np.zeros(3))

    def _base(self, rng: np.random.Generator, count: int) -> np.ndarray:
        target = linear(_TONES[rng.integers(len(_TONES), size=count)] * rng.uniform(0.75, 1.15, (count, 1)))[:, None]
        if self._colours is None:
            return np.repeat(target, len(self._head.neutral), 1)
        albedo = self._one(rng, count)
        mean = albedo[:, self._front].mean(1, keepdims=True)
        if self._wanted.mixed_colours:
            chosen = np.flatnonzero(rng.random(count) < 0.5)
            second = self._one(rng, len(chosen))
            mask = self._fields.draw(rng, 6.0, len(chosen))
            mask += rng.uniform(-0.7, 0.7, (len(chosen), 1)).astype(np.float32)
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
        return colours

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
