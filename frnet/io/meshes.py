"""Mesh files of a face: OBJ and PLY.

In a file x points right, y up and z towards the camera, in image pixels: an image point (x, y) lies at
(x, -y). So viewers, which take y as up, show the face upright. Vertices keep their order, so that index i in
the file is vertex i of the morphable model; triangles are ordered so that normals point outwards.

Both formats are written here: they are a page of code, and the usual library for them is slow to import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from frnet.io.files import write_whole
from frnet.io.images import Image

if TYPE_CHECKING:
    import trimesh

__all__ = ["face_mesh", "save_mesh", "vertex_colors"]


def face_mesh(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    colors: NDArray[np.uint8] | None = None,
) -> trimesh.Trimesh:
    """A mesh with y up and normals outwards, to go on with in trimesh. Needs ``pip install frnet[mesh]``.

    Args:
        vertices: [N, 3], image pixels, y down, z towards the viewer.
        triangles: int [T, 3], indices into ``vertices``, T >= 1.
        colors: uint8 [N, 3], RGB, one per vertex.

    Raises:
        ValueError: no triangles (a model of landmarks alone has none), an index out of range, vertices that are not
            finite, or colours that do not fit them.
        ImportError: trimesh is missing.
    """
    points, triangles, colors = _oriented("face_mesh", vertices, triangles, colors)
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(f"face_mesh needs trimesh ({error}): pip install 'frnet[mesh]'") from error
    return trimesh.Trimesh(points, triangles, vertex_colors=colors, process=False)


def save_mesh(
    path: str | os.PathLike,
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    colors: NDArray[np.uint8] | None = None,
) -> None:
    """Write ``.obj`` or ``.ply``; see :func:`face_mesh` for the arguments. The file appears complete or not at all.

    OBJ is text, with colours from 0 to 1 behind the coordinates; PLY is binary, little-endian. Coordinates are
    float32 in both, and exact.

    Raises:
        ValueError: another suffix, or see :func:`face_mesh`.
        OSError: the file cannot be written.
    """
    path = Path(path)
    encode = {".obj": _obj, ".ply": _ply}.get(path.suffix.lower())
    if encode is None:
        raise ValueError(f"save_mesh: {path} must end in .obj or .ply")
    write_whole(path, encode(*_oriented("save_mesh", vertices, triangles, colors)))


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


def _oriented(
    caller: str, vertices: NDArray, triangles: NDArray, colors: NDArray | None
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8] | None]:
    """Vertices with y up, triangles with normals outwards, colours: all checked."""
    points, triangles = np.asarray(vertices, np.float32), np.asarray(triangles)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"{caller}: vertices must be [N, 3] and finite, got {list(points.shape)}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"{caller}: triangles must be [T, 3] with T >= 1, got {list(triangles.shape)}")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise ValueError(
            f"{caller}: triangles refer to vertices {triangles.min()} to {triangles.max()}, there are {len(points)}"
        )
    if colors is not None and (np.shape(colors) != (len(points), 3) or np.asarray(colors).dtype != np.uint8):
        raise ValueError(f"{caller}: colors must be uint8 [{len(points)}, 3], got {list(np.shape(colors))}")
    points = points * np.float32([1, -1, 1])
    triangles = triangles.astype(np.int32)
    return points, triangles if _points_outwards(points, triangles) else triangles[:, ::-1], colors


def _obj(points: NDArray[np.float32], triangles: NDArray[np.int32], colors: NDArray[np.uint8] | None) -> bytes:
    """Wavefront OBJ. Nine digits tell any two float32 apart; four are enough for 256 shades."""
    columns, line = points.astype(np.float64), "v %.9g %.9g %.9g\n"
    if colors is not None:
        columns, line = np.concatenate([columns, colors / 255], axis=1), line[:-1] + " %.4f %.4f %.4f\n"
    text = line * len(columns) % tuple(columns.ravel().tolist())
    text += "f %d %d %d\n" * len(triangles) % tuple((triangles + 1).ravel().tolist())
    return text.encode("ascii")


def _ply(points: NDArray[np.float32], triangles: NDArray[np.int32], colors: NDArray[np.uint8] | None) -> bytes:
    """Stanford PLY: a header in text, then vertices and faces as they lie in memory."""
    shades = () if colors is None else ("red", "green", "blue")
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"),
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {shade}" for shade in shades),
        *(f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header", ""),
    ]
    rows = np.zeros(len(points), [("place", "<f4", 3), ("shade", "u1", len(shades))])
    rows["place"] = points
    if colors is not None:
        rows["shade"] = colors
    faces = np.zeros(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    return "\n".join(header).encode("ascii") + rows.tobytes() + faces.tobytes()


def _points_outwards(points: NDArray[np.float32], triangles: NDArray[np.integer]) -> bool:
    """Whether normals mostly point away from the middle: an open shell bulges away from its centroid."""
    corners = points[triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - points[np.unique(triangles)].mean(axis=0)
    return float(np.einsum("tk,tk->", normals, outward)) >= 0
