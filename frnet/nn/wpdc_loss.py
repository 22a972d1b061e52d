"""The weighted parameter distance cost as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from frnet import ops

from .arguments import check_name
from .face_loss import FaceLoss, check_resample, resampled

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["WPDCLoss"]


class WPDCLoss(FaceLoss):
    r"""Weighted parameter distance cost; see :func:`frnet.ops.wpdc_wing`.

    Args:
        morphable: the model with its whitening.
        normalization: "max" as in 3DDFA's code, or "sum" as in the paper.
        shape: "target", or "pred" as in 3DDFA before 2021.
        resample: None: the weights look at all vertices. A number: at the landmarks and at so many vertices drawn anew
            at every call, from torch's generator of the device; 3DDFA takes 132.
        reduction: "mean" or "sum" over the batch, or "none".

    Raises:
        ValueError: the model has no whitening, or with resample no landmarks or too few vertices; an unknown name.

    Source: Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016, equation 8.

    Example:
        >>> import torch
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(2, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2
        >>> WPDCLoss(model)(pred, target)
        tensor(0.1429)
    """

    def __init__(
        self,
        morphable: MorphableModel,
        *,
        normalization: str = "max",
        shape: str = "target",
        resample: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(morphable, reduction)
        self.normalization = check_name(self._name, "normalization", ("max", "sum"), normalization)
        self.shape = check_name(self._name, "shape", ("target", "pred"), shape)
        self.resample = check_resample(self._name, morphable, resample)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        weights = ops.wpdc_weights(
            pred,
            target,
            self,
            wpdc_normalization=self.normalization,
            wpdc_shape=self.shape,
            wpdc_vertices=resampled(self.landmarks, self.resample, len(self.mean) // 3),
        )
        return self._reduced((weights * (pred - target).square()).mean(1))
