"""Poses that heads are drawn in, and where a crop then lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["PoseRanges", "draw_rotations", "place_in_crop", "rotations"]


@dataclass(frozen=True)
class PoseRanges:
    """How heads are turned, and how crops miss them.

    Yaw: a share of the faces look about straight ahead, a share anywhere between 60 degrees left and right, the rest
    are profiles of 45 degrees and more. Pitch and roll: most are near 0, the rest uniform.

    Attributes:
        frontal: share of faces with a yaw of deviation 18 degrees.
        turned: share of faces with a yaw uniform within 60 degrees.
        yaw: largest yaw of a profile, degrees.
        pitch: largest, degrees.
        roll: largest, degrees.
        scale: deviation of the crop's side, as a logarithm.
        shift: deviation of the crop's middle, as a share of its side.
        margin: side of the crop, in those that the rule gives. A detector's training wants whole heads: subclasses
            say so.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    margin: ClassVar[float] = 1.0

    frontal: float = 0.35
    turned: float = 0.3
    yaw: float = 92.0
    pitch: float = 60.0
    roll: float = 50.0
    scale: float = 0.12
    shift: float = 0.06

    def __post_init__(self) -> None:
        if not (self.frontal >= 0 and self.turned >= 0 and self.frontal + self.turned <= 1):
            raise ValueError(f"PoseRanges: frontal and turned must be shares, got {self.frontal} and {self.turned}")
        for name, limit in {"yaw": 180, "pitch": 90, "roll": 180, "scale": 0.5, "shift": 0.5}.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"PoseRanges: {name} must be from 0 to {limit}, got {getattr(self, name)}")


def draw_rotations(rng: np.random.Generator, count: int, ranges: PoseRanges = PoseRanges()) -> np.ndarray:
    """Rotations of the head: turned about its neck, then nodded and tilted as the camera sees it.

    Args:
        rng: random numbers.
        count: of heads.
        ranges: what is drawn.

    Returns:
        float64 [count, 3, 3].
    """
    kind, side = rng.random(count), rng.choice([-1.0, 1.0], count)
    yaw = np.where(
        kind < ranges.frontal,
        rng.normal(0, 18, count),
        np.where(
            kind < ranges.frontal + ranges.turned,
            rng.uniform(-60, 60, count),
            side * rng.uniform(min(45, ranges.yaw), ranges.yaw, count),
        ),
    ).clip(-ranges.yaw, ranges.yaw)
    pitch = np.where(rng.random(count) < 0.65, rng.normal(0, 12, count), rng.uniform(-1, 1, count) * ranges.pitch)
    roll = np.where(rng.random(count) < 0.6, rng.normal(0, 10, count), rng.uniform(-1, 1, count) * ranges.roll)
    pitch, roll = pitch.clip(-ranges.pitch, ranges.pitch), roll.clip(-ranges.roll, ranges.roll)
    return rotations(yaw, pitch, roll)


def rotations(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Turned about the neck first; positive: to the viewer's right, down, and counter-clockwise in the picture.

    Args:
        yaw, pitch, roll: [n], degrees.

    Returns:
        float64 [n, 3, 3].
    """
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("ZXY", np.stack([roll, pitch, yaw], -1), degrees=True).as_matrix()


def place_in_crop(
    rng: np.random.Generator, points: np.ndarray, size: float, ranges: PoseRanges = PoseRanges()
) -> tuple[np.ndarray, np.ndarray]:
    """The crop that landmarks give by 3DDFA's rule (:func:`frnet.geometry.roi_from_landmarks`), missed by a little.

    Args:
        rng: random numbers.
        points: [count, 68, 2 or more], y up.
        size: side of the crop, in the unit of the result.
        ranges: how much it is missed.

    Returns:
        Scale [count] and offset [count, 2] with ``x = scale x + offset``, ``y = offset - scale y`` from the crop's
        upper left corner.
    """
    low, high = points[:, :, :2].min(1), points[:, :, :2].max(1)
    side = ranges.margin * np.sqrt(2.0) * (high - low).max(1)
    side *= np.exp(rng.normal(0, 1, len(points)).clip(-2.5, 2.5) * ranges.scale)
    shift = rng.normal(0, 1, (len(points), 2)).clip(-2.5, 2.5) * ranges.shift
    centre = (low + high) / 2 + side[:, None] * shift
    scale = size / side
    return scale, size / 2 + scale[:, None] * centre * [-1.0, 1.0]
