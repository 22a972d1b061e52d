"""Where on a head brows, lips, beards, make-up and folds lie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frnet.datasets.faces.head import Head

__all__ = ["FaceMarks", "Mask"]


class Mask(NamedTuple):
    """Where something is painted: vertices int64 [n], and how much float32 [n]."""

    where: np.ndarray
    amount: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> Mask:
        where = np.flatnonzero(mask > 0.01)
        return cls(where, mask[where].astype(np.float32))

    def cover(self, albedo: np.ndarray, strength: np.ndarray | float, colour: np.ndarray) -> None:
        """Paints a head's colours [V, 3]; in place."""
        share = (strength * self.amount)[:, None].astype(np.float32)
        albedo[self.where] += share * (colour - albedo[self.where])

    def tint(self, albedo: np.ndarray, strength: float, factor: np.ndarray) -> None:
        """Multiplies a head's colours [V, 3]; in place."""
        albedo[self.where] *= 1 - np.float32(strength) * self.amount[:, None] * (1 - factor.astype(np.float32))


class FaceMarks:
    """Masks of a head's neutral face.

    Args:
        head: the mesh.

    Attributes:
        lips, lids, cheeks: where make-up goes.
        brows: of four widths.
        beards: full, stubble up the cheeks, moustache, goatee, and moustache with goatee.
        folds: across the forehead, between the brows, beside the eyes, from the nose past the mouth, below the eyes.
    """

    def __init__(self, head: Head) -> None:
        at, marks = head.neutral, head.neutral[head.points[68:136]]
        front = (head.parts == 0) & (at[:, 2] > 2)
        upper = at[:, 1] > marks[36:48, 1].mean()
        apples = marks[[31, 35]] + np.array([[-2.6, 0.6, 0], [2.6, 0.6, 0]])
        self.lips = Mask.of(_near(at, marks[48:60], front & (at[:, 2] > 8), 0.23))
        self.lids = Mask.of(_near(at, marks[36:48], front & upper, 0.35))
        self.cheeks = Mask.of(_near(at, apples, front, 1.5))
        self.brows = [Mask.of(_brows(at, marks, front, width)) for width in (0.28, 0.38, 0.5, 0.65)]
        self.beards = [Mask.of(mask * front) for mask in _beards(at, marks)]
        self.folds = [Mask.of(fold * front) for fold in _folds(at, marks)]


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
    folds.append(np.exp(-(((np.abs(x) - 0.5) / 0.15) ** 2) - ((y - brow + 0.1) / 0.7) ** 2))
    for nose, corner, eye, outward in ((31, 48, 36, -1), (35, 54, 45, 1)):
        start, end = marks[nose, :2] + [0.5 * outward, 0.3], marks[corner, :2] + [0.7 * outward, -0.3]
        folds.append(line(start + np.linspace(0, 1, 14)[:, None] * (end - start), 0.2))
        fan = [marks[eye, :2] + [outward * (0.5 + 0.9 * t), slope * t] for slope in (-0.6, 0, 0.6) for t in (0, 0.5, 1)]
        folds.append(line(np.array(fan), 0.15))
        bag = [marks[eye, :2] + [-outward * t, -0.75 - 0.3 * np.sin(np.pi * t / 2.6)] for t in np.linspace(0, 2.6, 12)]
        folds.append(line(np.array(bag), 0.22))
    return folds
