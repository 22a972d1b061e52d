"""Lights that faces are seen in."""

from __future__ import annotations

import numpy as np

from frnet.render.shading import MeshLights

__all__ = ["draw_lights"]


def draw_lights(rng: np.random.Generator, count: int, shadows: bool) -> MeshLights:
    """Lights of all kinds, most of them from above and from the front.

    Args:
        rng: random numbers.
        count: of faces.
        shadows: whether some cast them.
    """
    tint = np.exp(rng.normal(0, 0.09, (count, 3)))
    level = rng.uniform(0.3, 0.95, count)
    form = np.zeros((count, 4, 4))
    form[:, 3, 3] = level
    form[:, 3, :3] = rng.normal(0, 0.12, (count, 3)) * level[:, None]
    form[:, 3, 1] += rng.uniform(-0.05, 0.2, count) * level
    bend = rng.normal(0, 0.08, (count, 3, 3)) * level[:, None, None]
    form[:, :3, :3] = bend + bend.transpose(0, 2, 1)
    form[:, :3, 3] = form[:, 3, :3]
    direction = rng.standard_normal((count, 3)) * [1, 1, 1.2] + [0, 0.4, 0]
    direction[:, 2] = np.abs(direction[:, 2]) + 0.1
    behind = rng.random(count) < 0.08  # against the light
    direction[behind, 2] *= -0.6
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lamp = 1.2 * rng.random((count, 1)) ** 1.5 * np.exp(rng.normal(0, 0.1, (count, 3)))
    shadow = rng.uniform(0.2, 0.95, count) * (rng.random(count) < 0.7) * shadows
    shine = 0.14 * rng.random(count) ** 2 * (rng.random(count) < 0.75)
    values = (form, tint, direction, lamp, shadow, shine, rng.integers(5, 41, count))
    return MeshLights(*(value.astype(np.float32) for value in values))
