"""From a configuration's loss to a module: whitened predictions and targets in, a loss and its parts out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frnet.datasets import FaceDataset
from frnet.morphable import MorphableModel
from frnet.nn import FRNetLoss, PointsLoss, VDCLoss, WingLoss, WPDCLoss

from .config import Loss, PDCLossSection, PointsLossSection

__all__ = ["LossParts", "TrainingLoss"]

_MODULES = {"frnet": FRNetLoss, "wpdc": WPDCLoss, "wing": WingLoss, "vdc": VDCLoss}


class LossParts(NamedTuple):
    """A loss to differentiate, and detached parts of it by name."""

    loss: Tensor
    parts: dict[str, Tensor]


class TrainingLoss(nn.Module):
    """The loss that a configuration asks for; in the dtype of the model, whatever the network's precision.

    Args:
        section: of the configuration.
        morphable: the model of the labels, with its whitening.
        data: the training set, for the loss that is about the places of vertices it knows.

    Raises:
        ValueError: the model lacks what the loss needs.
    """

    def __init__(self, section: Loss, morphable: MorphableModel, data: FaceDataset | None = None) -> None:
        super().__init__()
        self.kind = section.kind
        self.module = None
        if isinstance(section, PDCLossSection):
            return
        arguments = section.model_dump(exclude={"kind"})
        if isinstance(section, PointsLossSection):
            vertices = torch.from_numpy(data.vertices).to(morphable.device)
            self.module = PointsLoss(morphable, vertices, data.convention.size, **arguments)
            return
        if "vertices" in arguments:
            arguments["vertices"] = morphable.landmarks if section.vertices == "landmarks" else None
        self.module = _MODULES[self.kind](morphable, **arguments)

    def forward(self, pred: Tensor, target: Tensor, points: Tensor | None = None) -> LossParts:
        """[batch, 12 + S + E] each, whitened; and [batch, P, 3], where the data set's vertices lie."""
        if self.module is None:
            loss = F.mse_loss(pred, target)
        elif self.kind == "frnet":
            parts = self.module(pred, target)
            named = {"wpdc": parts.wpdc, "wing": parts.wing}
            if self.module.balance == "gradient":  # else it is a constant
                named["wpdc_factor"] = parts.wpdc_factor
            return LossParts(parts.loss, named)
        else:
            loss = self.module(pred, points if self.kind == "points" else target)
        return LossParts(loss, {self.kind: loss.detach()})
