"""What a detector's cells are to say, and how far they are from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DetectionLoss", "DetectionLossParts"]

# Sizes of faces (longer side of the landmarks' box, pixels per stride) that a plane answers for; neighbours overlap.
_LEAST, _MOST = 2.4, 5.6
_REACH = 0.22  # of the middle, in sizes of the face, from where cells answer for it ...
_CELLS = 0.76  # ... or in cells, where the face is small
_BESIDE = 0.4  # cells this near to a middle, on a plane whose sizes are off by no more than
_FACTOR = 1.7  # this, are left alone


class DetectionLossParts(NamedTuple):
    """Means over the cells that answer for a face.

    Attributes:
        total: what to minimise.
        score: quality focal loss of all cells.
        box: 1 - GIoU.
        roll: half the squared distance of cosine and sine; 1 - cosine of the error, where their length is 1.
    """

    total: Tensor
    score: Tensor
    box: Tensor
    roll: Tensor


class DetectionLoss(nn.Module):
    """Scores that say how well a box fits, boxes in the frame of the face, and rolls.

    A face is answered for by the cells about its middle on the planes for its size; where there are several, by those
    of the smallest. The score is to be the root of the IoU that the cell's own box has, by the quality focal loss
    ``|q - p|^2 BCE(p, q)`` (Li et al., Generalized Focal Loss, 2020, equation 5); of all other cells 0. Boxes are
    compared by GIoU where the face stands upright.

    Args:
        box_weight: of the boxes.
        roll_weight: of the rolls.
    """

    def __init__(self, box_weight: float = 2.0, roll_weight: float = 4.0) -> None:
        super().__init__()
        self.box_weight, self.roll_weight = box_weight, roll_weight

    def forward(
        self, cells: Tensor, places: Tensor, strides: Tensor, faces: Tensor, owners: Tensor
    ) -> DetectionLossParts:
        """The loss of a batch.

        Args:
            cells: [batch, N, 7], x, y, width, height, cosine, sine, score (logit).
            places: [N, 2], where the cells lie, pixels.
            strides: [N], of their planes.
            faces: [M, 7], see :class:`frnet.datasets.faces.scenes.Scene`.
            owners: int64 [M], which picture each is in.
        """
        sure = faces[:, 6] > 0
        target, ignored = self._assign(places, strides, faces, owners, sure, len(cells))
        score = cells[:, :, 6]
        quality = torch.zeros_like(score)
        answers = target >= 0
        count = answers.sum().clamp(min=1)
        box = roll = score.new_zeros(())
        if answers.any():
            wanted, given = faces[target[answers]], cells[answers]
            overlap, general = _upright_overlap(given, wanted)
            quality[answers] = overlap.detach().clamp(min=0).sqrt()
            box = (1 - general).sum() / count
            # Of vectors, not of their directions: the length of those would grow, and the gradient die of it.
            roll = (given[:, 4:6] - wanted[:, 4:6]).square().sum() / (2 * count)
        error = (quality - score.sigmoid()).square()
        focal = error * F.binary_cross_entropy_with_logits(score, quality, reduction="none")
        focal = (focal * ~ignored).sum() / count
        return DetectionLossParts(focal + self.box_weight * box + self.roll_weight * roll, focal, box, roll)

    @staticmethod
    def _assign(
        places: Tensor, strides: Tensor, faces: Tensor, owners: Tensor, sure: Tensor, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Which face each cell [batch, N] answers for, or -1; and which cells are left alone."""
        size = faces[:, 2:4].amax(1, keepdim=True)
        away = (places[None] - faces[:, None, :2]).abs().amax(2)
        ratio = size / strides
        finest, coarsest = strides.min(), strides.max()
        low = torch.where(strides == finest, 0.0, torch.full_like(strides, _LEAST))
        high = torch.where(strides == coarsest, torch.inf, torch.full_like(strides, _MOST))
        near = away < torch.maximum(_REACH * size, _CELLS * strides)
        answering = near & (ratio >= low) & (ratio <= high) & sure[:, None]
        beside = (away < _BESIDE * size) & (ratio >= low / _FACTOR) & (ratio <= high * _FACTOR)
        # Faces that are not sure are left alone on all planes; those that are, on planes where they do not belong.
        beside = torch.where(sure[:, None], beside & ~((ratio >= low) & (ratio <= high)), away < size / 2)
        target = torch.full((batch, len(places)), -1, dtype=torch.int64)
        ignored = torch.zeros(batch, len(places), dtype=torch.bool)
        for face in torch.argsort(size[:, 0], descending=True).tolist():  # the smallest has the last word
            target[owners[face]][answering[face]] = face
            ignored[owners[face]] |= beside[face]
        return target, ignored & (target < 0)


def _upright_overlap(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU [n] of boxes in the frame of the wanted ones."""
    cosine, sine = wanted[:, 4], wanted[:, 5]
    x, y = (given[:, :2] - wanted[:, :2]).unbind(1)
    middle = torch.stack([x * cosine + y * sine, y * cosine - x * sine], 1)
    low, high = middle - given[:, 2:4] / 2, middle + given[:, 2:4] / 2
    half = wanted[:, 2:4] / 2
    common = (torch.minimum(high, half) - torch.maximum(low, -half)).clamp(min=0).prod(1)
    union = given[:, 2:4].prod(1) + wanted[:, 2:4].prod(1) - common
    around = (torch.maximum(high, half) - torch.minimum(low, -half)).prod(1)
    overlap = common / union
    return overlap, overlap - (around - union) / around
