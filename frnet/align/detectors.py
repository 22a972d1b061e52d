"""Face detectors behind one small protocol: an image in, boxes and scores out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet.io.images import Image, check_image


@dataclass(frozen=True)
class Detections:
    """What a detector found, best first.

    Attributes:
        boxes: float32 [n, 4]: x0, y0, x1, y1 in image pixels; may reach outside the image.
        scores: float32 [n], in [0, 1].
        rolls: float32 [n], degrees by which the faces are turned clockwise, where the detector tells.
        rois: float32 [n, 4]: the squares to crop, where the detector tells them. Else they follow from the boxes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    rolls: NDArray[np.float32] | None = None
    rois: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)


@runtime_checkable
class Detector(Protocol):
    """Anything callable on a BGR uint8 image [height, width, 3] that returns :class:`Detections`."""

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; none is an empty result, not an error."""
        ...


class HaarDetector:
    """Viola-Jones cascade through ``cv2.CascadeClassifier``, which OpenCV 4 has and OpenCV 5 has not.

    Args:
        model: a cascade ``.xml``; by default the frontal-face one that comes with OpenCV 4.
        scale_factor: ratio of two neighbouring search scales, above 1.
        min_neighbours: how many overlapping hits make a face.
        min_size: least side of a face, in pixels.

    Raises:
        RuntimeError: this OpenCV has no cascades.
        FileNotFoundError: there is no such file.
        ValueError: the file is not a cascade.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        scale_factor: float = 1.1,
        min_neighbours: int = 5,
        min_size: int = 24,
    ) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise RuntimeError(
                f"OpenCV {cv2.__version__} has no cv2.CascadeClassifier (OpenCV 5 dropped it); "
                "use YuNetDetector, or install opencv-python<5"
            )
        path = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml") if model is None else Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"face detector {path}: {'not a file' if path.exists() else 'no such file'}")
        try:
            self._cascade = cv2.CascadeClassifier(str(path))
        except (cv2.error, SystemError) as error:  # a damaged file is the one or the other, by version
            raise ValueError(f"face detector {path} is not a Haar cascade") from error
        if self._cascade.empty():
            raise ValueError(f"face detector {path} is not a Haar cascade")
        self.scale_factor, self.min_neighbours, self.min_size = scale_factor, min_neighbours, min_size

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; see :class:`Detector`. The score of a cascade's face is 1."""
        grey = cv2.cvtColor(check_image(image), cv2.COLOR_BGR2GRAY)
        found = self._cascade.detectMultiScale(
            grey, self.scale_factor, self.min_neighbours, minSize=(self.min_size, self.min_size)
        )
        if len(found) == 0:
            return best_first(np.empty((0, 4)), np.empty(0))
        corner = found[:, :2].astype(np.float64)
        return best_first(np.concatenate([corner, corner + found[:, 2:4]], axis=1), np.ones(len(found)))


def best_first(
    boxes: NDArray, scores: NDArray, rolls: NDArray | None = None, rois: NDArray | None = None
) -> Detections:
    """Detections of any dtype and in any order."""
    order = np.argsort(-scores, kind="stable")
    return Detections(
        boxes[order].astype(np.float32),
        np.clip(scores[order], 0, 1).astype(np.float32),
        *(None if part is None else part[order].astype(np.float32) for part in (rolls, rois)),
    )


def scaled(image: Image, longer: int) -> tuple[Image, NDArray[np.float64]]:
    """A copy with this longer side, in pixels, and how many pixels of the image one of its is wide and high.

    The two differ slightly, because sizes are whole numbers.
    """
    height, width = image.shape[:2]
    scale = longer / max(height, width)
    if scale != 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return image, np.array([width / image.shape[1], height / image.shape[0]])
