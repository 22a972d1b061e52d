"""What cameras, screens and compression do to a picture, and the crop that the aligner cuts of it."""

from __future__ import annotations

import cv2
import numpy as np

from frnet import geometry

__all__ = ["degrade", "draw_side", "to_crop"]

_SIDES = np.log([36.0, 90.0, 400.0])  # of a face's crop in its picture, pixels; a quarter are below the second

_GRAIN = np.random.default_rng(1).standard_normal((512, 512, 3)).astype(np.float32)  # cut from, as drawing takes longer


def draw_side(rng: np.random.Generator, count: int, degradation: bool) -> np.ndarray:
    """Sides of the roi in pictures as they come, float64 [count], whole numbers."""
    if not degradation:
        return np.full(count, 240.0)
    small = rng.random(count) < 0.25
    side = np.where(small, rng.uniform(*_SIDES[:2], count), rng.uniform(*_SIDES[1:], count))
    return np.rint(np.exp(side))


def degrade(rng: np.random.Generator, picture: np.ndarray, face: float | None = None) -> np.ndarray:
    """uint8 [S, S, 3], to the same, somewhat worse; blurred by what a face of so many pixels bears, else of all S."""
    side = len(picture)
    face = side if face is None else face
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.5) * face / 120)
    if rng.random() < 0.1:
        picture = cv2.filter2D(picture, -1, _motion(rng, 3, max(4, int(face) // 16)))
    if rng.random() < 0.5:
        top, left = rng.integers(len(_GRAIN) - side, size=2)
        noise = _GRAIN[top : top + side, left : left + side, : 3 if rng.random() < 0.5 else 1]
        noisy = picture + noise * np.float32(min(rng.exponential(4), 14))
        picture = noisy.clip(0, 255).astype(np.uint8)
    table = np.arange(256, dtype=np.float32)
    if rng.random() < 0.6:
        table = 255 * (table / 255) ** np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.6:
        middle = picture.mean()
        table = (table - middle) * np.exp(rng.normal(0, 0.25)) + middle + rng.normal(0, 12)
    if rng.random() < 0.03:  # few grey levels, or a drawing's contrast
        table = np.floor(table / 32) * 36
    grey = rng.random()
    picture = cv2.LUT(picture, table.clip(0, 255).astype(np.uint8))
    if grey < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[:, :, None], 3, 2)
    elif grey < 0.5:
        share = np.float32(rng.uniform(0.2, 1.6))
        plain = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        picture = cv2.addWeighted(picture, float(share), plain, float(1 - share), 0)
    if rng.random() < 0.55:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
    return picture


def to_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The whole of a square picture as the aligner cuts it."""
    side = len(picture)
    return geometry.crop(picture, [0, 0, side, side], size)


def _motion(rng: np.random.Generator, shortest: int, longest: int) -> np.ndarray:
    length = int(rng.integers(shortest, longest + 1))
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1, 1)
    return kernel / kernel.sum()
