"""3DDFA's folder ``test.configs``: ground truth of AFLW2000-3D and AFLW as ``.npy`` files.

Faces are in the order of 3DDFA's lists of crops; the files hold no names. Points are stored as [2 or 3, K] per
face, in pixels that count from 1, y down.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bins import YAW_BINS, yaw_bin
from .truth import Boxes, Truth

__all__ = ["ANNOTATIONS", "SPLITS", "is_test_configs", "read_aflw2000_configs", "read_aflw_configs"]

ANNOTATIONS = {"original": "AFLW2000-3D.pts68.npy", "reannotated": "AFLW2000-3D-Reannotated.pts68.npy"}
SPLITS = {"pose": "AFLW2000-3D.pose.npy", "new": "AFLW2000-3D-new.pose.npy"}
_BOXES = "AFLW2000-3D_crop.roi_box.npy"
_AFLW = {
    "points": "AFLW_GT_pts21.npy",
    "landmarks": "AFLW_GT_pts68.npy",
    "yaw": "AFLW_GT_crop_yaws.npy",
    "boxes": "AFLW_GT_crop_roi_box.npy",
}


def is_test_configs(folder: str | os.PathLike) -> bool:
    """Whether a folder holds any of the files that this module reads."""
    known = (*ANNOTATIONS.values(), *SPLITS.values(), _BOXES, *_AFLW.values())
    return any((Path(folder) / name).is_file() for name in known)


def read_aflw2000_configs(
    root: str | os.PathLike, split: str = "pose", annotation: str = "original", names: list[str] | None = None
) -> Truth:
    """AFLW2000-3D: 2000 faces with 68 landmarks.

    Args:
        root: the folder ``test.configs``.
        split: whose yaw sorts the faces into bins: ``"pose"`` (``AFLW2000-3D.pose.npy``: 1312, 383 and 305
            faces) or ``"new"`` (``AFLW2000-3D-new.pose.npy``: 1306, 462 and 232).
        annotation: ``"original"`` (fitted) or ``"reannotated"`` (``AFLW2000-3D-Reannotated``, 3.7 pixels from
            the other on average in each coordinate).
        names: of the crops, in the order of 3DDFA's list, where they are known.

    Raises:
        FileNotFoundError: a file is missing; the message names it.
        ValueError: another ``split`` or ``annotation``; a file that is damaged, has another shape or holds
            values that are not finite; a bin without a face; or another number of names.
    """
    annotation_file = _choice("annotation", annotation, ANNOTATIONS)
    split_file = _choice("split", split, SPLITS)
    root = Path(root)
    original = _points(root / ANNOTATIONS["original"], None, 68)
    count = len(original)
    landmarks = original if annotation == "original" else _points(root / annotation_file, count, 68)
    yaw = _array(root / split_file, (count,))
    return Truth(
        data="AFLW2000-3D",
        points=landmarks,
        visible=np.ones(landmarks.shape[:2], bool),
        landmarks=landmarks,
        yaw=_filled_bins(yaw, root / split_file),
        annotation=annotation,
        split=f"{split} ({split_file})",
        names=_checked_names(names, count, root),
        boxes=Boxes(_array(root / _BOXES, (count, 4)), original, root / _BOXES),
    )


def read_aflw_configs(root: str | os.PathLike, names: list[str] | None = None) -> Truth:
    """AFLW: 21,080 faces with up to 21 annotated landmarks, those at -1 being invisible.

    Args:
        root: the folder ``test.configs``; with ``AFLW_GT_pts68.npy``, the fitted landmarks whose box normalises
            the error. 3DDFA keeps that file apart from the others.
        names: of the crops, in the order of 3DDFA's list, where they are known.

    Raises:
        FileNotFoundError, ValueError: as for :func:`read_aflw2000_configs`.
    """
    root = Path(root)
    paths = {key: root / name for key, name in _AFLW.items()}
    points = _points(paths["points"], None, 21)
    count = len(points)
    visible = (points != -1).all(-1)
    if not visible.any(-1).all():
        raise ValueError(f"{paths['points']}: face {visible.any(-1).argmin()} has no visible landmark")
    landmarks = _points(paths["landmarks"], count, 68)
    return Truth(
        data="AFLW",
        points=points,
        visible=visible,
        landmarks=landmarks,
        yaw=_filled_bins(_array(paths["yaw"], (count,)), paths["yaw"]),
        annotation="original",
        split=_AFLW["yaw"],
        names=_checked_names(names, count, root),
        boxes=Boxes(_array(paths["boxes"], (count, 4)), landmarks, paths["boxes"]),
    )


def _points(path: Path, count: int | None, points: int) -> NDArray[np.float64]:
    """Stored [n, 2 or 3, K]; as [n, K, 2]."""
    array = _array(path, (count, (2, 3), points))
    return np.ascontiguousarray(array[:, :2].transpose(0, 2, 1))


def _array(path: Path, shape: tuple) -> NDArray[np.float64]:
    """A file of finite numbers; a size of None is free, a tuple of sizes gives a choice."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; 3DDFA's test.configs has it")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file of numbers ({error})") from None
    wanted = [(size,) if isinstance(size, int) else size for size in shape]
    fits = array.ndim == len(shape) and all(w is None or n in w for n, w in zip(array.shape, wanted, strict=True))
    if array.dtype.kind not in "iuf" or not fits or not len(array):
        text = ", ".join("n" if w is None else " or ".join(map(str, w)) for w in wanted)
        raise ValueError(f"{path}: must hold numbers [{text}], got {array.dtype} {list(array.shape)}")
    finite = np.isfinite(array).all(tuple(range(1, array.ndim)))
    if not finite.all():
        raise ValueError(f"{path}: face {finite.argmin()} holds values that are NaN or infinite")
    return array.astype(np.float64)


def _filled_bins(yaw: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    for name, count in zip(YAW_BINS, np.bincount(yaw_bin(yaw), minlength=3), strict=True):
        if not count:
            raise ValueError(f"{path}: no face has a yaw of {name} degrees, so the mean of that bin is undefined")
    return yaw


def _checked_names(names: list[str] | None, count: int, root: Path) -> list[str] | None:
    if names is not None and len(names) != count:
        raise ValueError(f"{root} holds {count} faces, and there are {len(names)} crops")
    return names


def _choice(argument: str, value: str, known: dict[str, str]) -> str:
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    return known[value]
