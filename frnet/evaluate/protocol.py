"""How a figure was taken, in words that go beside it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COORDINATES", "MEAN_RULE", "Protocol"]

COORDINATES = ("as-stored", "matched")
MEAN_RULE = "mean and std (population) are those of the three bin means, each bin counting alike"


@dataclass(frozen=True)
class Protocol:
    """Everything that makes two figures comparable, or not.

    Attributes:
        data: name of the data set.
        images: how many were measured.
        missed: images without a predicted face, which are left out.
        counts: images per bin of |yaw|.
        points: landmarks per face.
        annotation: which ground truth.
        split: where the yaw comes from.
        roi: where the crops lie, and how landmarks go back to the image.
        coordinates: which pixel is the first one, in predictions and in ground truth.
    """

    data: str
    images: int
    missed: int
    counts: tuple[int, int, int]
    points: int
    annotation: str
    split: str
    roi: str
    coordinates: str

    def __str__(self) -> str:
        missed = f" ({self.missed} more without a face, left out)" if self.missed else ""
        size = "the true landmarks" if self.points == 68 else "68 fitted landmarks, visible points alone"
        return (
            f"{self.data}, {self.images} images{missed}; {self.points} points, annotation {self.annotation}; "
            f"bins of |yaw| {'/'.join(map(str, self.counts))} by {self.split}; roi {self.roi}; {self.coordinates}; "
            f"NME = mean distance / sqrt(w h) of the box of {size}; {MEAN_RULE}"
        )
