"""Light on the vertices of meshes: an environment, a lamp with a highlight, and the shadows it casts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frnet import _core

__all__ = ["MeshLights", "Shaded", "shade_mesh"]


@dataclass(frozen=True)
class MeshLights:
    """The light on several meshes. Directions are the camera's: x right, y up, z towards the viewer.

    Attributes:
        ambient: float32 [n, 4, 4], symmetric: the environment's light on a normal is ``(n, 1) M (n, 1)``, its spherical
            harmonics up to the second order (Ramamoorthi and Hanrahan, SIGGRAPH 2001).
        tint: float32 [n, 3], its colour.
        direction: float32 [n, 3], to the lamp, unit length.
        lamp: float32 [n, 3], its colour.
        shadow: float32 [n], the share of the lamp that a shadow takes; 0: none is cast.
        shine: float32 [n], strength of the highlight.
        sharpness: float32 [n], its exponent, whole numbers.
    """

    ambient: NDArray[np.float32]
    tint: NDArray[np.float32]
    direction: NDArray[np.float32]
    lamp: NDArray[np.float32]
    shadow: NDArray[np.float32]
    shine: NDArray[np.float32]
    sharpness: NDArray[np.float32]

    def rows(self) -> NDArray[np.float32]:
        """float32 [n, 22], as ``frnet/shade_mesh.h`` lays a light out."""
        form, twice = self.ambient, 2 * self.ambient
        squares = [form[:, axis, axis] for axis in range(3)]
        products = [twice[:, first, second] for first, second in ((0, 1), (0, 2), (1, 2))]
        linear = [twice[:, axis, 3] for axis in range(3)]
        ambient = np.stack([*squares, *products, *linear, form[:, 3, 3]], 1)
        single = np.stack([self.shadow, self.shine, np.rint(self.sharpness)], 1)
        return np.concatenate([ambient, self.tint, self.direction, self.lamp, single], 1).astype(np.float32)


class Shaded(NamedTuple):
    """Lit vertices.

    Attributes:
        colours: float32 [n, V, 3], linear.
        diffuse: float32 [n, V, 3], what the albedo was multiplied with; None where not wanted.
    """

    colours: NDArray[np.float32]
    diffuse: NDArray[np.float32] | None


def shade_mesh(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    albedo: NDArray[np.floating],
    lights: NDArray[np.float32],
    *,
    roughness: NDArray[np.floating] | None = None,
    shine: NDArray[np.floating] | None = None,
    casters: NDArray[np.bool_] | None = None,
    two_sided: bool = False,
    diffuse: bool = False,
) -> Shaded:
    """Colours of the vertices of meshes with the same triangles, from their normals; on the calling thread.

    ``albedo (tint max((n, 1) M (n, 1), 0.02) + lamp max(n l, 0) visible) + lamp shine visible max(n h, 0)^sharpness``
    with the normal n, the lamp's direction l and h half way between l and the viewer. Shadows come from the depths of
    the casting vertices as the lamp sees them, on a grid with cells of 0.55 units about the origin.

    Args:
        vertices: [n, V, 3]; shadows expect centimetres.
        triangles: [T, 3], counter-clockwise seen from outside.
        albedo: [n, V, 3], linear.
        lights: [n, 22], see :meth:`MeshLights.rows`.
        roughness: [n, V, 3], added to the unit normals.
        shine: [V], factor of the highlight; None: there is none.
        casters: bool [V], which vertices cast shadows; None: none does.
        two_sided: whether normals are turned to the viewer.
        diffuse: whether the light itself is wanted, too.

    Raises:
        ValueError: a shape or an index that does not fit.

    Example:
        >>> corners = np.float32([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]])
        >>> one = np.ones(1, np.float32)
        >>> ambient = np.zeros((1, 4, 4), np.float32)
        >>> ambient[0, 3, 3] = 0.5
        >>> white, ahead = np.ones((1, 3)), np.array([[0, 0, 1.0]])
        >>> lights = MeshLights(ambient, white, ahead, white, 0 * one, 0 * one, one)
        >>> shade_mesh(corners, np.array([[0, 1, 2]]), np.ones_like(corners), lights.rows()).colours[0, 0]
        array([1.5, 1.5, 1.5], dtype=float32)
    """
    seen = _core.shade_mesh(
        vertices,
        triangles,
        albedo,
        lights,
        roughness=roughness,
        shine=shine,
        casters=casters,
        two_sided=two_sided,
        diffuse=diffuse,
    )
    return Shaded(*seen)
