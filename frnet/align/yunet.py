"""YuNet, looked through at several sizes; and a second look at what it is not sure of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet import geometry
from frnet.io.images import Image, check_image

from .detectors import Detections, best_first, scaled

__all__ = ["YuNetDetector"]

# YuNet's coarsest features are 32 pixels apart. Where there is a single row of them, OpenCV 4.14 returns
# faces in random places with full score (tried: up to 32 pixels often, from 33 never). So there are two.
SMALLEST_SIDE = 64
# It finds faces of 15 to 300 pixels well. A picture is halved until a face that fills it is among them.
_COARSEST = 320

# Scores. All were found on some 650 pictures of 34 faces, large and small and turned by up to 180 degrees, and 150
# pictures without any.
UPRIGHT_SCORE = 0.91  # a face with more stands upright: those turned by 60 degrees and more never had it
CANDIDATE_SCORE = 0.15  # a turned or a tiny face has at least so much, and so has now and then a stone
SECOND_SCORE = 0.87  # of a candidate seen upright and in the right size; stones do not come so far
CONFIRMED = 0.03  # by which the mean of two looks at a face exceeds the threshold; a headlight's did by 0.01
MOST_LOOKS = 12  # at one picture: pages of text are full of faint candidates

_TURNS, _COLUMNS = 8, 4  # orientations of a second look, and how many of them are side by side
_TILE = 128  # pixels: side of the square seen in each
_CONTEXT = 2.0  # that square is so much larger than the candidate


class _Look(NamedTuple):
    """What a second look found."""

    box: NDArray[np.float64]
    score: float
    roll: float  # degrees, clockwise


class YuNetDetector:
    """YuNet through ``cv2.FaceDetectorYN``.

    The network sees the picture with its longer side at ``max_size`` at most, and halved again and again, so that a
    face that fills the picture is found like a small one. What scores less than a plain upright face does is looked at
    a second time, cut out, brought to one size and turned in steps of 45 degrees: so faces that lie on their side or
    stand on their head are found, with their roll, and tiny ones, and headlights are not. In a large picture with many
    faces that are smaller than a 60th of it, raise ``max_size``; time grows with its square.

    Args:
        model: the ``.onnx`` file of OpenCV Zoo.
        score_threshold: least score of a face, in (0, 1). Sharp faces score 0.85 and more; between 0.6 and
            0.8 lie tiny ones, turned ones, and blurred or half hidden ones, which no alignment fits. What is below it
            at first must have 0.87 in the second look.
        nms_threshold: overlap (IoU) above which the weaker of two boxes is dropped, in (0, 1).
        max_size: longest side the network sees, in pixels.
        min_size: shortest length of the longer side the network sees, in pixels.

    Raises:
        FileNotFoundError: there is no such model file.
        ValueError: the file is not a model OpenCV can load, or a number is out of range.

    Note:
        An object holds the state of one OpenCV network: use one per thread.
    """

    def __init__(
        self,
        model: str | os.PathLike,
        score_threshold: float = 0.8,
        nms_threshold: float = 0.3,
        max_size: int = 960,
        min_size: int = 160,
    ) -> None:
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"face detector {path}: {'not a file' if path.exists() else 'no such file'}")
        if not 0 < score_threshold < 1 or not 0 < nms_threshold < 1:
            raise ValueError(
                "YuNetDetector: thresholds must lie in (0, 1), "
                f"got score_threshold={score_threshold}, nms_threshold={nms_threshold}"
            )
        if not 1 <= min_size <= max_size:
            raise ValueError(f"YuNetDetector: wanted 1 <= min_size <= max_size, got {min_size} and {max_size}")
        self.path, self.max_size, self.min_size = path, max_size, min_size
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        faintest = min(CANDIDATE_SCORE, score_threshold)
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (max_size, max_size), faintest, nms_threshold)
        except cv2.error as error:
            raise ValueError(
                f"face detector {path} is not a YuNet model OpenCV can load: {str(error).strip()}"
            ) from error

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; see :class:`Detector`."""
        check_image(image)
        rows = np.concatenate([self._at_size(image, longer) for longer in self._sizes(max(image.shape[:2]))])
        boxes, scores = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1), rows[:, -1].copy()
        rolls = np.zeros(len(rows))
        found = scores >= self.score_threshold
        looks = MOST_LOOKS
        for index in self._distinct(boxes, scores):
            if scores[index] >= UPRIGHT_SCORE or not looks:
                continue
            looks -= 1
            look = self._look_again(image, boxes[index])
            if look is None:
                found[index] = False
                continue
            # What is sure at first is to stay so on average; what is not has nothing but this look to go by.
            score = (scores[index] + look.score) / 2 if found[index] else look.score
            wanted = self.score_threshold + CONFIRMED if found[index] else max(SECOND_SCORE, self.score_threshold)
            if not found[index] or abs(look.roll) > 180 / _TURNS:
                boxes[index], rolls[index] = look.box, look.roll
            found[index], scores[index] = score >= wanted, score
        boxes, scores, rolls = boxes[found], scores[found], rolls[found]
        kept = self._distinct(boxes, scores)
        return best_first(boxes[kept], scores[kept], rolls[kept])

    def _sizes(self, longer: int) -> list[int]:
        """Lengths of the longer side at which the network sees a picture."""
        sizes = [min(max(longer, self.min_size), self.max_size)]
        while sizes[-1] > _COARSEST:
            sizes.append(-(-sizes[-1] // 2))
        return sizes

    def _at_size(self, image: Image, longer: int) -> NDArray[np.float64]:
        """YuNet's rows in pixels of the image, of which the network sees a copy of this longer side."""
        image, ratio = scaled(image, longer)
        rows = self._detect(image)
        places = rows[:, :14].reshape(-1, 7, 2) * ratio  # corner, size, five landmarks
        places[:, [0, 2, 3, 4, 5, 6]] += (ratio - 1) / 2  # pixel centres are at whole numbers
        rows[:, :14] = places.reshape(-1, 14)
        return rows

    def _look_again(self, image: Image, box: NDArray[np.float64]) -> _Look | None:
        """The face in a box, as it shows in an upright square around it, if it does."""
        sheet, tiles = _sheet(image, box)
        rows: list[NDArray[np.float64] | None] = [None] * _TURNS
        for row in self._detect(sheet):
            turn = _tile_of(row)
            if turn is not None and (rows[turn] is None or row[-1] > rows[turn][-1]):
                rows[turn] = row
        scores = np.array([0.0 if row is None else row[-1] for row in rows])
        if not scores.any():
            return None
        row = rows[turn := int(np.argmax(scores))]
        back = np.linalg.inv(tiles[turn][:, :2])
        middle = back @ (row[:2] + row[2:4] / 2 - tiles[turn][:, 2])
        roll = (360 / _TURNS * turn + _tilt(row) + 180) % 360 - 180
        # The sides of an upright box about a face that is not: they change places at a right angle.
        across = np.sin(np.deg2rad(roll)) ** 2
        size = (row[2:4] * (1 - across) + row[3:1:-1] * across) * np.sqrt(np.linalg.det(back))
        return _Look(np.concatenate([middle - size / 2, middle + size / 2]), float(row[-1]), float(roll))

    def _distinct(self, boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> list[int]:
        """Indices of boxes, best first, without those that are of the same face as a better one."""
        kept: list[int] = []
        for index in np.argsort(-scores, kind="stable").tolist():
            if not kept or geometry.box_overlap(boxes[index], boxes[kept]).max() <= self.nms_threshold:
                kept.append(index)
        return kept

    def _detect(self, image: Image) -> NDArray[np.float64]:
        """YuNet's rows: x, y, width, height, ten landmark coordinates, score."""
        below, right = (max(0, SMALLEST_SIDE - side) for side in image.shape[:2])
        if below or right:
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        self._net.setInputSize((image.shape[1], image.shape[0]))
        try:
            found = self._net.detect(image)[1]
        except cv2.error as error:
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise ValueError(f"face detector {self.path} fails on {size} pixels: {str(error).strip()}") from error
        return np.empty((0, 15)) if found is None else found.astype(np.float64)


def _sheet(image: Image, box: NDArray[np.float64]) -> tuple[Image, list[NDArray[np.float64]]]:
    """A candidate in all orientations, tile by tile in two rows; and the maps of image points into it, [2, 3] each."""
    centre, side = (box[:2] + box[2:]) / 2, _CONTEXT * (box[2:] - box[:2]).max()
    source, to_source = _cut(image, centre, side)
    from_source = np.linalg.inv(np.vstack([to_source, [0, 0, 1]]))
    sheet = np.zeros((2 * _TILE, _COLUMNS * _TILE, 3), np.uint8)
    tiles = []
    for turn in range(_TURNS):
        y, x = (_TILE * place for place in divmod(turn, _COLUMNS))
        upright = _TILE / side * geometry.clockwise(-360 / _TURNS * turn)
        in_tile = np.column_stack([upright, (_TILE - 1) / 2 - upright @ centre])
        sheet[y : y + _TILE, x : x + _TILE] = cv2.warpAffine(
            source, in_tile @ from_source, (_TILE, _TILE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        tiles.append(in_tile + np.array([[0, 0, x], [0, 0, y]]))
    return sheet, tiles


def _tile_of(row: NDArray[np.float64]) -> int | None:
    """In which orientation a row of a sheet shows the candidate: in the middle of a tile, and of its size."""
    middle = row[:2] + row[2:4] / 2
    column, line = np.floor(middle / _TILE).astype(int)
    off = np.abs(middle - (np.array([column, line]) + 0.5) * _TILE).max()
    size = row[2:4].max() * _CONTEXT / _TILE
    inside = 0 <= column < _COLUMNS and 0 <= line < 2
    return int(line * _COLUMNS + column) if inside and off < _TILE / 6 and 0.5 < size < 1.6 else None


def _cut(image: Image, centre: NDArray[np.float64], side: float) -> tuple[Image, NDArray[np.float64]]:
    """What a turned square can touch, made small where it is large, and the map of image points into it, [2, 3]."""
    reach = np.sqrt(0.5) * side + 2
    low = np.floor(centre - reach).clip(0, np.array(image.shape[1::-1]) - 1).astype(int)
    high = np.ceil(centre + reach).clip(low + 1, image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    wanted = 2 * _TILE / side  # twice as fine as it is going to be, which bilinear samples are right for
    if wanted < 1:
        size = np.maximum(np.round((high - low) * wanted), 1).astype(int)
        part = cv2.resize(part, tuple(size.tolist()), interpolation=cv2.INTER_AREA)
    scale = np.array(part.shape[1::-1]) / (high - low)
    return part, np.column_stack([np.diag(scale), (0.5 - low) * scale - 0.5])


def _tilt(row: NDArray[np.float64]) -> float:
    """Degrees by which a face is turned clockwise, from the middle of its eyes to that of its mouth."""
    points = row[4:14].reshape(5, 2)
    x, y = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    return float(np.rad2deg(np.arctan2(-x, y)))
