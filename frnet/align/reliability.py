"""Whether there is a face where landmarks were fitted, by a second look of the detector's network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frnet import geometry
from frnet.io.images import Image

from .crops import Crop, cut_crop, following_crop
from .face import Face
from .face_detector import FaceDetector

__all__ = ["reliability"]

_SIDE = 128  # pixels: of what the network sees
_CONTEXT = 1.4  # that square is so much larger than the crop about the landmarks, which leaves a face some 65 pixels
_NONE, _FULL = 0.25, 0.65  # IoU of the landmarks' box and the detector's: nothing in common, and as good as it gets


def reliability(detector: FaceDetector, image: Image, faces: Sequence[Face]) -> NDArray[np.float64]:
    r"""How far fits can be relied on: is there a face, and are its landmarks where the detector sees it?

    .. math:: r = \max_c\; p_c \cdot \mathrm{clip}\Big(\frac{\mathrm{IoU}_c - 0.25}{0.65 - 0.25},\, 0,\, 1\Big)

    over the cells c of the network that look at a square about the landmarks, upright: p is a cell's score, IoU that of
    its box and the landmarks'. It says nothing of single landmarks, such as closed lips that
    were taken for open ones.

    Args:
        detector: whose network looks.
        image: uint8 [height, width, 3], BGR.
        faces: fitted in that image.

    Returns:
        float64 [n], in [0, 1]; 0 where the landmarks lie off the image or are no numbers.
    """
    result = np.zeros(len(faces))
    crops = [following_crop(face.landmarks, face.params, image) for face in faces]
    seen = [index for index, crop in enumerate(crops) if crop is not None]
    if not seen:
        return result
    squares = [_wider(crops[index]) for index in seen]
    rows = detector.cells(np.stack([cut_crop(image, square, _SIDE) for square in squares])).astype(np.float64)
    for index, square, cells in zip(seen, squares, rows, strict=True):
        affine = geometry.crop_affine(square.roi, angle=-square.turn, size=_SIDE)
        marks = faces[index].landmarks[:, :2] @ affine[:, :2].T + affine[:, 2]
        box = np.concatenate([marks.min(axis=0), marks.max(axis=0)])
        rolls = np.rad2deg(np.arctan2(cells[:, 5], cells[:, 4]))
        overlap = geometry.box_overlap(geometry.straight_box(cells[:, :4], rolls), box)
        agreement = ((overlap - _NONE) / (_FULL - _NONE)).clip(0, 1)
        result[index] = (cells[:, 6] * agreement).max()
    return result


def _wider(crop: Crop) -> Crop:
    centre, half = (crop.roi[:2] + crop.roi[2:]) / 2, _CONTEXT * (crop.roi[2] - crop.roi[0]) / 2
    return Crop(np.concatenate([centre - half, centre + half]), crop.roll)
