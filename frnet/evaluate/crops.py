"""3DDFA's published crops of 120 x 120 pixels, which belong to ``test.configs``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from frnet.datasets.files import image_names, read_names, require_images
from frnet.io.images import read_image

from .predict import Predict
from .predictions import CROP_SIZE, Predictions
from .truth import Truth

__all__ = ["crop_files", "predict_crops", "read_list"]


def read_list(path: str | os.PathLike) -> list[str]:
    """Names of crops, one a line, as 3DDFA's ``AFLW2000-3D_crop.list`` has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, names nothing, or a name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"list {path}: no such file")
    names = read_names(path)
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
    found = image_names(folder)
    return [folder / name for name in require_images(folder, found if names is None else names)]


def predict_crops(
    predict: Predict, files: list[Path], truth: Truth, method: str, vertices: bool = False, batch: int = 256
) -> Predictions:
    """What a method sees in the published crops.

    Args:
        predict: the method; a :class:`frnet.align.FaceAligner` with ``passes=1``, as a second pass would crop again.
        files: one crop per image of ``truth``, in its order.
        truth: from 3DDFA's ``test.configs``.
        method: name for the tables.
        vertices: whether to keep the dense vertices too.
        batch: crops read at a time.

    Raises:
        ValueError: a method that looks at other crops than these, another number of crops than the truth has images,
            or a crop of another size.
        FileNotFoundError, ImageError: see :func:`frnet.io.images.read_image`.
    """
    if len(files) != len(truth):
        raise ValueError(f"predict_crops: {len(files)} crops for {len(truth)} faces of the ground truth")
    whole = np.array([[0.0, 0.0, CROP_SIZE, CROP_SIZE]])
    faces = []
    for first in range(0, len(files), batch):
        part = files[first : first + batch]
        images = [read_image(path) for path in part]
        for path, image in zip(part, images, strict=True):
            if image.shape != (CROP_SIZE, CROP_SIZE, 3):
                raise ValueError(
                    f"crop {path} must be {CROP_SIZE} x {CROP_SIZE}, got {image.shape[1]} x {image.shape[0]}"
                )
        for path, (face,) in zip(part, predict(images, rois=[whole] * len(part)), strict=True):
            if not np.array_equal(face.roi, whole[0]):
                raise ValueError(
                    f"predict_crops: {method} looked at {np.round(face.roi, 1).tolist()} of {path.name}, not at all of "
                    "it: published crops are for one pass (passes=1), without a crop of the method's own"
                )
            landmarks = np.array(face.landmarks, np.float32)
            faces.append((landmarks, np.array(face.vertices, np.float32) if vertices else None, face.pose))
    points, meshes, poses = zip(*faces, strict=True)
    # A predicted face counts from 0, the published crops from 1.
    return Predictions(
        method=method,
        landmarks=np.stack(points) + np.float32([1, 1, 0]),
        frame="crop120",
        names=truth.names,
        vertices=np.stack(meshes) + np.float32([1, 1, 0]) if vertices else None,
        pose=np.array(poses),
        source=method,
    )
