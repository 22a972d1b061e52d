"""Reading the file types that models come in, and the conventions their indices follow."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "face_the_viewer",
    "kept_columns",
    "load_npy",
    "load_npz",
    "load_text",
    "require_files",
    "triangle_rows",
    "vertex_indices",
]

_LANDMARKS = 68


def load_text(path: Path) -> np.ndarray:
    """A table of numbers, float64 [rows, columns]."""
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: not a table of numbers ({error})") from None


def load_npy(path: Path) -> np.ndarray:
    """An .npy file; one with pickled objects is refused."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file of numbers ({error})") from None


def load_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """These arrays of an .npz file; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in names if name not in stored]
            if missing:
                raise ValueError(f"expected the arrays {', '.join(names)}, missing {', '.join(missing)}")
            return {name: stored[name] for name in names}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from None


def require_files(paths: Iterable[Path], what: str) -> None:
    """Raises FileNotFoundError that names every missing file at once."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"missing {', '.join(missing)} ({what} has them)")


def vertex_indices(keypoints: Any, source: str) -> np.ndarray:
    """Vertex indices from 3DDFA's flat ones (x0, y0, z0, x1, ...), or as they are where they are not flat."""
    flat = np.asarray(keypoints).reshape(-1).astype(np.int64)
    if flat.size and flat.size % 3 == 0:
        triples = flat.reshape(-1, 3)
        if (triples[:, 0] % 3 == 0).all() and (triples - triples[:, :1] == np.arange(3)).all():
            return triples[:, 0] // 3
    if flat.size == 3 * _LANDMARKS:
        raise ValueError(f"{source}: expected 68 triples of consecutive flat indices, each starting at a multiple of 3")
    return flat


def kept_columns(basis: Any, count: int | None, source: str) -> np.ndarray:
    """The first ``count`` columns as float32; all of them for None."""
    basis = np.asarray(basis)
    if basis.ndim != 2:
        raise ValueError(f"{source}: expected a matrix [3N, components], got {list(basis.shape)}")
    if count is not None and not 0 <= count <= basis.shape[1]:
        raise ValueError(f"{source}: expected at least {count} components, got {basis.shape[1]}")
    return np.ascontiguousarray(basis[:, :count], np.float32)


def triangle_rows(triangles: Any, source: str, *, base: int) -> np.ndarray:
    """Triangles as published, [3, T] or [T, 3] counting from ``base``, as int64 [T, 3] counting from 0.

    Three triangles in a 3x3 array are taken to be stored as columns, as the published files store them.
    """
    array = np.asarray(triangles)
    if array.ndim != 2 or 3 not in array.shape:
        raise ValueError(f"{source}: expected triangles [3, T] or [T, 3], got {list(array.shape)}")
    if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise ValueError(f"{source}: expected triangles of whole numbers")
    rows = (array.T if array.shape[0] == 3 else array).astype(np.int64) - base
    if rows.size and rows.min() < 0:
        raise ValueError(
            f"{source}: expected triangles of vertex numbers that count from {base}, got {rows.min() + base}"
        )
    return np.ascontiguousarray(rows)


def face_the_viewer(triangles: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Reverses all triangles if, summed over the surface, their normals point away from +z."""
    corners = np.asarray(mean, np.float64).reshape(-1, 3)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return triangles if normals[:, 2].sum() >= 0 else np.ascontiguousarray(triangles[:, ::-1])
