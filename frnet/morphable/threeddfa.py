"""Readers of the model files of 3DDFA and 3DDFA_V2.

Every reader returns the keyword arguments of :class:`frnet.morphable.MorphableModel`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from frnet.io.mat import load_mat
from frnet.io.unpickle import load_pickle
from frnet.morphable.files import (
    face_the_viewer,
    kept_columns,
    load_npy,
    load_npz,
    load_text,
    require_files,
    triangle_rows,
    vertex_indices,
)
from frnet.morphable.whitening import WHITENING_FILES, Whitening, load_whitening

__all__ = ["read_grid", "read_landmarks", "read_v1", "read_v2"]

_GRID = 64
_LANDMARKS = 68


def read_landmarks(folder: str | os.PathLike[str], whitening: Any = None) -> dict[str, Any]:
    """3DDFA's model restricted to its 68 landmarks: ``u_base``, ``w_shp_base``, ``w_exp_base`` as text.

    The v1 whitening has six decimals in text, so its rotation entries (about 1e-4) carry two to three digits;
    give the path of ``param_whitening.pkl`` as ``whitening`` where that matters.

    Args:
        folder: ``c++/weights`` of 3DDFA; may also hold ``param_mean_v2.txt`` and ``param_std_v2.txt``.
        whitening: ``"v1"``, ``"v2"``, the path of a pickle, a pair (mean, std), or None for the newest held.

    Returns:
        Arguments of MorphableModel: 68 vertices, which are the landmarks in their order.

    Raises:
        OSError: a file is missing.
        ValueError: a file does not fit; names it.
    """
    folder = Path(folder)
    files = {
        "mean": folder / "u_base.txt",
        "basis_shape": folder / "w_shp_base.txt",
        "basis_expression": folder / "w_exp_base.txt",
    }
    require_files(files.values(), "3DDFA's c++/weights")
    arrays = {name: load_text(path) for name, path in files.items()}
    mean, std = _landmark_whitening(folder, whitening)
    return {
        "mean": arrays["mean"].astype(np.float32),
        "basis_shape": arrays["basis_shape"].astype(np.float32),
        "basis_expression": arrays["basis_expression"].astype(np.float32),
        "param_mean": mean,
        "param_std": std,
        "landmarks": np.arange(arrays["mean"].size // 3),
        "name": "3ddfa-landmarks",
        "sources": {name: str(path) for name, path in files.items()} | _whitening_sources(folder, whitening),
    }


def read_grid(
    npz: str | os.PathLike[str],
    landmarks: str | os.PathLike[str],
    whitening: Any = None,
    *,
    expression: str = "file",
) -> dict[str, Any]:
    """The 68 landmarks, then the 64x64 grid of face points that 3DDFA samples for its pose-adaptive features.

    Point ``64 i + j`` of the grid lies in column i, from x < 0 to x > 0, ear to ear, and row j, from the
    forehead to the chin. Each cell gives two triangles, counter-clockwise seen from outside; the landmarks
    belong to none.

    The published grid file repeats the first ten shape components in place of its expression basis, so an
    expression moves the landmarks but hardly the grid. ``expression="landmarks"`` replaces the file's basis:
    each component is interpolated from the landmarks' 68 mean positions with the biharmonic kernel
    ``-|x - y|`` plus a constant, which is exact at the landmarks.

    Args:
        npz: arrays ``mean`` [12288, 1], ``basis_shape`` [12288, S] and ``basis_expression`` [12288, E].
        landmarks: folder for :func:`read_landmarks`.
        whitening: as for :func:`read_landmarks`.
        expression: ``"file"`` or ``"landmarks"``.

    Returns:
        Arguments of MorphableModel: 4164 vertices.

    Raises:
        OSError: a file is missing.
        ValueError: a file does not fit, or an unknown ``expression``.
    """
    if expression not in ("file", "landmarks"):
        raise ValueError(f'expression must be "file" or "landmarks", got {expression!r}')
    npz = Path(npz)
    model = read_landmarks(landmarks, whitening)
    grid = load_npz(npz, ("mean", "basis_shape", "basis_expression"))
    rows = 3 * _GRID * _GRID
    for name, array in grid.items():
        columns = 1 if name == "mean" else model[name].shape[1]
        if array.shape != (rows, columns):
            raise ValueError(
                f"{npz}: {name} must be [{rows}, {columns}], to go with {model['sources'][name]}, "
                f"got {list(array.shape)}"
            )
    name = "3ddfa-grid"
    if expression == "landmarks":
        grid["basis_expression"] = _spread(model["mean"], model["basis_expression"], grid["mean"])
        name += " (expression interpolated from the landmarks)"

    cell = np.arange(_GRID * _GRID).reshape(_GRID, _GRID).T + _LANDMARKS  # [row, column], seen by the viewer
    top_left, top_right, bottom_left, bottom_right = (
        cell[:-1, :-1],
        cell[:-1, 1:],
        cell[1:, :-1],
        cell[1:, 1:],
    )
    first = np.stack([top_left, bottom_left, bottom_right], -1).reshape(-1, 3)
    second = np.stack([top_left, bottom_right, top_right], -1).reshape(-1, 3)
    model.update(
        {key: np.concatenate([model[key].reshape(3 * _LANDMARKS, -1), grid[key]]) for key in grid},
        triangles=np.stack([first, second], 1).reshape(-1, 3),
        name=name,
        sources=model["sources"] | {key: f"{model['sources'][key]} and {npz}" for key in grid},
    )
    return model


def read_v1(folder: str | os.PathLike[str], whitening: Any = None, triangles: Any = None) -> dict[str, Any]:
    """3DDFA's ``train.configs``: 53,215 vertices, 40 shape and 10 expression components.

    The mean is ``u_shp + u_exp``; ``keypoints_sim`` holds the flat indices of the landmarks' coordinates.

    Args:
        folder: holds ``u_shp.npy``, ``u_exp.npy``, ``w_shp_sim.npy``, ``w_exp_sim.npy``,
            ``keypoints_sim.npy`` and ``param_whitening.pkl``.
        whitening: path of a pickle or a pair (mean, std); default the folder's ``param_whitening.pkl``.
        triangles: path of ``tri.mat`` (counting from 1) or an array [T, 3] counting from 0; default
            ``tri.mat`` in the folder or in ``../visualize``, where 3DDFA has it, else none.

    Returns:
        Arguments of MorphableModel.

    Raises:
        OSError: a file is missing; all missing ones are named.
        ValueError: a file does not fit; names it.
    """
    folder = Path(folder)
    names = ("u_shp", "u_exp", "w_shp_sim", "w_exp_sim", "keypoints_sim")
    paths = {name: folder / f"{name}.npy" for name in names}
    source = folder / WHITENING_FILES["3ddfa-v1"] if whitening is None else whitening
    needed = list(paths.values()) + ([source] if whitening is None else [])
    require_files(needed, "3DDFA's train.configs")
    arrays = {name: load_npy(path) for name, path in paths.items()}
    if arrays["u_shp"].shape != arrays["u_exp"].shape:
        raise ValueError(
            f"{paths['u_exp']}: expected {list(arrays['u_shp'].shape)}, as {paths['u_shp'].name} has, "
            f"got {list(arrays['u_exp'].shape)}"
        )
    mean = (arrays["u_shp"] + arrays["u_exp"]).reshape(-1)
    pair = load_whitening(source)
    if triangles is None:
        found = [path for path in (folder / "tri.mat", folder.parent / "visualize" / "tri.mat") if path.is_file()]
        triangles = found[0] if found else None
    sources = {
        "mean": f"{paths['u_shp']} and u_exp.npy",
        "basis_shape": str(paths["w_shp_sim"]),
        "basis_expression": str(paths["w_exp_sim"]),
        "landmarks": str(paths["keypoints_sim"]),
    }
    if isinstance(triangles, (str, os.PathLike)):
        sources["triangles"] = str(triangles)
        triangles = _oriented(_read_tri_mat(Path(triangles)), mean)
    return {
        "mean": mean,
        "basis_shape": arrays["w_shp_sim"],
        "basis_expression": arrays["w_exp_sim"],
        "param_mean": pair.mean,
        "param_std": pair.std,
        "landmarks": vertex_indices(arrays["keypoints_sim"], str(paths["keypoints_sim"])),
        "triangles": triangles,
        "name": "3ddfa",
        "sources": sources | _path_sources(source),
    }


def read_v2(
    bfm_pkl: str | os.PathLike[str],
    whitening: Any = None,
    triangles: Any = None,
    num_shape: int = 40,
    num_expression: int = 10,
) -> dict[str, Any]:
    """3DDFA_V2's ``bfm_noneck_v3.pkl``: 38,365 vertices; keys u, w_shp, w_exp, tri, keypoints.

    Args:
        bfm_pkl: the pickle; read without running anything it names.
        whitening: path of a pickle or a pair (mean, std); default ``param_mean_std_62d_120x120.pkl`` beside
            ``bfm_pkl`` where there is one and 40 + 10 components are kept, else none.
        triangles: path of ``tri.pkl`` or an array [T, 3] from 0; default ``tri.pkl`` beside ``bfm_pkl``, else
            the pickle's own ``tri``.
        num_shape: shape components to keep, the first ones.
        num_expression: expression components to keep.

    Returns:
        Arguments of MorphableModel.

    Raises:
        OSError: a file is missing.
        ValueError: a file does not fit; names it.
    """
    path = Path(bfm_pkl)
    stored = load_pickle(path)
    if not isinstance(stored, dict) or not {"u", "w_shp", "w_exp"} <= stored.keys():
        held = sorted(stored) if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(f"{path}: expected a dictionary with u, w_shp, w_exp, tri and keypoints, got {held}")
    mean = np.asarray(stored["u"], np.float32).reshape(-1)
    bases = {
        "basis_shape": kept_columns(stored["w_shp"], num_shape, f"{path}: w_shp"),
        "basis_expression": kept_columns(stored["w_exp"], num_expression, f"{path}: w_exp"),
    }
    beside = path.parent / WHITENING_FILES["3ddfa-v2"]
    if whitening is None and (num_shape, num_expression) == (40, 10) and beside.is_file():
        whitening = beside
    pair = None if whitening is None else load_whitening(whitening)
    sources = dict.fromkeys(("mean", *bases, "landmarks", "triangles"), str(path))
    if triangles is None and (path.parent / "tri.pkl").is_file():
        triangles = path.parent / "tri.pkl"
    if isinstance(triangles, (str, os.PathLike)):
        sources["triangles"] = str(triangles)
        triangles = _oriented(triangle_rows(load_pickle(triangles), str(triangles), base=0), mean)
    elif triangles is None and stored.get("tri") is not None:
        triangles = _oriented(triangle_rows(stored["tri"], f"{path}: tri", base=0), mean)
    keypoints = stored.get("keypoints")
    return {
        "mean": mean,
        **bases,
        "param_mean": pair and pair.mean,
        "param_std": pair and pair.std,
        "landmarks": None if keypoints is None else vertex_indices(keypoints, f"{path}: keypoints"),
        "triangles": triangles,
        "name": "3ddfa-v2",
        "sources": sources | _path_sources(whitening),
    }


def _read_tri_mat(path: Path) -> np.ndarray:
    stored = load_mat(path)
    if "tri" not in stored:
        held = sorted(name for name in stored if not name.startswith("__"))
        raise ValueError(f"{path}: expected a variable tri, got {held}")
    return triangle_rows(stored["tri"], str(path), base=1)


def _oriented(triangles: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Wound to face the viewer; an index out of range is left for the model to name."""
    if triangles.size and triangles.max() >= mean.size // 3:
        return triangles
    return face_the_viewer(triangles, mean)


def _landmark_whitening(folder: Path, whitening: Any) -> Whitening | tuple[None, None]:
    if whitening is None:
        versions = [v for v in ("v2", "v1") if _whitening_texts(folder, v)[0].is_file()]
        if not versions:
            return None, None
        whitening = versions[0]
    if isinstance(whitening, str) and whitening in ("v1", "v2"):
        texts = _whitening_texts(folder, whitening)
        require_files(texts, f"a folder with the {whitening} whitening")
        return load_whitening(texts)
    return load_whitening(whitening)


def _whitening_texts(folder: Path, version: str) -> tuple[Path, Path]:
    suffix = "" if version == "v1" else f"_{version}"
    return folder / f"param_mean{suffix}.txt", folder / f"param_std{suffix}.txt"


def _whitening_sources(folder: Path, whitening: Any) -> dict[str, str]:
    if whitening is None or (isinstance(whitening, str) and whitening in ("v1", "v2")):
        return dict.fromkeys(("param_mean", "param_std"), str(folder))
    return _path_sources(whitening)


def _path_sources(whitening: Any) -> dict[str, str]:
    if isinstance(whitening, (str, os.PathLike)):
        return dict.fromkeys(("param_mean", "param_std"), str(whitening))
    return {}


def _spread(points: np.ndarray, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Interpolates [3L, E] displacements given at points [3L] to targets [3M]; float32 [3M, E]."""
    from scipy.interpolate import RBFInterpolator

    centres = points.reshape(-1, 3).astype(np.float64)
    scale = np.abs(centres).max()
    field = RBFInterpolator(
        centres / scale, values.astype(np.float64).reshape(len(centres), -1), kernel="linear", degree=0
    )
    return field(targets.reshape(-1, 3) / scale).reshape(targets.size, -1).astype(np.float32)
