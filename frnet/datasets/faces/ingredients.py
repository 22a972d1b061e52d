"""What training faces are made of, each part with a switch, so that its worth can be measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from frnet.datasets.faces.poses import PoseRanges

__all__ = ["Ingredients"]


@dataclass(frozen=True)
class Ingredients:
    """What is put into training faces.

    Attributes:
        portraits: share of faces that are portraits turned in space, as pictures; the others are rendered.
        poses: how heads are turned.
        photo_colours: colours of skin measured on portraits; else one tone and what follows.
        mixed_colours: of two portraits, blended over the face.
        brows_and_lips: painted ones, on some.
        beard: painted ones, on some.
        make_up: on lips, lids and cheeks.
        wrinkles: and other folds.
        gaze: eyes that look around.
        hair: caps and long hair; without it heads are bald.
        hats: caps, beanies, scarves, hoods.
        glasses: clear and dark ones.
        things: hands and other things in front of the face.
        torso: a neck's continuation.
        shadows: that the head casts on itself.
        photo_backgrounds: pieces of photographs; else noise and plain colours.
        degradation: of the picture: resampling, blur, noise, compression, colour.
        patches: polygons that cover a part of the picture.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    portraits: float = 0.4
    poses: PoseRanges = field(default_factory=PoseRanges)
    photo_colours: bool = True
    mixed_colours: bool = True
    brows_and_lips: bool = True
    beard: bool = True
    make_up: bool = True
    wrinkles: bool = True
    gaze: bool = True
    hair: bool = True
    hats: bool = True
    glasses: bool = True
    things: bool = True
    torso: bool = True
    shadows: bool = True
    photo_backgrounds: bool = True
    degradation: bool = True
    patches: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.portraits <= 1:
            raise ValueError(f"Ingredients: portraits must be a share from 0 to 1, got {self.portraits}")
