"""Pictures in which the faces are known, to compare detectors on: see face_detection.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from frnet import geometry

SIZES = (240, 110, 56, 40, 28)  # longer side of the landmarks' box, pixels
ROLLS = (0, 30, 60, 90, 180)
CLOSE_UPS = (0.8, 1.0, 1.2)  # the same side, in shorter sides of the picture

# Faces of 3DDFA's and PRNet's sample photographs, x0, y0, x1, y1: YuNet's boxes, checked by eye. The drawing (5.jpg) is
# left out.
PHOTOS = {
    "1.jpg": [(41, 34, 197, 192)],
    "2.jpg": [(42, 67, 151, 176)],
    "3.jpg": [(100, 114, 233, 324)],
    "4.jpg": [(114, 123, 301, 368)],
    "JianzhuGuo.jpg": [(120, 104, 289, 317)],
    "emma.jpg": [(298, 404, 798, 1051), (1704, 301, 2031, 754), (3000, 344, 3424, 912), (162, 440, 356, 750)],
    "trump_hillary.jpg": [(1033, 131, 1260, 432), (215, 100, 467, 401)],
}


class Picture(NamedTuple):
    """One picture: which set and case it belongs to, and its faces.

    Attributes:
        group: name of the set.
        case: what is special about the picture.
        image: uint8 [height, width, 3].
        faces: float64 [n, 3]: x, y of the middle, and the longer side; pixels.
    """

    group: str
    case: str
    image: np.ndarray
    faces: np.ndarray


def photographs(folder: Path) -> Iterator[Picture]:
    """The sample photographs."""
    for name, boxes in PHOTOS.items():
        box = np.array(boxes, np.float64)
        faces = np.column_stack([(box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).max(1)])
        yield Picture("photos", name, _read(folder / name), faces)


def pasted(folder: Path) -> Iterator[Picture]:
    """Sheets of sixteen faces, the eight samples and their mirror images, at every size and roll."""
    samples = list(_samples(folder))
    samples += [(image[:, ::-1], np.column_stack([image.shape[1] - 1 - marks[:, 0], marks[:, 1]]))
                for image, marks in samples]  # fmt: skip
    for size in SIZES:
        for roll in ROLLS:
            tile = 2 * size
            sheet, faces = np.zeros((4 * tile, 4 * tile, 3), np.uint8), []
            for number, (image, marks) in enumerate(samples):
                row, column = divmod(number, 4)
                square, x, y = _turned(image, marks, size, roll, tile)
                sheet[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = square
                faces.append((column * tile + x, row * tile + y, size))
            yield Picture("pasted", f"{size} px, {roll} deg", sheet, np.array(faces))


def close_ups(folder: Path) -> Iterator[Picture]:
    """Faces that fill their pictures, and more."""
    for image, marks in _samples(folder):
        for share in CLOSE_UPS:
            square, x, y = _turned(image, marks, 300 * share, 0, 300)
            yield Picture("close-ups", f"{share:g} of the picture", square, np.array([(x, y, 300 * share)]))


def faceless(folders: list[Path]) -> Iterator[Picture]:
    """Pictures without faces, whole and in quarters; cut-outs, nine to a sheet."""
    cutouts = []
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.is_file()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or min(image.shape[:2]) < 32:
            continue
        if image.ndim == 3 and image.shape[2] == 4:
            cutouts.append(image)
            continue
        image = _read(path)
        height, width = (side // 2 for side in image.shape[:2])
        parts = [image[y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
        for number, part in enumerate([image, *parts]):
            yield Picture("faceless", f"{path.name} {number}", np.ascontiguousarray(part), np.zeros((0, 3)))
    for first in range(0, len(cutouts), 9):
        sheet = np.full((480, 480, 3), 200, np.uint8)
        for number, image in enumerate(cutouts[first : first + 9]):
            row, column = divmod(number, 3)
            factor = 150 / max(image.shape[:2])
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            there = sheet[160 * row :, 160 * column :][: image.shape[0], : image.shape[1]]
            alpha = image[:, :, 3:] / 255
            there[:] = (there * (1 - alpha) + image[:, :, :3] * alpha).astype(np.uint8)
        yield Picture("faceless", f"cut-outs {first}", sheet, np.zeros((0, 3)))


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path}: not a picture")
    return image


def _samples(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures of AFLW2000-3D and their landmarks [68, 2], counting from 0."""
    with np.load(folder / "ground_truth.npz") as truth:
        names, points = truth["names"], truth["pts68"]
    for name, marks in zip(names, points, strict=True):
        path = folder / str(name)
        yield _read(path if path.suffix else path.with_suffix(".jpg")), marks[:2].T.astype(np.float64) - 1


def _turned(
    image: np.ndarray, marks: np.ndarray, size: float, roll: float, side: int
) -> tuple[np.ndarray, float, float]:
    """A square with a face of a size in its middle, turned clockwise; and the middle of its landmarks' box."""
    x, y, width, height = geometry.upright_box(marks, 0.0)
    scale = size / max(width, height)
    while scale < 0.5:
        image, marks, scale = cv2.pyrDown(image), marks / 2, scale * 2
        x, y = x / 2, y / 2
    linear = scale * geometry.clockwise(roll)
    offset = (side - 1) / 2 - linear @ [x, y]
    square = cv2.warpAffine(image, np.column_stack([linear, offset]), (side, side), flags=cv2.INTER_LINEAR)
    turned = marks @ linear.T + offset
    middle = (turned.min(0) + turned.max(0)) / 2
    return square, float(middle[0]), float(middle[1])
