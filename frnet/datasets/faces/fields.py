"""Irregular but smooth patterns on a head's vertices, kept in banks, since making one takes longer than mixing two."""

from __future__ import annotations

import numpy as np

__all__ = ["Fields"]

_SCALES = np.array([0.4, 0.7, 1.2, 2.0, 3.0, 5.0, 7.0])  # centimetres
_KEPT, _WAVES = 48, 24


class Fields:
    """Fields of deviation about 1 on vertices.

    Args:
        places: [V, 3], centimetres.
    """

    def __init__(self, places: np.ndarray) -> None:
        rng = np.random.default_rng(11)
        bank = np.empty((len(_SCALES), _KEPT, len(places)), np.float32)
        for scale, kept in zip(_SCALES, bank, strict=True):
            for field in kept:
                waves = rng.standard_normal((3, _WAVES)) / scale
                phases = rng.uniform(0, 2 * np.pi, _WAVES)
                field[:] = np.cos(places @ waves + phases) @ rng.standard_normal(_WAVES) * np.sqrt(2 / _WAVES)
        self._bank = bank
        self._noise = rng.standard_normal((64, len(places))).astype(np.float32)

    def draw(self, rng: np.random.Generator, scales: np.ndarray | float, count: int) -> np.ndarray:
        """float32 [count, V], each at the kept scale nearest to the wanted one."""
        wanted = np.broadcast_to(np.asarray(scales, np.float64), (count,))
        row = np.abs(np.log(wanted[:, None] / _SCALES)).argmin(1)
        first, second = rng.integers(_KEPT, size=(2, count))
        signs = rng.choice(np.float32([-1, 1]), (2, count, 1)) * np.float32([[[0.8]], [[0.6]]])
        return signs[0] * self._bank[row, first] + signs[1] * self._bank[row, second]

    def noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """float32 [count, V], independent from vertex to vertex."""
        return self._noise[rng.integers(len(self._noise), size=count)]
