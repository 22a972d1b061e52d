"""Mesh files of a face, written with trimesh.

In a file x points right, y up and z towards the camera, in image pixels: an image point (x, y) lies at
(x, -y). So viewers, which take y as up, show the face upright. Vertices keep their order, so that index i in
the file is vertex i of the morphable model; triangles are ordered so that normals point outwards.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from frnet.io.images import Image


def face_mesh(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    colors: NDArray[np.uint8] | None = None,
) -> trimesh.Trimesh:
    """A mesh with y up and normals outwards.

    Args:
        vertices: [N, 3], image pixels, y down, z towards the viewer.
        triangles: int [T, 3], indices into ``vertices``, T >= 1.
        colors: uint8 [N, 3], RGB, one per vertex.

    Raises:
        ValueError: no triangles (a model of landmarks alone has none), or an index out of range.
    """
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"face_mesh: triangles must be [T, 3] with T >= 1, got {list(triangles.shape)}")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(
            f"face_mesh: triangles refer to vertices {triangles.min()} to {triangles.max()}, there are {len(vertices)}"
        )
    points = np.asarray(vertices, np.float64) * (1, -1, 1)
    if not _points_outwards(points, triangles):
        triangles = triangles[:, ::-1]
    return trimesh.Trimesh(points, triangles, vertex_colors=colors, process=False)


def save_mesh(
    path: str | os.PathLike,
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    colors: NDArray[np.uint8] | None = None,
) -> None:
    """Write ``.obj`` or ``.ply``; see :func:`face_mesh` for the arguments.

    Raises:
        ValueError: another suffix, or see :func:`face_mesh`.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".obj", ".ply"):
        raise ValueError(f"save_mesh: {path} must end in .obj or .ply")
    face_mesh(vertices, triangles, colors).export(path)


def vertex_colors(image: Image, vertices: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The colour under every vertex: nearest pixel, RGB; the nearest border pixel outside the image.

    A vertex on the far side of the face gets what is seen in front of it.

    Args:
        image: uint8 [height, width, 3], BGR.
        vertices: [N, 2 or 3], image pixels.

    Returns:
        uint8 [N, 3], RGB.
    """
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1])
    at = np.clip(np.round(np.nan_to_num(vertices[:, :2])), 0, limit).astype(int)
    return image[at[:, 1], at[:, 0], ::-1].copy()


def _points_outwards(points: NDArray[np.float64], triangles: NDArray[np.integer]) -> bool:
    """Whether normals mostly point away from the middle: an open shell bulges away from its centroid."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - points[np.unique(triangles)].mean(axis=0)
    return float(np.einsum("tk,tk->", normals, outward)) >= 0
