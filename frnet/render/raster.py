"""Which triangle of a mesh is seen at which pixel, and attributes of its vertices in between; over NumPy arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frnet import _core

__all__ = ["Raster", "rasterize", "vertex_normals"]


class Raster(NamedTuple):
    """What is seen at every pixel. The batch is left out where the vertices had none.

    Attributes:
        triangles: int32 [batch, height, width], which triangle; -1: none.
        depth: float32 [batch, height, width], z; 0 where nothing is seen.
        barycentrics: float32 [batch, height, width, 3], how much of each corner, or None where not wanted.
        attributes: float32 [batch, height, width, channels], 0 where nothing is seen, or None where none were given.
        coverage: float32 [batch, height, width], the share of the pixel's samples that see anything.
    """

    triangles: NDArray[np.int32]
    depth: NDArray[np.float32]
    barycentrics: NDArray[np.float32] | None
    attributes: NDArray[np.float32] | None
    coverage: NDArray[np.float32]


def rasterize(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    height: int,
    width: int,
    *,
    attributes: NDArray[np.floating] | None = None,
    inverse_depth: NDArray[np.floating] | None = None,
    cull: bool = False,
    samples: int = 1,
    barycentrics: bool = True,
) -> Raster:
    """Seen triangles of meshes and what lies between their vertices: ``frnet.ops.rasterize`` without torch.

    Pixel centres lie at whole numbers. Of the triangles over a sample the one with the greatest z is seen, among equals
    the one with the lowest index. Corners are rounded to 1/256 of the distance of two samples; whether a sample
    lies inside is then decided exactly, and one on the edge of two triangles belongs to one of them alone. Triangles
    of no area or with a corner that is not finite are left out. The result does not depend on the instruction set.
    Runs on the calling thread, without the interpreter's lock.

    Args:
        vertices: [batch, N, 3] or [N, 3]: x and y in pixels, y down; z towards the viewer.
        triangles: [T, 3], indices into the vertices; counter-clockwise seen from outside.
        height: of the picture, pixels; at most 32768 / samples, as the width.
        width: of the picture, pixels.
        attributes: [batch or 1, N, C], or [N, C] for all: values of the vertices, interpolated.
        inverse_depth: [batch, N] or [N], 1 / w of a perspective projection, positive: weights are then correct in
            perspective, the triangle with the greatest 1 / w is seen, and one with a corner of 0 or less is left out.
        cull: whether triangles seen from inside are left out.
        samples: s x s of them in a pixel, 1 to 4. Attributes are the mean over those that see anything; triangle,
            depth and barycentrics are those of the one nearest to the viewer.
        barycentrics: whether they are wanted.

    Returns:
        Raster.

    Raises:
        ValueError: a shape, size or index does not fit.

    Example:
        >>> corners = np.float32([[0, 0, 0], [0, 2, 0], [2, 0, 0]])
        >>> seen = rasterize(corners, np.array([[0, 1, 2]]), 3, 3, attributes=corners, cull=True)
        >>> seen.triangles
        array([[ 0,  0, -1],
               [ 0, -1, -1],
               [-1, -1, -1]], dtype=int32)
        >>> seen.attributes[0, 1]
        array([1., 0., 0.], dtype=float32)
    """
    vertices, triangles = np.asarray(vertices), _indices(triangles, np.shape(vertices)[-2:-1])
    single = vertices.ndim == 2
    if single:
        vertices = vertices[None]
        inverse_depth = None if inverse_depth is None else np.asarray(inverse_depth)[None]
    if attributes is not None and np.ndim(attributes) == 2:
        attributes = np.asarray(attributes)[None]
    seen = _core.rasterize(
        vertices,
        triangles,
        height,
        width,
        attributes=attributes,
        inverse_depth=inverse_depth,
        cull=cull,
        samples=samples,
        barycentrics=barycentrics,
    )
    return Raster(*(part[0] if single and part is not None else part for part in seen))


def vertex_normals(vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Unit normals of the vertices: those of the triangles around each, weighted by area.

    Args:
        vertices: [N, 3], z towards the viewer, y up or down.
        triangles: int [T, 3], counter-clockwise seen from outside. Where y is down, as in pixels, normals point
            inwards.

    Returns:
        float32 [N, 3]; zero for a vertex without triangles.
    """
    first, second, third = np.asarray(vertices, np.float32)[triangles.T]
    across = np.cross(second - first, third - first)
    corners = triangles.T.ravel()
    sums = [np.bincount(corners, np.tile(part, 3), len(vertices)) for part in across.T]
    normals = np.stack(sums, 1).astype(np.float32)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _indices(triangles: NDArray[np.integer], vertices: tuple[int, ...]) -> NDArray[np.int32]:
    """As int32, which a larger index must not be cut down to."""
    triangles = np.asarray(triangles)
    if triangles.dtype == np.int32:
        return triangles
    if triangles.size and not np.issubdtype(triangles.dtype, np.integer):
        raise ValueError(f"rasterize: triangles must be integers, got {triangles.dtype}")
    if triangles.size and vertices:
        low, high = triangles.min(), triangles.max()
        if low < 0 or high >= vertices[0]:
            raise ValueError(f"rasterize: triangles must be indices from 0 to {vertices[0] - 1}, got {low} to {high}")
    return triangles.astype(np.int32)
