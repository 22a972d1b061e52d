"""The Wing loss on vertices as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from frnet import ops

from .face_loss import VertexLoss

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["WingLoss"]


class WingLoss(VertexLoss):
    r"""Wing loss on vertices; see :func:`frnet.ops.wpdc_wing`.

    Args:
        morphable: the model with its whitening.
        width: positive, in pixels of the crop.
        curvature: positive, in pixels of the crop.
        vertices: int64 [count], the vertices compared (``morphable.landmarks``, say); None: all.
        target_tz: whether the prediction is placed at the target's tz.
        reduction: "mean" or "sum" over the batch, or "none".
        precision: see :func:`frnet.ops.wpdc_wing`.

    Raises:
        ValueError: the model has no whitening; an index out of range; an unknown name.

    Source: Feng et al., Wing Loss for Robust Facial Landmark Localisation, CVPR 2018, equation 5.

    Example:
        >>> import torch
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(2, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2
        >>> WingLoss(model, reduction="none")(pred, target)
        tensor([2.3105, 0.0000])
    """

    def __init__(
        self,
        morphable: MorphableModel,
        width: float = 10.0,
        curvature: float = 2.0,
        *,
        vertices: Tensor | None = None,
        target_tz: bool = True,
        reduction: str = "mean",
        precision: str = "float32",
    ) -> None:
        super().__init__(morphable, reduction, vertices, target_tz, precision)
        self.width = width
        self.curvature = curvature

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        _, wing = ops.wpdc_wing(
            pred,
            target,
            self,
            wing_width=self.width,
            wing_curvature=self.curvature,
            target_tz=self.target_tz,
            wpdc_vertices=self.vertices,
            vertices=self.vertices,
            precision=self.precision,
        )
        return self._reduced(wing)
