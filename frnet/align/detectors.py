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

# YuNet's coarsest features are 32 pixels apart. Where there is a single row of them, OpenCV 4.14 returns
# faces in random places with full score (tried: up to 32 pixels often, from 33 never). So there are two.
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Detections:
    """What a detector found, best first.

    Attributes:
        boxes: float32 [n, 4]: x0, y0, x1, y1 in image pixels; may reach outside the image.
        scores: float32 [n], in [0, 1].
        rolls: float32 [n], degrees by which the faces are turned clockwise, where the detector tells.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    rolls: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)


@runtime_checkable
class Detector(Protocol):
    """Anything callable on a BGR uint8 image [height, width, 3] that returns :class:`Detections`."""

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; none is an empty result, not an error."""
        ...


class YuNetDetector:
    """YuNet through ``cv2.FaceDetectorYN``.

    The network finds faces of about 15 to 600 pixels. An image whose longer side exceeds ``max_size`` is
    therefore scaled down to it, which also makes the time independent of the image size, and one below
    ``min_size`` is scaled up to it. In a large picture with many small faces, raise ``max_size``.

    Args:
        model: the ``.onnx`` file of OpenCV Zoo.
        score_threshold: least score of a face, in (0, 1). Sharp faces score 0.85 and more; between 0.6 and
            0.8 lie tiny ones, and blurred or half hidden ones, which no alignment fits.
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
        max_size: int = 640,
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
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (max_size, max_size), score_threshold, nms_threshold)
        except cv2.error as error:
            raise ValueError(
                f"face detector {path} is not a YuNet model OpenCV can load: {str(error).strip()}"
            ) from error

    def __call__(self, image: Image) -> Detections:
        """Find the faces of one image; see :class:`Detector`."""
        check_image(image)
        height, width = image.shape[:2]
        longer = max(height, width)
        scale = min(1.0, self.max_size / longer) if longer >= self.min_size else self.min_size / longer
        if scale != 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        # The two sides may be scaled slightly differently, because sizes are whole numbers.
        ratio = np.array([width / image.shape[1], height / image.shape[0]], np.float64)
        found = self._detect(image)
        corner = (found[:, :2] + 0.5) * ratio - 0.5
        return _detections(np.concatenate([corner, corner + found[:, 2:4] * ratio], axis=1), found[:, -1])

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
            return _detections(np.empty((0, 4)), np.empty(0))
        corner = found[:, :2].astype(np.float64)
        return _detections(np.concatenate([corner, corner + found[:, 2:4]], axis=1), np.ones(len(found)))


def open_detector(
    detector: str | os.PathLike | Detector | None, score_threshold: float | None = None
) -> Detector | None:
    """A detector from what a caller gave: a YuNet ``.onnx`` file, a Haar ``.xml`` file, an object, or None.

    Args:
        detector: the file or object.
        score_threshold: for a YuNet file, instead of its default.

    Raises:
        TypeError: neither a path nor callable.
        FileNotFoundError, ValueError, RuntimeError: see the detectors.
    """
    if detector is None or callable(detector):
        return detector
    if isinstance(detector, str | os.PathLike):
        is_cascade = Path(detector).suffix.lower() == ".xml"
        if is_cascade:
            return HaarDetector(detector)
        return YuNetDetector(detector, **({} if score_threshold is None else {"score_threshold": score_threshold}))
    raise TypeError(
        f"detector must be a model file or a callable that returns Detections, got {type(detector).__name__}"
    )


def _detections(boxes: NDArray, scores: NDArray) -> Detections:
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes[order].astype(np.float32), np.clip(scores[order], 0, 1).astype(np.float32))
