"""Settings of the augmentation: one small class for each kind, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import ClassVar

__all__ = [
    "AugmentationConfig",
    "Blur",
    "Colour",
    "Downscale",
    "Flip",
    "Jpeg",
    "MotionBlur",
    "Noise",
    "Occlusion",
    "RoiJitter",
    "Rotation",
]

Range = tuple[float, float]
_FORBID = {"extra": "forbid"}  # pydantic, reading these from a configuration file, refuses a name it does not know


@dataclass(frozen=True)
class _Kind:
    """What all kinds have: how often they are applied."""

    __pydantic_config__: ClassVar = _FORBID

    probability: float = 1.0

    def __post_init__(self) -> None:
        self._check("probability", self.probability, 0, 1)

    def _check(self, name: str, value: float, low: float, high: float = math.inf) -> None:
        if not low <= value <= high:  # false for NaN too
            raise ValueError(f"{type(self).__name__}: {name} must be from {low} to {high}, got {value}")

    def _check_range(self, name: str, low: float, high: float = math.inf) -> None:
        bounds = getattr(self, name)
        if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
            raise ValueError(
                f"{type(self).__name__}: {name} must be (smallest, largest) between {low} and {high}, got {bounds}"
            )
        object.__setattr__(self, name, tuple(bounds))  # a list, as YAML has them, would not hash


@dataclass(frozen=True)
class RoiJitter(_Kind):
    """The crop is moved and its side changed, as a detector's box would be off.

    Attributes:
        probability: of doing it.
        shift: largest move along each axis, as a share of the side.
        scale: factor of the side; above 1 the face becomes smaller.
    """

    shift: float = 0.08
    scale: Range = (0.9, 1.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("shift", self.shift, 0, 1)
        self._check_range("scale", 0.1, 10)


@dataclass(frozen=True)
class Rotation(_Kind):
    """The image is turned about the middle of the crop.

    Attributes:
        probability: of doing it.
        degrees: largest angle, to either side.
    """

    probability: float = 0.5
    degrees: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("degrees", self.degrees, 0, 180)


@dataclass(frozen=True)
class Flip(_Kind):
    """Left and right change places; only for data whose labels can follow (:func:`frnet.datasets.find_mirror`).

    Attributes:
        probability: of doing it.
    """

    probability: float = 0.5


@dataclass(frozen=True)
class Occlusion(_Kind):
    """A rectangle or an ellipse, of one colour or of another face, hides a part of the crop.

    Attributes:
        probability: of doing it.
        side: of the shape, as a share of the crop's, each of the two drawn by itself.
        other_face: how often it is filled from another sample, which costs reading that.
    """

    probability: float = 0.25
    side: Range = (0.1, 0.45)
    other_face: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("side", 0, 1)
        self._check("other_face", self.other_face, 0, 1)


@dataclass(frozen=True)
class Colour(_Kind):
    """Light and camera: ``255 (gain (contrast (x - 1/2) + 1/2 + brightness))^gamma``, then saturation.

    Attributes:
        probability: of doing it, all of it at once.
        brightness: largest shift to either side, 1 being white.
        contrast: factor about middle grey.
        gamma: exponent.
        gain: factor of each channel, drawn for each.
        saturation: factor of the distance from grey; 0 is grey.
    """

    probability: float = 0.8
    brightness: float = 0.15
    contrast: Range = (0.7, 1.3)
    gamma: Range = (0.75, 1.35)
    gain: Range = (0.92, 1.08)
    saturation: Range = (0.5, 1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("brightness", self.brightness, 0, 1)
        for name in ("contrast", "gamma", "gain", "saturation"):
            self._check_range(name, 0, 10)


@dataclass(frozen=True)
class Blur(_Kind):
    """A Gaussian.

    Attributes:
        probability: of doing it.
        sigma: crop pixels.
    """

    probability: float = 0.1
    sigma: Range = (0.4, 1.6)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("sigma", 0.05, 20)


@dataclass(frozen=True)
class MotionBlur(_Kind):
    """A straight line in any direction.

    Attributes:
        probability: of doing it.
        length: crop pixels.
    """

    probability: float = 0.05
    length: Range = (2.0, 8.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("length", 1, 60)


@dataclass(frozen=True)
class Downscale(_Kind):
    """The crop is made smaller (averaging) and large again, as of a face far away.

    Attributes:
        probability: of doing it.
        factor: of the side.
    """

    probability: float = 0.15
    factor: Range = (1.2, 4.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("factor", 1, 60)


@dataclass(frozen=True)
class Noise(_Kind):
    """Normal noise, for every pixel and channel by itself.

    Attributes:
        probability: of doing it.
        sigma: grey levels.
    """

    probability: float = 0.15
    sigma: Range = (1.0, 10.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("sigma", 0, 255)


@dataclass(frozen=True)
class Jpeg(_Kind):
    """The crop is compressed once more.

    Attributes:
        probability: of doing it.
        quality: OpenCV's, 0 to 100.
    """

    probability: float = 0.25
    quality: Range = (25, 90)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("quality", 0, 100)


@dataclass(frozen=True)
class AugmentationConfig:
    """What is done to training images, in this order; None leaves a kind out.

    The first three are one warp of the source image, and the label goes with them. Flips are off by default, as the
    labels of the field's models cannot follow.

    Example:
        >>> from dataclasses import replace
        >>> config = replace(AugmentationConfig(), rotation=Rotation(degrees=45), jpeg=None)
        >>> AugmentationConfig.none().is_none, config.is_none
        (True, False)
        >>> Rotation(degrees=200)
        Traceback (most recent call last):
        ValueError: Rotation: degrees must be from 0 to 180, got 200
    """

    __pydantic_config__: ClassVar = _FORBID

    roi_jitter: RoiJitter | None = field(default_factory=RoiJitter)
    rotation: Rotation | None = field(default_factory=Rotation)
    flip: Flip | None = None
    occlusion: Occlusion | None = field(default_factory=Occlusion)
    colour: Colour | None = field(default_factory=Colour)
    blur: Blur | None = field(default_factory=Blur)
    motion_blur: MotionBlur | None = field(default_factory=MotionBlur)
    downscale: Downscale | None = field(default_factory=Downscale)
    noise: Noise | None = field(default_factory=Noise)
    jpeg: Jpeg | None = field(default_factory=Jpeg)

    @classmethod
    def none(cls) -> AugmentationConfig:
        """Nothing at all; a place to start from with ``dataclasses.replace``."""
        return cls(**{part.name: None for part in fields(cls)})

    @property
    def is_none(self) -> bool:
        """Whether nothing is ever done."""
        parts = (getattr(self, part.name) for part in fields(self))
        return all(part is None or part.probability == 0 for part in parts)
