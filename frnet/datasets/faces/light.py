"""Light on vertices: an environment as spherical harmonics, one lamp with a highlight, and the shadows it casts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Light", "draw_lights"]

_GRID, _CELL, _BIAS = 72, 0.55, 1.2  # of the shadow map: cells, centimetres, centimetres
_TAPS = ((0.0, 0.0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))  # cells


@dataclass(frozen=True)
class Light:
    """Of several faces at once.

    Attributes:
        ambient: float32 [n, 4, 4]: irradiance of a normal n is ``(n, 1) M (n, 1)``, the second-order harmonics.
        tint: float32 [n, 3] of the ambient light.
        direction: float32 [n, 3], to the lamp.
        lamp: float32 [n, 3], its colour.
        shadow: float32 [n], how much of the lamp a shadow takes; 0: none is cast.
        shine, sharpness: float32 [n] of the highlight on skin.
    """

    ambient: np.ndarray
    tint: np.ndarray
    direction: np.ndarray
    lamp: np.ndarray
    shadow: np.ndarray
    shine: np.ndarray
    sharpness: np.ndarray

    def on(
        self, which: slice | np.ndarray, vertices: np.ndarray, normals: np.ndarray, shine: np.ndarray | float = 0.0,
        casters: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Diffuse light and highlights on vertices.

        Args:
            which: of the faces.
            vertices, normals: float32 [n, V, 3] in the camera's directions.
            shine: [V], factor of the highlight.
            casters: indices of the vertices that cast shadows; None: there are none.

        Returns:
            float32 [n, V, 3] to multiply with the albedo, and [n, V, 3] to add.
        """
        form, direction, lamp = self.ambient[which], self.direction[which], self.lamp[which]
        irradiance = np.einsum("nvi,nvi->nv", normals @ form[:, :3, :3] + 2 * form[:, None, 3, :3], normals)
        irradiance += form[:, None, 3, 3]
        np.maximum(irradiance, 0.02, out=irradiance)
        facing = (normals @ direction[:, :, None])[:, :, 0]
        visible = (facing > 0).astype(np.float32)
        if casters is not None:
            for face in np.flatnonzero(self.shadow[which] > 0):
                visible[face] *= 1 - self.shadow[which][face] * _shadowed(vertices[face], direction[face], casters)
        half = direction + np.float32([0, 0, 1])
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        spread = (normals @ half[:, :, None])[:, :, 0].clip(1e-3, 1)
        gloss = np.exp(self.sharpness[which][:, None] * np.log(spread)) * visible * self.shine[which][:, None] * shine
        diffuse = irradiance[:, :, None] * self.tint[which][:, None]
        diffuse += (facing * visible)[:, :, None] * lamp[:, None]
        return diffuse, gloss[:, :, None] * lamp[:, None]


def draw_lights(rng: np.random.Generator, count: int, shadows: bool) -> Light:
    """Lights of all kinds, most of them from above and from the front."""
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
    values = (form, tint, direction, lamp, shadow, shine, rng.uniform(5, 40, count))
    return Light(*(value.astype(np.float32) for value in values))


def _shadowed(vertices: np.ndarray, direction: np.ndarray, casters: np.ndarray) -> np.ndarray:
    """Share of the taps about each vertex [V] that something nearer to the lamp covers."""
    helper = np.float32([0, 1, 0]) if abs(direction[1]) < 0.9 else np.float32([1, 0, 0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right)], 1) / _CELL
    place = vertices @ axes + _GRID / 2
    depth = vertices @ direction
    cells = place[casters].clip(0, _GRID - 1).astype(np.int32)
    order = np.argsort(depth[casters])  # of several in a cell the one nearest to the lamp is written last
    nearest = np.full(_GRID * _GRID, -1e9, np.float32)
    nearest[(cells[:, 1] * _GRID + cells[:, 0])[order]] = depth[casters][order]
    hidden = np.zeros(len(vertices), np.float32)
    for dx, dy in _TAPS:
        tap = (place + np.float32([dx, dy])).clip(0, _GRID - 1).astype(np.int32)
        hidden += nearest[tap[:, 1] * _GRID + tap[:, 0]] > depth + _BIAS
    return hidden / len(_TAPS)
