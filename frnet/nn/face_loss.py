"""What the losses on a predicted face share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .arguments import check_name

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["FaceLoss", "VertexLoss", "check_resample", "resampled"]

_REDUCTIONS = {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda losses: losses}


class FaceLoss(nn.Module):
    """Holds a morphable model's arrays as buffers, which move with the module but are not in its state dict."""

    def __init__(self, morphable: MorphableModel, reduction: str) -> None:
        super().__init__()
        self._name = type(self).__name__
        if morphable.param_mean is None:
            raise ValueError(f"{self._name}: morphable must have a whitening; see MorphableModel.with_whitening")
        self.reduction = check_name(self._name, "reduction", _REDUCTIONS, reduction)
        for name in ("mean", "basis", "param_mean", "param_std", "landmarks"):
            self.register_buffer(name, getattr(morphable, name), persistent=False)

    def _reduced(self, losses: Tensor) -> Tensor:
        return _REDUCTIONS[self.reduction](losses)


class VertexLoss(FaceLoss):
    """A loss that compares vertices."""

    def __init__(
        self,
        morphable: MorphableModel,
        reduction: str,
        vertices: Tensor | None,
        target_tz: bool,
        precision: str,
    ) -> None:
        super().__init__(morphable, reduction)
        self.register_buffer("vertices", self._checked(vertices), persistent=False)
        self.target_tz = target_tz
        self.precision = precision

    def _checked(self, vertices: Tensor | None) -> Tensor | None:
        """The vertices where the model is, looked at once and for all."""
        if vertices is None:
            return None
        count = len(self.mean) // 3
        if vertices.dtype != torch.int64 or vertices.dim() != 1 or vertices.numel() == 0:
            raise ValueError(
                f"{self._name}: vertices must be int64 [count] with at least one vertex, got "
                f"{list(vertices.shape)} of {vertices.dtype}"
            )
        if vertices.min() < 0 or vertices.max() >= count:
            raise ValueError(
                f"{self._name}: vertices must be indices from 0 to {count - 1}, got {int(vertices.min())} to "
                f"{int(vertices.max())}"
            )
        return vertices.to(self.mean.device)


def check_resample(name: str, morphable: MorphableModel, resample: int | None) -> int | None:
    if resample is None:
        return None
    if not isinstance(resample, int) or not 0 <= resample <= morphable.num_vertices:
        raise ValueError(
            f"{name}: resample must be None or from 0 to the {morphable.num_vertices} vertices, got {resample!r}"
        )
    if morphable.landmarks is None:
        raise ValueError(f"{name}: resample adds vertices to the landmarks, but morphable has none")
    return resample


def resampled(landmarks: Tensor | None, resample: int | None, vertices: int) -> Tensor | None:
    """The landmarks and so many vertices beside them, drawn anew; None, for all, where there is nothing to draw."""
    if resample is None:
        return None
    return torch.cat([landmarks, torch.randperm(vertices, device=landmarks.device)[:resample]])
