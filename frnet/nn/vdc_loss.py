"""The vertex distance cost as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from frnet import ops

from .face_loss import VertexLoss

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["VDCLoss"]


class VDCLoss(VertexLoss):
    r"""Vertex distance cost; see :func:`frnet.ops.vdc`.

    Args:
        morphable: the model with its whitening.
        vertices: int64 [count], the vertices compared; None: all.
        target_tz: whether the prediction is placed at the target's tz.
        reduction: "mean" or "sum" over the batch, or "none".
        precision: see :func:`frnet.ops.wpdc_wing`.

    Raises:
        ValueError: the model has no whitening; an index out of range; an unknown name.

    Source: Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016, equation 6.

    Example:
        >>> import torch
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(2, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2
        >>> VDCLoss(model, reduction="none")(pred, target)
        tensor([1.3333, 0.0000])
    """

    def __init__(
        self,
        morphable: MorphableModel,
        *,
        vertices: Tensor | None = None,
        target_tz: bool = True,
        reduction: str = "mean",
        precision: str = "float32",
    ) -> None:
        super().__init__(morphable, reduction, vertices, target_tz, precision)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self._reduced(ops.vdc(pred, target, self, self.vertices, self.target_tz, precision=self.precision))
