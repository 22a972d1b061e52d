"""Wing on the places of vertices that labels give, rather than on those that labelled parameters would give."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frnet import ops
from frnet.morphable import MorphableModel

__all__ = ["PointsLoss"]

_LANDMARKS = 68
_GROUPS = ((slice(0, 68), 1.2), (slice(68, 136), 0.3), (slice(136, None), 0.35))  # landmarks, other landmarks, the rest


class PointsLoss(nn.Module):
    r"""How far vertices of a predicted face lie from where a label says they are.

    .. math:: L = \sum_p w_p \left[\mathrm{wing}(x_p) + \mathrm{wing}(y_p) + d\; \mathrm{wing}(z_p)\right]
              + c\; \overline{\alpha^2}

    with the differences in crop pixels, depths from their weighted mean, and the whitened coefficients alpha. Labels of
    rendered faces hold where the head's own vertices are, which no 62 parameters reach exactly: perspective and shapes
    that the model lacks are in them.

    Args:
        morphable: the model with its whitening.
        vertices: int64 [P], which vertices the points are; where there are more than 136, the first 68 are the field's
            landmarks and the next 68 those of another definition, and weigh otherwise.
        size: side of the crop.
        width: of Wing, pixels.
        curvature: of Wing, pixels.
        depth: weight of depth.
        coefficients: weight of the coefficients' mean square.

    Raises:
        ValueError: the model has no whitening, or a negative weight.

    Source: Feng et al., Wing Loss for Robust Facial Landmark Localisation, CVPR 2018.

    Example:
        >>> from frnet.morphable import MorphableModel
        >>> face = MorphableModel.builtin()
        >>> loss = PointsLoss(face, face.landmarks, 120)
        >>> float(loss(torch.zeros(2, 62), torch.full((2, 68, 3), 60.0))) > 0
        True
    """

    def __init__(
        self,
        morphable: MorphableModel,
        vertices: Tensor,
        size: int,
        *,
        width: float = 10.0,
        curvature: float = 2.0,
        depth: float = 0.4,
        coefficients: float = 0.02,
    ) -> None:
        super().__init__()
        if morphable.param_mean is None:
            raise ValueError(f"PointsLoss: expected a model with whitening, got {morphable!r}")
        if depth < 0 or coefficients < 0:
            raise ValueError(f"PointsLoss: weights must be at least 0, got {depth} and {coefficients}")
        self.model = morphable.subset(vertices)
        self.size, self.width, self.curvature = size, width, curvature
        self.depth, self.coefficients = depth, coefficients
        weights = torch.ones(len(vertices), dtype=morphable.dtype, device=morphable.device)
        if len(weights) > 2 * _LANDMARKS:
            for part, share in _GROUPS:
                weights[part] = share / len(weights[part])
        self.register_buffer("weights", weights / weights.sum())

    def forward(self, pred: Tensor, points: Tensor) -> Tensor:
        """The mean over a batch.

        Args:
            pred: [batch, 12 + S + E], whitened.
            points: [batch, P, 3], label positions (x right, y down) and depth towards the viewer, pixels.

        Returns:
            The loss, a scalar.
        """
        placed = ops.reconstruct_vertices(self.model.dewhiten(pred), self.model)  # the crop frame: counts from 1, y up
        across = placed[..., 0] - 1 - points[..., 0]
        down = self.size - placed[..., 1] - points[..., 1]
        behind = placed[..., 2] - points[..., 2]
        behind = behind - (behind * self.weights).sum(1, keepdim=True)
        per_point = self._wing(across) + self._wing(down) + self.depth * self._wing(behind)
        return (per_point * self.weights).sum(1).mean() + self.coefficients * pred[:, 12:].square().mean()

    def _wing(self, difference: Tensor) -> Tensor:
        away = difference.abs()
        step = self.width - self.width * torch.log1p(away.new_tensor(self.width / self.curvature))
        return torch.where(away < self.width, self.width * torch.log1p(away / self.curvature), away - step)
