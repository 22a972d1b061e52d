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
    seen = rasterize(vertices, triangles, size, size, attributes=attributes, cull=cull, barycentrics=False)
    return seen.attributes, np.where(seen.triangles >= 0, seen.depth, np.float32(-np.inf))
