"""What is evaluated: anything that finds the face in images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frnet.io.images import Image

__all__ = ["Predict", "PredictedFace"]


class PredictedFace(Protocol):
    """A face as a method sees it; :class:`frnet.align.Face` is one.

    Coordinates are image pixels counting from 0, y down.

    Attributes:
        landmarks: float [68, 3].
        vertices: float [V, 3]; looked at where meshes are evaluated.
        pose: yaw, pitch, roll in degrees, as ``Pose_Para`` of 300W-LP means them.
        roi: float [4], the crop that the method looked at last.
    """

    landmarks: NDArray[np.floating]
    vertices: NDArray[np.floating]
    pose: Sequence[float]
    roi: NDArray[np.floating]


class Predict(Protocol):
    """A method, such as a :class:`frnet.align.FaceAligner`."""

    def __call__(self, images: Sequence[Image], rois: Any = None) -> Sequence[Sequence[PredictedFace]]:
        """The faces of each image.

        Args:
            images: uint8 [height, width, 3] each, BGR.
            rois: for each image float [n, 4], the crops in which there is a face, in image pixels; without them the
                method finds the faces itself.
        """
