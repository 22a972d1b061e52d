"""Drawing a mesh with interpolated attributes."""

from __future__ import annotations

import numpy as np

from frnet.render.raster import rasterize

__all__ = ["draw"]


def draw(
    vertices: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, size: int, cull: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Attributes of the nearest surface at every pixel, and its depth.

    Args:
        vertices: float32 [N, 3], pixels; z towards the viewer.
        triangles: int32 [T, 3].
        attributes: float32 [N, C].
        size: side of the picture.
        cull: whether triangles seen from inside are left out.

    Returns:
        float32 [size, size, C], 0 where there is no surface, and [size, size], minus infinity there.
    """
    seen = rasterize(vertices, triangles, size, size, cull=cull)
    picture = np.zeros((size * size, attributes.shape[1]), np.float32)
    depth = np.full(size * size, -np.inf, np.float32)
    corners = triangles[seen.triangles]
    picture[seen.pixels] = sum(seen.weights[:, k, None] * attributes[corners[:, k]] for k in range(3))
    depth[seen.pixels] = sum(seen.weights[:, k] * vertices[corners[:, k], 2] for k in range(3))
    return picture.reshape(size, size, -1), depth.reshape(size, size)
