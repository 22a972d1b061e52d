"""The inverted residual block with a multi-scale depthwise stage."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .arguments import check_channels, check_divides
from .conv2d_norm_act import Conv2dNormAct
from .depthwise_conv2d_norm_act import DepthwiseConv2dNormAct
from .hierarchical_depthwise_conv2d import HierarchicalDepthwiseConv2d
from .spatial_group_enhance import SpatialGroupEnhance
from .squeeze_excite import SqueezeExcite

__all__ = ["MobileBlock"]


class MobileBlock(nn.Module):
    """Expansion, depthwise stage, gates, projection, and a shortcut around them.

    A 1x1 convolution takes the input to ``expansion * in_channels`` channels, a depthwise stage (multi-scale where
    splits > 1) and its gates work on those, a 1x1 convolution without activation projects them. The input is added to
    the result: as it is where the shape stays, through a 1x1 convolution and normalisation of its own where it changes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the depthwise stage, in pixels.
        expansion: how many times wider the block is inside.
        splits: of the multi-scale stage; 1: a plain depthwise convolution, normalisation and activation.
        sge_groups: groups of the spatial group-wise enhance behind the depthwise stage; 0: none.
        se_reduction: the expanded channels over those between the layers of a squeeze-and-excitation in front of the
            projection; 0: none.
        activation: of the expansion and the depthwise stage.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: splits or groups do not divide the expanded channels, or a size is out of range.

    Source: Sandler et al., MobileNetV2, 2018, table 1; Gao et al., Res2Net, 2019, for the multi-scale stage.

    Example:
        >>> import torch
        >>> MobileBlock(16, 24, stride=2, sge_groups=8, se_reduction=16)(torch.randn(2, 16, 60, 60)).shape
        torch.Size([2, 24, 30, 30])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        expansion: int = 6,
        splits: int = 4,
        sge_groups: int = 0,
        se_reduction: int = 0,
        activation: str = "relu6",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name, factory = "MobileBlock", {"device": device, "dtype": dtype}
        check_channels(name, in_channels)
        check_channels(name, out_channels)
        channels = check_channels(name, expansion * in_channels)
        check_divides(name, "splits", splits, channels)
        gate = SpatialGroupEnhance(sge_groups, **factory) if sge_groups else None
        self.expand = Conv2dNormAct(in_channels, channels, activation=activation, **factory)
        if splits == 1:
            self.depthwise = DepthwiseConv2dNormAct(channels, 3, stride, 1, activation=activation, gate=gate, **factory)
        else:
            self.depthwise = HierarchicalDepthwiseConv2d(
                channels, 3, stride, splits, activation=activation, gate=gate, **factory
            )
        self.se = None
        if se_reduction:
            self.se = SqueezeExcite(channels, rd_channels=max(1, channels // se_reduction), **factory)
        self.project = Conv2dNormAct(channels, out_channels, activation="none", **factory)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Conv2dNormAct(in_channels, out_channels, stride=stride, activation="none", **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, out_height, out_width]."""
        y = self.depthwise(self.expand(x))
        if self.se is not None:
            y = self.se(y)
        return self.project(y) + (x if self.shortcut is None else self.shortcut(x))
