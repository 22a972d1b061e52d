"""The joint loss of Mobile-FRNet on whitened 3DMM parameters and on the vertices they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from frnet import ops

from .arguments import check_name
from .face_loss import VertexLoss, check_resample, resampled
from .processes import several_processes, sum_over_processes

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["FRNetLoss", "FRNetLossParts"]


class FRNetLossParts(NamedTuple):
    """What FRNetLoss gives: the loss to differentiate, and its parts for logging, which are detached."""

    loss: Tensor  # lambda_wpdc * wpdc_factor * wpdc + lambda_wing * wing
    wpdc: Tensor
    wing: Tensor
    wpdc_factor: Tensor  # the balance


class FRNetLoss(VertexLoss):
    r"""The joint loss of Mobile-FRNet: WPDC on the parameters plus Wing on the vertices, from one walk over the basis.

    .. math:: L = \lambda_1\, c\; \overline{\mathrm{wpdc}} + \lambda_2\; \overline{\mathrm{wing}}

    The two differ by orders of magnitude: with the published weights, 0.5 and 1, Wing's gradient is 370 to 20,000 times
    WPDC's, so that WPDC does nothing. The balance c says how that is dealt with:

    - "gradient": c makes the gradients of the batch's mean WPDC and of its mean Wing, with respect to the predictions,
      equally long, so that the lambdas are the ratio of what they contribute. c is a constant to the derivative, taken
      from the slopes that the op gives anyway. In data-parallel training the batch is that of all processes together,
      so that several processes take the step of one, and each of them must call the loss; but where nothing is to be
      differentiated, as in a validation that one process does alone, it is the process' own.
    - a positive number: c itself.
    - "none": c is 1, the published sum as it stands.

    Args:
        morphable: the model with its whitening.
        lambda_wpdc: weight of WPDC, at least 0.
        lambda_wing: weight of Wing, at least 0.
        balance: "gradient", "none" or a positive number.
        normalization: of WPDC: "max" or "sum".
        shape: of WPDC: "target" or "pred".
        resample: of WPDC: None, or how many vertices beside the landmarks are drawn at every call.
        width: of Wing, in pixels of the crop.
        curvature: of Wing, in pixels of the crop.
        vertices: of Wing: int64 [count]; None: all.
        target_tz: of Wing: whether the prediction is placed at the target's tz.
        precision: see :func:`frnet.ops.wpdc_wing`.

    Raises:
        ValueError: the model has no whitening; an index out of range; an unknown name; a weight or balance that is
            negative.

    Source: Jiang et al., Dual Attention MobDenseNet (DAMDNet) for Robust 3D Face Alignment, ICCVW 2019, for the sum;
    the balance by gradients is this library's.

    Example:
        >>> import torch
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(1, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2
        >>> FRNetLoss(model, 0.5, 1.0, balance="none")(pred, target).loss
        tensor(2.4533)
    """

    def __init__(
        self,
        morphable: MorphableModel,
        lambda_wpdc: float = 0.5,
        lambda_wing: float = 1.0,
        *,
        balance: str | float = "gradient",
        normalization: str = "max",
        shape: str = "target",
        resample: int | None = None,
        width: float = 10.0,
        curvature: float = 2.0,
        vertices: Tensor | None = None,
        target_tz: bool = True,
        precision: str = "float32",
    ) -> None:
        super().__init__(morphable, "mean", vertices, target_tz, precision)
        for name, value in (("lambda_wpdc", lambda_wpdc), ("lambda_wing", lambda_wing)):
            if not value >= 0:
                raise ValueError(f"{self._name}: {name} must be at least 0, got {value!r}")
        if balance not in ("gradient", "none") and (isinstance(balance, str) or not balance > 0):
            raise ValueError(f"{self._name}: balance must be 'gradient', 'none' or a positive number, got {balance!r}")
        self.lambda_wpdc = lambda_wpdc
        self.lambda_wing = lambda_wing
        self.balance = balance
        self.normalization = check_name(self._name, "normalization", ("max", "sum"), normalization)
        self.shape = check_name(self._name, "shape", ("target", "pred"), shape)
        self.resample = check_resample(self._name, morphable, resample)
        self.width = width
        self.curvature = curvature

    def forward(self, pred: Tensor, target: Tensor) -> FRNetLossParts:
        wpdc, wing, *slopes = ops.wpdc_wing(
            pred,
            target,
            self,
            wing_width=self.width,
            wing_curvature=self.curvature,
            wpdc_normalization=self.normalization,
            wpdc_shape=self.shape,
            target_tz=self.target_tz,
            wpdc_vertices=resampled(self.landmarks, self.resample, len(self.mean) // 3),
            vertices=self.vertices,
            precision=self.precision,
            return_slopes=self.balance == "gradient",
        )
        wpdc, wing = wpdc.mean(), wing.mean()
        factor = self._factor(wpdc, *slopes)
        loss = self.lambda_wpdc * factor * wpdc + self.lambda_wing * wing
        return FRNetLossParts(loss, wpdc.detach(), wing.detach(), factor)

    def _factor(self, like: Tensor, slope_wpdc: Tensor | None = None, slope_wing: Tensor | None = None) -> Tensor:
        if slope_wpdc is None:
            return torch.full_like(like, 1.0 if self.balance == "none" else self.balance, requires_grad=False)
        of_wpdc, of_wing = slope_wpdc.norm(), slope_wing.norm()
        if like.requires_grad and several_processes():
            # Each sample's slopes are its own, whatever the size of its batch, so their squares simply add up.
            squares = torch.stack([of_wpdc, of_wing]).double().square()
            of_wpdc, of_wing = sum_over_processes(squares).sqrt().to(like.dtype)
        # (A WPDC without a slope, as of a perfect prediction, gets no factor to blow it up.)
        return torch.where(of_wpdc > 0, of_wing / of_wpdc, torch.zeros_like(of_wpdc))
