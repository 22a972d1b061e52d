"""What lies behind a head: pieces of photographs, noise on several scales, plain colours."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["Backgrounds"]


class Backgrounds:
    """Draws backgrounds.

    Args:
        photographs: uint8 [K, S, S, 3]; None: none are used.
        size: side of the backgrounds.
    """

    def __init__(self, photographs: np.ndarray | None, size: int) -> None:
        self._photographs, self._size = photographs, size

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """uint8 [size, size, 3]."""
        kind = rng.random()
        if kind < 0.8 and self._photographs is not None:
            return self._photograph(rng)
        if kind < 0.93:
            return self._noise(rng)
        colour = rng.uniform(0, 255) + rng.normal(0, 20, 3)
        return np.full((self._size, self._size, 3), colour.clip(0, 255), np.uint8)

    def _photograph(self, rng: np.random.Generator) -> np.ndarray:
        size = self._size
        picture = self._photographs[rng.integers(len(self._photographs))]
        side = int(rng.integers(len(picture) * 3 // 8, len(picture) + 1))
        top, left = rng.integers(len(picture) - side + 1, size=2)
        picture = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        if rng.random() < 0.4:  # out of focus
            few = int(size / rng.uniform(2, 12))
            picture = cv2.resize(np.ascontiguousarray(picture), (few, few), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
        gain, lift = rng.uniform(0.5, 1.3), rng.uniform(-50, 50) + rng.uniform(-15, 15, 3)
        table = ((np.arange(256)[:, None] - 128) * gain + 128 + lift).clip(0, 255).astype(np.uint8)
        return cv2.LUT(picture, table[None])

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        size = self._size
        picture = np.zeros((size, size, 3), np.float32)
        for cells in (2, 4, 8, 16, 60):
            noise = rng.standard_normal((cells, cells, 3)).astype(np.float32) * np.float32(rng.uniform(0, 1))
            picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.6:
            picture = picture.mean(2, keepdims=True) + 0.3 * picture
        picture *= np.float32(rng.uniform(5, 45))
        picture += (rng.uniform(30, 220) + rng.normal(0, 20, 3)).astype(np.float32)
        return picture.clip(0, 255).astype(np.uint8)
