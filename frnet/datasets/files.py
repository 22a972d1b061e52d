"""What the readers of several data sets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frnet.io.images import IMAGE_SUFFIXES, ImageError, read_image
from frnet.morphable import MorphableModel

__all__ = ["image_names", "landmark_arrays", "read_crop", "read_names", "require_images"]


def read_names(path: Path) -> list[str]:
    """The lines of a text file, without blank ones.

    Raises:
        ValueError: not a text file.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of names ({error})") from None
    return [line.strip() for line in lines if line.strip()]


def image_names(folder: Path) -> list[str]:
    """Names of the images of a folder, sorted.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder")
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def require_images(folder: Path, names: Sequence[str]) -> list[str]:
    """The names, once there is at least one, and a file for each.

    Raises:
        FileNotFoundError: images are missing; the message names the first ones.
        ValueError: there are no names.
    """
    if not len(names):
        raise ValueError(f"{folder}: no image")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise FileNotFoundError(f"{folder} lacks {len(missing)} of {len(names)} images: {', '.join(missing[:3])}{more}")
    return list(names)


def read_crop(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image that is a crop already, and the roi of all of it.

    Raises:
        FileNotFoundError, ImageError: see :func:`frnet.io.images.read_image`; or the image is not square.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if height != width:
        raise ImageError(f"image {path} must be a square crop, got {width} x {height}")
    return image, np.array([0.0, 0.0, width, height])


def landmark_arrays(morphable: MorphableModel, caller: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean [204] and basis [204, S + E] of a model's 68 landmarks, float64.

    Raises:
        ValueError: the model has no 68 landmarks.
    """
    if morphable.landmarks is None or len(morphable.landmarks) != 68:
        raise ValueError(f"{caller}: expected a model with 68 landmarks, got {morphable!r}")
    landmarks = morphable.landmark_model()
    return landmarks.mean.double().cpu().numpy(), landmarks.basis.double().cpu().numpy()
