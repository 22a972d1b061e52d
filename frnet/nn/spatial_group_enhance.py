"""The spatial group-wise enhance gate as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frnet import ops

from .arguments import check_channels, check_divides

__all__ = ["SpatialGroupEnhance"]


class SpatialGroupEnhance(nn.Module):
    r"""Scales every pixel of a group of channels by how much it resembles the group's mean over the plane.

    .. math::
        y_p = x_p\, \sigma\Big(w \frac{t_p - \bar t}{\mathrm{std}(t) + 10^{-5}} + b\Big), \qquad t_p = \bar x \cdot x_p

    with one w and one b per group. State-dict names and shapes, start (w = 0, b = 1) and result are those of the
    authors' module. See :func:`frnet.ops.sge_gate`.

    Args:
        groups: number of groups, at least 1; it divides the channels of the input.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: groups is not in its range.

    Source: Li, Hu and Yang, Spatial Group-wise Enhance, 2019, equations 1 to 5.

    Example:
        >>> import torch
        >>> SpatialGroupEnhance(groups=2)(torch.ones(1, 4, 3, 3))[0, 0, 0]  # at the start: x * sigmoid(1)
        tensor([0.7311, 0.7311, 0.7311], grad_fn=<SelectBackward0>)
    """

    def __init__(self, groups: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if not isinstance(groups, int) or groups < 1:
            raise ValueError(f"SpatialGroupEnhance: groups must be an int >= 1, got {groups!r}")
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(1, groups, 1, 1, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(1, groups, 1, 1, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The authors' start: the same gate everywhere."""
        nn.init.zeros_(self.weight)
        nn.init.ones_(self.bias)

    def check_channels(self, module: str, channels: int) -> None:
        """Raises where the gate cannot stand behind ``channels`` channels; ``module`` is who asks."""
        check_divides(module, "gate.groups", self.groups, check_channels(module, channels))

    fused = staticmethod(ops.depthwise_conv2d_sge)
    fused_with_norm = staticmethod(ops.depthwise_conv2d_bn_act_sge)

    def arguments(self) -> dict[str, Any]:
        """What ``fused`` and ``fused_with_norm``, the ops of a convolution with this gate behind it, take beside it."""
        return {"sge_weight": self.weight.flatten(), "sge_bias": self.bias.flatten(), "groups": self.groups}

    def forward(self, x: Tensor) -> Tensor:
        """Gate ``x`` [batch, channels, height, width]."""
        return ops.sge_gate(x, *self.arguments().values())

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"{self.groups}"
