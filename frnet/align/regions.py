"""Where the faces of an image are, as somebody says or a detector finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frnet import geometry
from frnet.io.images import Image

from .crops import LARGEST_ROLL, Crop
from .detectors import Detections

__all__ = ["Regions", "check_boxes", "detected_regions"]


@dataclass(eq=False)
class Regions:
    """Where the faces of one image are.

    Attributes:
        rois: float64 [n, 4]: x0, y0, x1, y1 of the squares to crop, in image pixels.
        boxes: float32 [n, 4], the boxes they come from, if any.
        scores: float32 [n], the detector's scores, if there was a detector.
        rolls: float64 [n], degrees by which the faces are turned clockwise, where that is known.
    """

    rois: NDArray[np.float64]
    boxes: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None
    rolls: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rois)

    def crops(self) -> list[Crop]:
        """What the network is to look at, one per face."""
        rolls = np.zeros(len(self.rois)) if self.rolls is None else self.rolls
        return [Crop(roi, float(roll)) for roi, roll in zip(self.rois, rolls, strict=True)]


def detected_regions(found: Detections, image: Image) -> Regions:
    """The crops of what a detector found; boxes whose crop lies outside the image are left out."""
    rolls = np.zeros(len(found)) if found.rolls is None else found.rolls.astype(np.float64)
    rois = _rois_of_boxes(found.boxes, rolls) if found.rois is None else found.rois.astype(np.float64)
    inside = geometry.roi_is_valid(rois, image.shape[1], image.shape[0])
    return Regions(rois[inside], found.boxes[inside], found.scores[inside], rolls[inside])


def _rois_of_boxes(boxes: NDArray[np.float32], rolls: NDArray[np.float64]) -> NDArray[np.float64]:
    rois = geometry.roi_from_box(boxes)
    centres = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2
    for index in np.flatnonzero(np.abs(rolls) > LARGEST_ROLL):
        # The crop lies a little towards the chin, which is not down here.
        shift = (rois[index, :2] + rois[index, 2:]) / 2 - centres[index]
        rois[index] += np.tile(geometry.clockwise(rolls[index]) @ shift - shift, 2)
    return rois


def check_boxes(boxes: ArrayLike, image: Image, kind: str, name: str) -> NDArray[np.float64]:
    """Boxes as float64 [n, 4], each with a pixel of the image in it.

    Raises:
        ValueError: another shape, or a box that is not finite, has no pixel or lies outside the image.
    """
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name}: {kind} array must be [n, 4] (x0, y0, x1, y1), got {list(array.shape)}")
    height, width = image.shape[:2]
    for index in np.flatnonzero(~geometry.roi_is_valid(array, width, height)):
        box = array[index]
        what = "lies outside the image"
        if not np.isfinite(box).all():
            what = "is not finite"
        elif not geometry.roi_is_valid(box):
            what = "is not at least one pixel wide and high (x0 < x1 and y0 < y1)"
        raise ValueError(f"{name} ({width} x {height}): {kind} {index} {np.round(box, 2).tolist()} {what}")
    return array
