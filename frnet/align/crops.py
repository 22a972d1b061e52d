"""What the network looks at: a square of the image, turned where the face in it is far from upright."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frnet import _core, geometry
from frnet.io.images import Image
from frnet.weights import Checkpoint, CheckpointError, Normalisation
from frnet.weights.stored import StoredCheckpoint

__all__ = [
    "LARGEST_ROLL",
    "Crop",
    "check_normalisation",
    "cut_crop",
    "following_crop",
    "network_input",
    "upright_params",
]

# Degrees. Networks of this family follow so much of a roll by themselves, and up to it crops are as published. mb05 on
# the samples of AFLW2000-3D, turned: NME 3.4 % at 0, 3.5 at 30, 3.8 at 60, 5.7 at 90, 62 at 180; in crops that show
# the face upright 3.3 at any roll.
LARGEST_ROLL = 30.0
_LARGEST_TURNED = 16_384  # pixels: side of the largest crop that is turned; OpenCV's warps end at 32,767


class Crop(NamedTuple):
    """A square of an image, [x0, y0, x1, y1] in pixels, and by how many degrees the face in it is turned clockwise."""

    roi: NDArray[np.float64]
    roll: float

    @property
    def turn(self) -> float:
        """By how much the square is turned too: not at all where the network can do without."""
        small = self.roi[2] - self.roi[0] <= _LARGEST_TURNED
        return float(self.roll) if abs(self.roll) > LARGEST_ROLL and small else 0.0


def following_crop(landmarks: NDArray[np.floating], params: NDArray[np.floating], image: Image) -> Crop | None:
    """The crop around landmarks, as the face would have it if it stood upright.

    Args:
        landmarks: [68, 3], pixels of the image.
        params: of the face; the roll is that of the model's upward axis in the image.
        image: what is to be cropped.

    Returns:
        Crop, or None where it has no pixel of the image in it.
    """
    if not np.isfinite(landmarks).all() or np.ptp(landmarks[:, :2], axis=0).max() == 0:
        return None
    roll = float(np.rad2deg(np.arctan2(params[1], params[5])))  # R01, R11: for any yaw, and pitch short of 90
    if not abs(roll) > LARGEST_ROLL:
        roi = geometry.roi_from_landmarks(landmarks)
    else:
        turn = geometry.clockwise(roll)
        upright = geometry.roi_from_landmarks(landmarks[:, :2] @ turn)
        centre, half = turn @ (upright[:2] + upright[2:]) / 2, (upright[2] - upright[0]) / 2
        roi = np.concatenate([centre - half, centre + half])
    return Crop(roi, roll) if geometry.roi_is_valid(roi, image.shape[1], image.shape[0]) else None


def network_input(
    images: Sequence[Image], crops: Iterable[Crop], size: int, normalisation: Normalisation
) -> NDArray[np.float32]:
    """What the network takes, float32 [n, 3, size, size], of one crop per image."""
    pairs = zip(images, crops, strict=True)
    return np.stack([_planes(image, crop, size, normalisation) for image, crop in pairs])


def _planes(image: Image, crop: Crop, size: int, normalisation: Normalisation) -> NDArray[np.float32]:
    reverse = normalisation.channel_order == "RGB"
    if not crop.turn:
        corners = np.rint(geometry.require_roi(crop.roi, image.shape[1], image.shape[0])).astype(np.int64)
        return _core.crop(image, corners[None], size, normalisation.mean, normalisation.scale, reverse)[0]
    cut = cut_crop(image, crop, size)[None]
    return geometry.normalize(cut[..., ::-1] if reverse else cut, normalisation.mean, normalisation.scale)[0]


def upright_params(params: NDArray[np.floating], crop: Crop, size: int) -> NDArray[np.float64]:
    """Parameters [P] of a crop that the network saw turned, as those of the same square seen straight."""
    straight, seen = (geometry.crop_affine(crop.roi, angle=-angle, size=size) for angle in (0.0, crop.turn))
    return geometry.transform_params(params, geometry.relative_affine(seen, straight), size=size)


def check_normalisation(checkpoint: Checkpoint | StoredCheckpoint) -> None:
    """Refuse what cannot be done to a pixel.

    Raises:
        CheckpointError: another order of channels than BGR or RGB, or numbers that pixels cannot be scaled by.
    """
    stated = checkpoint.normalisation
    if stated.channel_order not in ("BGR", "RGB"):
        raise CheckpointError(f"{checkpoint.title} wants channels as {stated.channel_order!r}; known are BGR and RGB")
    if not np.isfinite([stated.mean, stated.scale]).all() or stated.scale == 0:
        raise CheckpointError(
            f"{checkpoint.title} wants (pixel - {stated.mean}) / {stated.scale} of every pixel, which is no number"
        )


def cut_crop(image: Image, crop: Crop, size: int) -> Image:
    """The square of a crop, uint8 [size, size, 3], upright where it is turned."""
    if not crop.turn:
        return geometry.crop(image, crop.roi, size)
    # OpenCV warps at most 32,767 pixels a side, so what the turned square can touch is cut out first.
    reach = np.sqrt(0.5) * (crop.roi[2] - crop.roi[0]) + 2
    centre = (crop.roi[:2] + crop.roi[2:]) / 2
    left, top = np.floor(centre - reach).clip(0).astype(int)
    right, bottom = np.ceil(centre + reach).clip(0).astype(int)
    roi = crop.roi - np.array([left, top, left, top])
    return geometry.crop_view(
        image[top:bottom, left:right], geometry.crop_affine(roi, angle=-crop.turn, size=size), size
    )
