"""Reader of ICT Face Model Light (ICT-FaceKit, MIT licence): the FaceXModel folder, or one npz of it."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from frnet.morphable.files import load_npz

__all__ = ["read_ict_facekit", "read_obj"]

_log = logging.getLogger(__name__)
_NEUTRAL = "generic_neutral_mesh.obj"
_IDENTITIES = 100


def read_ict_facekit(folder_or_npz: str | os.PathLike[str]) -> dict[str, Any]:
    """ICT Face Model Light: 26,719 vertices in centimetres, 100 identities and the expression blendshapes.

    A face is ``neutral + sum_i a_i (identity_i - neutral) + sum_j b_j (expression_j - neutral)``; Li et al.,
    CVPR 2020. Quads become two triangles. Landmarks are ``idx_to_landmark_verts``, in the 68-point order.

    Args:
        folder_or_npz: the ``FaceXModel`` folder (``generic_neutral_mesh.obj``, ``identity000.obj`` ..,
            one OBJ file per expression, ``vertex_indices.json``), or an npz with ``neutral`` [N, 3],
            ``identity`` [S, N, 3] and ``expression`` [E, N, 3] offsets, ``expression_names``, ``faces``
            [F, 4] (-1 in a triangle's last place) and ``landmarks68``. A folder may hold part of the shapes:
            those it holds are read, in the order of their names, and ``shape_names`` and
            ``expression_names`` say which they are. A folder one level up will do too: its
            ``ict_face_model_light.npz`` is read, else its ``FaceXModel``.

    Returns:
        Arguments of :class:`frnet.morphable.MorphableModel`, without whitening.

    Raises:
        OSError: the path, or the folder's neutral mesh or ``vertex_indices.json``, is missing.
        ValueError: a file does not fit; names it.
    """
    path = Path(folder_or_npz)
    if path.is_dir() and not (path / _NEUTRAL).is_file():
        for inner in (path / "ict_face_model_light.npz", path / "FaceXModel"):
            if inner.exists():
                path = inner
                break
    return _read_folder(path) if path.is_dir() else _read_npz(path)


def _read_npz(path: Path) -> dict[str, Any]:
    stored = load_npz(path, ("neutral", "identity", "expression", "expression_names", "faces", "landmarks68"))
    neutral = stored["neutral"]
    for name in ("identity", "expression"):
        if stored[name].ndim != 3 or stored[name].shape[1:] != neutral.shape:
            raise ValueError(
                f"{path}: {name} must be [components, {neutral.shape[0]}, 3], got {list(stored[name].shape)}"
            )
    return {
        "mean": neutral.astype(np.float32).reshape(-1),
        "basis_shape": _columns(stored["identity"]),
        "basis_expression": _columns(stored["expression"]),
        "landmarks": stored["landmarks68"],
        "triangles": _triangles(stored["faces"]),
        "name": "ict-face-model-light",
        "shape_names": [f"identity{index:03d}" for index in range(len(stored["identity"]))],
        "expression_names": [str(name) for name in stored["expression_names"]],
        "sources": dict.fromkeys(("mean", "basis_shape", "basis_expression", "landmarks", "triangles"), str(path)),
    }


def _read_folder(folder: Path) -> dict[str, Any]:
    for name in (_NEUTRAL, "vertex_indices.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"missing {folder / name}: not a FaceXModel folder of ICT-FaceKit")
    indices_path = folder / "vertex_indices.json"
    try:
        indices = json.loads(indices_path.read_text(encoding="utf-8"))
        landmarks = np.asarray(indices["idx_to_landmark_verts"], np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{indices_path}: expected JSON with idx_to_landmark_verts ({error!r})") from None
    neutral, faces = read_obj(folder / _NEUTRAL)
    names = sorted(path.stem for path in folder.glob("*.obj") if path.name != _NEUTRAL)
    shapes = [name for name in names if re.fullmatch(r"identity\d+", name)]
    expressions = [name for name in names if name not in shapes]
    absent = [name for name in indices.get("expressions", []) if name not in expressions]
    if absent or len(shapes) < _IDENTITIES:
        _log.warning(
            "%s holds part of the model: read identities %s and expressions %s; absent: %d of %d identities, "
            "%d of %d listed expressions",
            folder, shapes, expressions, max(0, _IDENTITIES - len(shapes)), _IDENTITIES,
            len(absent), len(indices.get("expressions", [])),
        )  # fmt: skip

    def offsets(name: str) -> np.ndarray:
        vertices, _ = read_obj(folder / f"{name}.obj", faces=False)
        if vertices.shape != neutral.shape:
            raise ValueError(
                f"{folder / name}.obj: expected {len(neutral)} vertices, as {_NEUTRAL} has, got {len(vertices)}"
            )
        return vertices - neutral

    def basis(components: list[str]) -> np.ndarray:
        return _columns(np.array([offsets(name) for name in components]).reshape(-1, *neutral.shape))

    return {
        "mean": neutral.astype(np.float32).reshape(-1),
        "basis_shape": basis(shapes),
        "basis_expression": basis(expressions),
        "landmarks": landmarks,
        "triangles": _triangles(faces),
        "name": "ict-face-model-light",
        "shape_names": shapes,
        "expression_names": expressions,
        "sources": {
            "mean": str(folder / _NEUTRAL),
            "triangles": str(folder / _NEUTRAL),
            "basis_shape": str(folder),
            "basis_expression": str(folder),
            "landmarks": str(indices_path),
        },
    }


def read_obj(path: str | os.PathLike[str], *, faces: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices and faces of a Wavefront OBJ file, in the file's own order and numbering (from 0).

    Args:
        path: the file; faces have three or four corners.
        faces: whether to read the faces too.

    Returns:
        Vertices float64 [N, 3] and faces int64 [F, 4], -1 in a triangle's last place; None if not asked for.

    Raises:
        OSError: the file is missing.
        ValueError: a line that does not fit; names the file.
    """
    path = Path(path)
    vertices: list[str] = []
    corners: list[list[int]] = []
    with path.open(encoding="latin-1") as lines:
        for line in lines:
            if line.startswith("v "):
                vertices.append(line[2:])
            elif faces and line.startswith("f "):
                try:
                    corner = [int(word.partition("/")[0]) for word in line.split()[1:]]
                except ValueError:
                    corner = []
                if len(corner) not in (3, 4) or min(corner) < 1:
                    raise ValueError(f"{path}: expected a face of three or four vertex numbers, got {line.strip()!r}")
                corners.append([index - 1 for index in corner] + [-1] * (4 - len(corner)))
    try:
        points = np.array(" ".join(vertices).split(), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex that is not three numbers ({error})") from None
    if points.size != 3 * len(vertices) or not vertices:
        raise ValueError(f"{path}: expected vertices of three numbers, got {points.size} for {len(vertices)} vertices")
    return points.reshape(-1, 3), np.array(corners, np.int64).reshape(-1, 4) if faces else None


def _columns(offsets: np.ndarray) -> np.ndarray:
    """[components, N, 3] -> [3N, components] float32."""
    return np.ascontiguousarray(offsets.reshape(len(offsets), math.prod(offsets.shape[1:])).T, np.float32)


def _triangles(faces: np.ndarray) -> np.ndarray:
    """[F, 4] with -1 for none -> [T, 3]; a quad a b c d becomes a b c and a c d."""
    faces = np.asarray(faces, np.int64)
    quads = faces[:, 3] >= 0
    both = np.stack([faces[:, :3], faces[:, [0, 2, 3]]], 1)
    keep = np.stack([np.ones_like(quads), quads], 1)
    return both[keep]
