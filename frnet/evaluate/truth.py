"""Ground truth of a benchmark, whichever files it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frnet import geometry

__all__ = ["ROI_RULES", "Boxes", "Truth"]

ROI_RULES = ("3ddfa-compat", "exact")
_SOURCE_SIDE = 450  # pixels; the images that the published crops were cut from are square


@dataclass(frozen=True, eq=False)
class Boxes:
    """Where published crops of 120 x 120 pixels lie in their images, counting from 1.

    Attributes:
        published: float64 [n, 4], as 3DDFA's files have them: cut off at the image border.
        landmarks: float64 [n, 68, 2], the landmarks that the crops were cut by.
        path: the file of ``published``, for messages.
    """

    published: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    path: Path

    def of(self, rule: str) -> NDArray[np.float64]:
        """The boxes by which landmarks in a crop go back to the image.

        Args:
            rule: ``"3ddfa-compat"``: as published. ``"exact"``: the whole box, which is what the crops show;
                a crop that leaves the image is black there, and still 120 pixels wide.

        Returns:
            float64 [n, 4].

        Raises:
            ValueError: another rule; or the published boxes are not those of the landmarks, so that the whole
                ones are unknown.
        """
        if rule == "3ddfa-compat":
            return self.published
        if rule != "exact":
            raise ValueError(f"roi must be one of {', '.join(ROI_RULES)}, got {rule!r}")
        whole = geometry.roi_from_landmarks_benchmark(self.landmarks)
        different = (geometry.clamp_roi(whole, _SOURCE_SIDE, _SOURCE_SIDE) != self.published).any(1)
        if different.any():
            raise ValueError(
                f"{self.path}: roi 'exact' needs boxes that were made from the landmarks, and {different.sum()} are "
                f"not (the first is number {different.argmax()}); use roi '3ddfa-compat'"
            )
        return whole


@dataclass(frozen=True, eq=False)
class Truth:
    """What predictions are compared with; n images.

    Coordinates are pixels that count from **1**, as in the published files, y down.

    Attributes:
        data: name of the data set.
        points: float64 [n, K, 2 or 3], the landmarks to compare.
        visible: bool [n, K], those that count.
        landmarks: float64 [n, 68, 2 or 3], whose bounding box normalises.
        yaw: float64 [n], degrees, raw.
        annotation: which annotation, in words.
        split: where the yaw comes from, in words.
        names: of the images, where they are known; else predictions go by order.
        images: their files, where they are known.
        pose: float64 [n, 3], yaw, pitch, roll in degrees, where it is known.
        boxes: of the published crops, where there are any.
    """

    data: str
    points: NDArray[np.float64]
    visible: NDArray[np.bool_]
    landmarks: NDArray[np.float64]
    yaw: NDArray[np.float64]
    annotation: str
    split: str
    names: list[str] | None = None
    images: list[Path] | None = None
    pose: NDArray[np.float64] | None = None
    boxes: Boxes | None = None

    def __len__(self) -> int:
        return len(self.yaw)

    def name(self, index: int) -> str:
        """What messages and tables call an image."""
        return f"number {index}" if self.names is None else self.names[index]
