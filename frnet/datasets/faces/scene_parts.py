"""Photographs that scenes are put together of: backgrounds, cut-out things, and people as they were taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ["Person", "halved", "load_cutouts", "load_people", "load_pictures"]

_PICTURE, _CUTOUT, _PERSON = 1000, 300, 1400  # longest sides kept, pixels


class Person(NamedTuple):
    """A photograph with people in it, all of whose faces are known.

    Attributes:
        levels: uint8 [height, width, 4] each, BGR and alpha: the picture, and smaller copies of half the size each.
        landmarks: float32 [n, 68, 2], pixels of the first.
        rolls: float32 [n], degrees, clockwise.
    """

    levels: tuple[np.ndarray, ...]
    landmarks: np.ndarray
    rolls: np.ndarray


def load_pictures(paths: Iterable[Path]) -> list[np.ndarray]:
    """Pictures without faces, uint8 [height, width, 3]; plain ones are left out."""
    read = (_read(path, cv2.IMREAD_COLOR, _PICTURE) for path in paths)
    return [picture for picture in read if min(picture.shape[:2]) >= 64 and picture.std(axis=(0, 1)).max() > 6]


def load_cutouts(paths: Iterable[Path]) -> list[np.ndarray]:
    """Things with an alpha channel, uint8 [height, width, 4]; others are left out."""
    read = (_read(path, cv2.IMREAD_UNCHANGED, _CUTOUT) for path in paths)
    return [picture for picture in read if picture.ndim == 3 and picture.shape[2] == 4]


def load_people(folder: Path, files: np.ndarray, landmarks: np.ndarray) -> list[Person]:
    """Photographs of people.

    Args:
        folder: the pictures' names are in relation to it.
        files: names [n], one for every face.
        landmarks: [n, 68, 2 or more], pixels.
    """
    people = []
    for name in sorted(set(files.tolist())):
        full = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        if full is None:
            raise FileNotFoundError(f"{folder / name}: not a picture")
        image = _shrunk(full, _PERSON)
        marks = ((landmarks[files == name, :, :2] + 0.5) * (image.shape[1] / full.shape[1]) - 0.5).astype(np.float32)
        x, y = (marks[:, 42:48].mean(1) - marks[:, 36:42].mean(1)).T
        people.append(Person(tuple(_levels(image)), marks, np.degrees(np.arctan2(y, x)).astype(np.float32)))
    return people


def halved(image: np.ndarray) -> np.ndarray:
    """A copy of half the size, rounded up."""
    return cv2.resize(image, [-(-side // 2) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA)


def _levels(image: np.ndarray) -> Iterator[np.ndarray]:
    image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    while min(image.shape[:2]) > 16:
        yield image
        image = halved(image)


def _read(path: Path, flags: int, longest: int) -> np.ndarray:
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise FileNotFoundError(f"{path}: not a picture")
    return _shrunk(picture if picture.dtype == np.uint8 else (picture / 257).astype(np.uint8), longest)


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    factor = longest / max(picture.shape[:2])
    return picture if factor >= 1 else cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
