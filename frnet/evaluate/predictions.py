"""Predictions to be evaluated: ours, or somebody else's from a file (docs/evaluation.md has the format)."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frnet import geometry, ops
from frnet.morphable import MorphableModel

__all__ = [
    "CROP_SIZE",
    "Predictions",
    "match_images",
    "pixel_origin",
    "read_arrays",
    "read_predictions",
    "require_finite",
    "text_list",
]

CROP_SIZE = 120
FRAMES = ("crop120", "image")
_KNOWN = ("landmarks", "params", "vertices", "pose", "names", "frame", "pixel_origin", "method")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a method says of n images.

    Attributes:
        method: its name.
        landmarks: float [n, 68, 2 or 3].
        frame: ``"image"``, pixels of the image; or ``"crop120"``, pixels of 3DDFA's published crops of 120 x
            120, as 3DDFA's ``reconstruct_vertex`` gives them and its evaluator takes them: counting from 1, y
            down.
        pixel_origin: whether the first pixel of the image is 0 or 1; of no meaning to ``"crop120"``.
        names: of the images; None where they are in the order of the ground truth.
        vertices: float [n, V, 3] in the same frame.
        pose: float [n, 3], yaw, pitch, roll in degrees, as ``Pose_Para`` means them.
        found: bool [n], False where there is no face; None if there is one in every image.
        crops: where the network's crops came from, in words.
        source: what messages call this.
    """

    method: str
    landmarks: NDArray[np.floating]
    frame: str
    pixel_origin: int = 0
    names: list[str] | None = None
    vertices: NDArray[np.floating] | None = None
    pose: NDArray[np.floating] | None = None
    found: NDArray[np.bool_] | None = None
    crops: str = "the method's own"
    source: str = "predictions"

    def __post_init__(self) -> None:
        if self.landmarks.ndim != 3 or self.landmarks.shape[1] != 68 or self.landmarks.shape[2] not in (2, 3):
            raise ValueError(f"{self.source}: landmarks must be [n, 68, 2 or 3], got {list(self.landmarks.shape)}")
        if self.frame not in FRAMES:
            raise ValueError(f"{self.source}: frame must be 'crop120' or 'image', got {self.frame!r}")

    def in_order_of(self, names: list[str] | None, count: int) -> Predictions:
        """The same, one row per image of the ground truth; arguments and errors as for :func:`match_images`."""
        order = match_images(self.source, self.names, len(self.landmarks), names, count)
        if order is None:
            return self
        arrays = {key: getattr(self, key) for key in ("landmarks", "vertices", "pose", "found")}
        return replace(self, names=names, **{key: None if a is None else a[order] for key, a in arrays.items()})


def match_images(
    source: str, own: list[str] | None, own_count: int, names: list[str] | None, count: int
) -> NDArray[np.int64] | None:
    """Rows of a file in the order of the ground truth.

    Args:
        source: what messages call the file.
        own: names of the images in the file; None where they are in the order of the ground truth.
        own_count: images in the file.
        names: of the images in the ground truth, where they are known.
        count: images in the ground truth.

    Returns:
        int64 [count], or None where the order is the same.

    Raises:
        ValueError: another number of images, names that are not those of the ground truth, or names where it has
            none.
    """
    if own is not None and names is None:
        raise ValueError(
            f"{source} goes by names, and the ground truth has none; give the list of crops (--list), or "
            "leave the names out if the order is that of test.configs"
        )
    if own is None or own == names:
        if own_count != count:
            raise ValueError(f"{source} holds {own_count} faces, and the ground truth {count}")
        return None
    row = {name: index for index, name in enumerate(own)}
    missing = [name for name in names if name not in row]
    unknown = sorted(row.keys() - set(names))
    if missing or unknown:
        raise ValueError(
            f"{source} does not match the ground truth: {_some(missing)} missing here, {_some(unknown)} unknown there"
        )
    return np.array([row[name] for name in names])


def read_predictions(
    path: str | os.PathLike, morphable: MorphableModel | None = None, vertices: bool = False
) -> Predictions:
    """Predictions of any program, from an ``.npz`` file as docs/evaluation.md describes it.

    Args:
        path: the file.
        morphable: the model that gives landmarks and vertices, for a file with ``params``.
        vertices: whether the vertices are made too, for a file with ``params``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; an array is missing, unknown or of another shape; or a value is NaN or
            infinite. The message names the file, and the image where it is one.
    """
    path = Path(path)
    arrays = read_arrays(path, _KNOWN, "predictions")
    source = f"predictions {path}"
    names = text_list(arrays.get("names"), source)
    given = {key: arrays[key] for key in ("landmarks", "params", "vertices", "pose") if key in arrays}
    if ("landmarks" in given) == ("params" in given):
        raise ValueError(f"{source}: wanted either landmarks [n, 68, 2 or 3] or params [n, P]")
    count = len(next(iter(given.values()))) if names is None else len(names)
    _check_shape(given, count, source)
    for key, array in given.items():
        require_finite(array, f"{source}: {key}", names)
    made = {}
    if "params" in given:
        if "frame" in arrays and _text(arrays["frame"], "frame", source) != "crop120":
            raise ValueError(f"{source}: params are those of the published crops, so frame must be 'crop120'")
        made = _from_params(given.pop("params"), morphable, vertices, source)
    return Predictions(
        method=_text(arrays["method"], "method", source) if "method" in arrays else path.stem,
        frame="crop120" if made else _text(arrays.get("frame"), "frame", source),
        pixel_origin=pixel_origin(arrays.get("pixel_origin"), source),
        names=names,
        source=source,
        **(made | given),
    )


def read_arrays(path: Path, known: tuple[str, ...], what: str) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` file; pickled objects are refused, and so are names that are not ``known``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what} {path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            unknown = sorted(set(stored.files) - set(known))
            if unknown:
                raise ValueError(f"unknown array {unknown[0]!r}; known are {', '.join(known)}")
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, AttributeError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{what} {path}: wanted an .npz file of plain arrays ({error})") from None


def require_finite(array: NDArray[Any], what: str, names: list[str] | None = None) -> None:
    """Raises ValueError that says which face holds a NaN or an infinite value."""
    bad = ~np.isfinite(array).all(tuple(range(1, array.ndim)))
    if bad.any():
        first = int(bad.argmax())
        which = f"face {first}" if names is None else f"{names[first]} (face {first})"
        more = f", and {bad.sum() - 1} more faces" if bad.sum() > 1 else ""
        raise ValueError(f"{what} of {which}{more}: NaN or infinite values")


def _check_shape(arrays: Mapping[str, NDArray[Any]], count: int, source: str) -> None:
    wanted = {"landmarks": (68, (2, 3)), "params": (None,), "vertices": (None, (3,)), "pose": (3,)}
    for key, array in arrays.items():
        shape = wanted[key]
        fits = array.ndim == 1 + len(shape) and len(array) == count and count > 0
        sizes = zip(array.shape[1:], shape, strict=False)
        if not fits or not all(w is None or n == w or (isinstance(w, tuple) and n in w) for n, w in sizes):
            text = {"landmarks": "68, 2 or 3", "params": "P", "vertices": "V, 3", "pose": "3"}[key]
            hint = "; points go in rows, transpose the last two dimensions" if array.shape[-1:] == (68,) else ""
            raise ValueError(f"{source}: {key} must be [{count}, {text}], got {list(array.shape)}{hint}")
        if array.dtype.kind not in "iuf":
            raise ValueError(f"{source}: {key} must hold numbers, got {array.dtype}")


def _from_params(params: NDArray, morphable: MorphableModel | None, vertices: bool, source: str) -> dict[str, Any]:
    """Landmarks, vertices and pose of de-whitened parameters; y as the published crops have it."""
    if morphable is None or morphable.landmarks is None:
        raise ValueError(f"{source} holds params: a morphable model with 68 landmarks is needed (--model)")
    if params.shape[1] != morphable.num_params:
        raise ValueError(
            f"{source}: params must be [n, {morphable.num_params}] for the model {morphable.name!r}, "
            f"got {list(params.shape)}"
        )
    values = torch.from_numpy(params.astype(np.float32)).to(morphable.device, morphable.dtype)
    made = {"landmarks": morphable.landmark_model()} | ({"vertices": morphable} if vertices else {})
    made = {key: ops.reconstruct_vertices(values, model).cpu().numpy() for key, model in made.items()}
    for points in made.values():
        points[..., 1] = CROP_SIZE + 1 - points[..., 1]
    return {**made, "pose": geometry.pose_angles(params)}


def text_list(array: NDArray | None, source: str) -> list[str] | None:
    """The array ``names`` of a file: strings [n], none twice."""
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(f"{source}: names must be strings [n], got {array.dtype} {list(array.shape)}")
    names = array.tolist()
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{source}: names holds {twice[0]!r} more than once")
    return names


def _text(array: NDArray | None, key: str, source: str) -> str:
    if array is None or array.ndim or array.dtype.kind != "U":
        given = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"{source}: {key} must be a string, got {given}")
    return str(array)


def pixel_origin(array: NDArray | None, source: str) -> int:
    """The array ``pixel_origin`` of a file: 0, also without one, or 1."""
    if array is None:
        return 0
    if array.ndim or array.dtype.kind not in "iu" or array not in (0, 1):
        raise ValueError(f"{source}: pixel_origin must be 0 or 1, got {array}")
    return int(array)


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
