"""3DDFA's published crops of 120 x 120 pixels, which belong to ``test.configs``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .predictions import CROP_SIZE, Predictions
from .truth import Truth

if TYPE_CHECKING:
    from frnet.align import FaceAligner

__all__ = ["crop_files", "predict_crops", "read_list"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_list(path: str | os.PathLike) -> list[str]:
    """Names of crops, one a line, as 3DDFA's ``AFLW2000-3D_crop.list`` has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, names nothing, or a name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"list {path}: no such file")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"list {path} is not a text file ({error})") from None
    if not names:
        raise ValueError(f"list {path} names no crop")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"list {path} names {name} twice")
        seen.add(name)
    return names


def crop_files(folder: str | os.PathLike, names: list[str] | None = None) -> list[Path]:
    """The crops of a folder: those named, in that order, or else all, sorted by name.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: crops are missing; the message names the first ones.
        ValueError: the folder holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"crops {folder}: no such folder")
    if names is None:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
        if not files:
            raise ValueError(f"crops {folder}: holds no image")
        return files
    files = [folder / name for name in names]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileNotFoundError(f"crops {folder}: {', '.join(missing[:3])}{more} of the list are missing")
    return files


def predict_crops(
    aligner: FaceAligner, files: list[Path], truth: Truth, method: str, vertices: bool = False, batch: int = 256
) -> Predictions:
    """What a network sees in the published crops.

    Args:
        aligner: with ``passes=1``, as a second pass would crop again; its detector is not used.
        files: one crop per image of ``truth``, in its order.
        truth: from 3DDFA's ``test.configs``.
        method: name for the tables.
        vertices: whether to keep the dense vertices too.
        batch: crops read at a time.

    Raises:
        ValueError: an aligner of several passes, another number of crops than the truth has images, or a crop of
            another size.
        FileNotFoundError, ImageError: see :func:`frnet.align.read_image`.
    """
    from frnet.align import Regions, read_image

    if aligner.passes != 1:
        raise ValueError(f"predict_crops: the aligner must have passes=1, got {aligner.passes}")
    if len(files) != len(truth):
        raise ValueError(f"predict_crops: {len(files)} crops for {len(truth)} faces of the ground truth")
    whole = Regions(np.array([[0.0, 0.0, CROP_SIZE, CROP_SIZE]]))
    faces = []
    for first in range(0, len(files), batch):
        images = [read_image(path) for path in files[first : first + batch]]
        for path, image in zip(files[first:], images, strict=False):
            if image.shape != (CROP_SIZE, CROP_SIZE, 3):
                raise ValueError(
                    f"crop {path} must be {CROP_SIZE} x {CROP_SIZE}, got {image.shape[1]} x {image.shape[0]}"
                )
        for (face,) in aligner.fit(images, [whole] * len(images)):
            face.vertices = face.vertices if vertices else face.vertices[:0]
            faces.append(face)
    # An aligned face counts from 0, the published crops from 1.
    return Predictions(
        method=method,
        landmarks=np.stack([face.landmarks for face in faces]) + np.float32([1, 1, 0]),
        frame="crop120",
        names=truth.names,
        vertices=np.stack([face.vertices for face in faces]) + np.float32([1, 1, 0]) if vertices else None,
        pose=np.array([face.pose for face in faces]),
        source=method,
    )
