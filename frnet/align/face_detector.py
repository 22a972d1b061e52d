"""The detector that comes with the package: frnet's own network, trained on pictures that were made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet import _core, geometry
from frnet.io.images import Image, check_image

from .crops import LARGEST_ROLL, Crop, cut_crop
from .detectors import Detections, best_first, scaled

__all__ = ["BUILTIN_DETECTOR", "FaceDetector"]

BUILTIN_DETECTOR = Path(__file__).parent / "data" / "face_detector.safetensors"

SCORE_THRESHOLD = 0.6
_STEP = 32  # pixels: both sides of what the network sees are multiples of it
_COARSEST = 256  # pixels: side of the scenes it was trained on, in which the largest faces fill the picture
_CLOSE_UP = 160  # longer side of the picture in the last look, which leaves a margin around it
_MOST = 1000  # cells that are looked into, best first; a picture full of faces has some ten for each
SURE = 0.75  # a score from which one second look is enough
CLEARLY = 1.25  # times the score of a face that stands upright, for one that does not
_TURNS = (0, 90, 180, -90)  # degrees, from what the roll seems to be
MOST_LOOKS = 24  # second looks at one picture: what is less likely than so many others is dropped
CANDIDATE_SHARE = 0.6  # of the threshold that a candidate has to reach at first
_SIDE, _CONTEXT = 128, 1.9  # pixels of a second look, and how much larger than the face's box its square is
_SAME_AGAIN = 0.4  # IoU from which a second look means the same face
_INSIDE = 0.8  # share of a box inside another, from which it is the same face
_SAME = 0.6  # IoU from which two boxes are the same face seen twice, and are averaged


class _Cells(NamedTuple):
    """What cells say of faces, in pixels of the image."""

    boxes: NDArray[np.float64]  # [n, 4], x, y, width, height in the frame of the face
    turns: NDArray[np.float64]  # [n, 2], cosine and sine of the roll
    scores: NDArray[np.float64]  # [n]


class FaceDetector:
    """Faces of all sizes and rolls, by the network that comes with the package.

    The network sees the picture with its longer side at ``max_size`` at most, halved until a face that fills the
    picture is like those it was trained on, and once more with a margin around it. What it finds is cut out, brought to
    one size, stood upright if it is not, and looked at a second time. The results are the boxes of the
    68 landmarks in the frame of the face, so that crops are those that the alignment network was trained with. It was
    trained on faces from 12 pixels up: in a large picture with smaller ones, raise ``max_size``; time grows with its
    square.

    Args:
        weights: a file of :class:`frnet.models.face_detector.FaceDetectorNet`; None: the one in the package.
        score_threshold: least score of a face, in (0, 1).
        nms_threshold: overlap (IoU) above which the weaker of two boxes is dropped, in (0, 1).
        max_size: longest side the network sees, in pixels, at least 32.
        min_size: shortest length of the longer side the network sees, in pixels.
        num_threads: that the network may use; None: as many as the process may run on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no such network, or a number is out of range.

    Note:
        An object holds constants alone: threads may share it.

    Example:
        >>> detector = FaceDetector()
        >>> len(detector(np.zeros((48, 64, 3), np.uint8)))
        0
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        score_threshold: float = SCORE_THRESHOLD,
        nms_threshold: float = 0.35,
        max_size: int = 960,
        min_size: int = 128,
        num_threads: int | None = None,
    ) -> None:
        if not 0 < score_threshold < 1 or not 0 < nms_threshold < 1:
            raise ValueError(
                "FaceDetector: thresholds must lie in (0, 1), "
                f"got score_threshold={score_threshold}, nms_threshold={nms_threshold}"
            )
        if not 1 <= min_size <= max_size or max_size < _STEP:
            raise ValueError(
                f"FaceDetector: wanted 1 <= min_size <= max_size >= {_STEP}, got {min_size} and {max_size}"
            )
        self.path = BUILTIN_DETECTOR if weights is None else Path(weights)
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_size, self.min_size = max_size, min_size
        self._network = _open_network(self.path, num_threads)

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; see :class:`frnet.align.Detector`."""
        check_image(image)
        parts = [self._at_size(image, longer, margin) for longer, margin in self._sizes(max(image.shape[:2]))]
        found = _distinct(_Cells(*(np.concatenate(part) for part in zip(*parts, strict=True))), self.nms_threshold)
        found = _Cells(*(part[:MOST_LOOKS] for part in found))
        found = _distinct(self._look_again(image, found), self.nms_threshold)
        kept = found.scores >= self.score_threshold
        boxes, scores = found.boxes[kept], found.scores[kept]
        rolls = _degrees(found.turns[kept])
        straight = geometry.straight_box(boxes, rolls)
        # The square about the landmarks as the aligner cuts it: along the picture's axes, or the face's own.
        spans = np.where(np.abs(rolls)[:, None] > LARGEST_ROLL, boxes[:, 2:], straight[:, 2:] - straight[:, :2])
        rois = _square(np.concatenate([boxes[:, :2], spans], axis=1), np.sqrt(2))
        return best_first(straight, scores, rolls, rois)

    def cells(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What all cells of the network say.

        Args:
            images: uint8 [n, height, width, 3], BGR; both sides multiples of 32.

        Returns:
            float32 [n, cells, 7], see :func:`frnet.models.face_detector.decode`, but for the score in [0, 1].
        """
        return self._network.run(images)

    def _sizes(self, longer: int) -> list[tuple[int, int]]:
        """Lengths of the longer side at which the network sees a picture, and the margins around it, in pixels."""
        sizes = [min(max(longer, self.min_size), self.max_size)]
        while sizes[-1] > _COARSEST:
            sizes.append(-(-sizes[-1] // 2))
        close_up = min(_CLOSE_UP, sizes[-1])
        return [(size, 0) for size in sizes] + [(close_up, _COARSEST // 2 - close_up // 2)]

    def _at_size(self, image: Image, longer: int, margin: int) -> _Cells:
        """The cells that pass, of a copy of the image with this longer side."""
        height, width = image.shape[:2]
        image, ratio = scaled(image, longer)
        below, right = (-(side + 2 * margin) % _STEP + margin for side in image.shape[:2])
        grey = (127, 127, 127)  # what the convolutions add at their borders, or nearly
        padded = cv2.copyMakeBorder(image, margin, below, margin, right, cv2.BORDER_CONSTANT, value=grey)
        rows = self.cells(padded[None])[0].astype(np.float64)
        rows = rows[rows[:, 6] >= CANDIDATE_SHARE * self.score_threshold]
        rows = rows[np.argsort(-rows[:, 6], kind="stable")[:_MOST]]
        middle = (rows[:, :2] - margin + 0.5) * ratio - 0.5
        # The middle of a face that is seen lies in the picture, or just beside it.
        reach = 0.2 * rows[:, 2:4] * ratio + 1
        inside = ((middle > -reach) & (middle < np.array([width, height]) + reach)).all(axis=1)
        boxes = np.concatenate([middle, rows[:, 2:4] * ratio.mean()], axis=1)
        return _Cells(boxes[inside], rows[inside, 4:6], rows[inside, 6])

    def _look_again(self, image: Image, found: _Cells) -> _Cells:
        """The candidates as they are and in one size; those that are not sure in four more orientations.

        Most faces in photographs stand upright, so another orientation has to look clearly better. Rolls are known best
        where they are small: so where a face was not upright, once more.
        """
        count, unsure = len(found.scores), np.flatnonzero(found.scores <= SURE)
        best = _Cells(found.boxes.copy(), found.turns.copy(), np.zeros(count))
        _take_better(best, np.arange(count), self._look(image, found.boxes, np.tile([1.0, 0.0], (count, 1))))
        for turn in _TURNS:
            turned = found.turns[unsure] @ geometry.clockwise(turn).T
            _take_better(best, unsure, self._look(image, found.boxes[unsure], turned), CLEARLY)
        leaning = np.flatnonzero(best.scores > 0)
        _take_better(best, leaning, self._look(image, best.boxes[leaning], best.turns[leaning]), 0.9)
        return best._replace(scores=(found.scores + best.scores) / 2)

    def _look(self, image: Image, boxes: NDArray[np.float64], turns: NDArray[np.float64]) -> _Cells:
        """What each of some squares shows when it is turned back; score 0: no face as large as its box."""
        seen = _Cells(boxes.copy(), turns.copy(), np.zeros(len(boxes)))
        squares = _square(boxes, _CONTEXT)
        valid = geometry.roi_is_valid(squares, image.shape[1], image.shape[0])
        crops = [Crop(square, float(roll)) for square, roll in zip(squares, _degrees(turns), strict=True)]
        chosen = np.flatnonzero(valid)
        if not len(chosen):
            return seen
        rows = self.cells(np.stack([cut_crop(image, crops[index], _SIDE) for index in chosen])).astype(np.float64)
        for index, cells in zip(chosen, rows, strict=True):
            crop = crops[index]
            scale, turn = (crop.roi[2] - crop.roi[0]) / _SIDE, geometry.clockwise(crop.turn)
            middle = (cells[:, :2] - (_SIDE - 1) / 2) * scale @ turn.T + boxes[index, :2]
            places = np.concatenate([middle, cells[:, 2:4] * scale], axis=1)
            agreeing = np.flatnonzero(_square_overlap(places, boxes[index]) > _SAME_AGAIN)
            if len(agreeing):
                best = agreeing[np.argmax(cells[agreeing, 6])]
                seen.boxes[index], seen.turns[index] = places[best], turn @ cells[best, 4:6]
                seen.scores[index] = cells[best, 6]
        return seen


def _take_better(best: _Cells, indices: NDArray[np.int64], seen: _Cells, share: float = 1.0) -> None:
    """Puts what was seen in the place of what scores less than it, or than a share of it below or above 1 says."""
    better = seen.scores > share * best.scores[indices]
    for mine, new in zip(best[:2], seen[:2], strict=True):
        mine[indices[better]] = new[better]
    best.scores[indices[better]] = np.maximum(best.scores[indices[better]], seen.scores[better])


def _degrees(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rad2deg(np.arctan2(turns[:, 1], turns[:, 0]))


def _square(boxes: NDArray[np.float64], context: float) -> NDArray[np.float64]:
    """Squares [n, 4], x0, y0, x1, y1, about boxes [n, 4], so many times as large."""
    half = 0.5 * context * boxes[:, 2:].max(axis=1, keepdims=True, initial=0)
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _open_network(path: Path, num_threads: int | None) -> _core.FaceDetector:
    """The network of a file that ``tools/train_detector.py`` wrote, in :mod:`frnet.runtime`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"face detector {path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        return _core.FaceDetector(path.read_bytes(), num_threads=num_threads or 0)
    except RuntimeError as error:
        raise ValueError(f"face detector {path} is not a file of frnet's face detector: it {error}") from error


def _distinct(cells: _Cells, threshold: float) -> _Cells:
    """Different faces, best first; each the mean of the cells that agree on it.

    Boxes are compared as squares, since turned ones of one face may have changed sides.
    """
    order = np.argsort(-cells.scores, kind="stable")
    boxes, turns, scores = cells.boxes[order], cells.turns[order], cells.scores[order]
    left = np.ones(len(boxes), bool)
    kept, mean_boxes, mean_turns = [], [], []
    for index in range(len(boxes)):
        if not left[index]:
            continue
        overlap, inside = (_square_overlap(boxes, boxes[index], of_smaller=part) for part in (False, True))
        agreeing = left & (overlap >= _SAME) & (turns @ turns[index] > 0)
        agreeing[index] = True
        weights = scores[agreeing] ** 4 + 1e-12
        kept.append(index)
        mean_boxes.append(weights @ boxes[agreeing] / weights.sum())
        mean_turns.append(weights @ turns[agreeing] / weights.sum())
        left &= (overlap <= threshold) & (inside <= _INSIDE)
    return _Cells(np.array(mean_boxes).reshape(-1, 4), np.array(mean_turns).reshape(-1, 2), scores[kept])


def _square_overlap(boxes: NDArray[np.float64], box: NDArray[np.float64], of_smaller: bool = False) -> NDArray:
    """How much squares as large as boxes [n, 4] have in common with one as large as another box [4]."""
    corners = []
    for each in (boxes, box[None]):
        half = np.sqrt(each[:, 2:].prod(axis=1, keepdims=True)) / 2
        corners.append(np.concatenate([each[:, :2] - half, each[:, :2] + half], axis=1))
    return geometry.box_overlap(*corners, of_smaller=of_smaller)
