"""DAMDNet, the direct ancestor of Mobile-FRNet: dense connections between mobile blocks, spatial and channel gates.

Jiang et al., Dual Attention MobDenseNet (DAMDNet) for Robust 3D Face Alignment, ICCVW 2019 (arXiv 1908.11821).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frnet.nn import Conv2dNormAct, DepthwiseConv2dNormAct, SpatialGroupEnhance, SqueezeExcite

from .inputs import check_crops
from .mobile_network import HEAD_CHANNELS, LAYERS, STEM_CHANNELS, check_common, scaled
from .network import Network
from .settings import check_counts

__all__ = ["DAMDNet", "DAMDNetConfig"]

_NAME = "damdnet"


@dataclass(frozen=True)
class DAMDNetConfig:
    """Everything that shapes the network.

    Attributes:
        num_params: outputs of the last layer; 62 for 3DDFA's morphable model.
        input_size: side of the square input, in pixels, at least 33.
        width: multiplier of every channel count, in (0, 8]; counts become multiples of 8.
        se_reduction: of the channel gates behind every layer.
    """

    num_params: int = 62
    input_size: int = 120
    width: float = 1.0
    se_reduction: int = 16

    def __post_init__(self) -> None:
        check_common(_NAME, self.num_params, self.input_size, self.width, gated=True)
        check_counts(_NAME, se_reduction=self.se_reduction)


class DenseMobileBlock(nn.Module):
    """An inverted residual whose result is put beside its input instead of added to it.

    Expansion, depthwise convolution, projection, spatial gate; the result and the input (of a layer's first block
    through a 1x1 convolution with the stride) side by side, ReLU, and a 1x1 convolution back to the layer's width.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, first: bool, **factory
    ) -> None:
        super().__init__()
        channels = expansion * in_channels
        self.expand = Conv2dNormAct(in_channels, channels, **factory)
        self.depthwise = DepthwiseConv2dNormAct(channels, 3, stride, 1, activation="relu6", **factory)
        self.project = Conv2dNormAct(channels, out_channels, activation="none", **factory)
        self.sge = SpatialGroupEnhance(out_channels // 2, **factory)
        self.shortcut = None
        if first:
            self.shortcut = Conv2dNormAct(in_channels, in_channels, stride=stride, activation="none", **factory)
        self.transition = Conv2dNormAct(in_channels + out_channels, out_channels, activation="none", **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, out_height, out_width]."""
        y = self.sge(self.project(self.depthwise(self.expand(x))))
        beside = x if self.shortcut is None else self.shortcut(x)
        return self.transition(torch.relu_(torch.cat([y, beside], 1)))


class DAMDNet(Network):
    """DAMDNet onto the whitened parameters of a morphable model.

    Args:
        config: see :class:`DAMDNetConfig`.
        device: where the parameters live.
        dtype: type of the parameters.

    Example:
        >>> import torch
        >>> model = DAMDNet(DAMDNetConfig(width=0.25)).eval()
        >>> model(torch.zeros(2, 3, 120, 120)).shape
        torch.Size([2, 62])
    """

    architecture = _NAME

    def __init__(
        self,
        config: DAMDNetConfig | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or DAMDNetConfig()
        factory = {"device": device, "dtype": dtype}
        channels = scaled(STEM_CHANNELS, config.width)
        self.stem = Conv2dNormAct(3, channels, 3, stride=2, **factory)
        self.layers = nn.Sequential()
        for layer in LAYERS:
            blocks = []
            wanted = scaled(layer.channels, config.width)
            for block in range(layer.blocks):
                stride = layer.stride if block == 0 else 1
                blocks.append(DenseMobileBlock(channels, wanted, stride, layer.expansion, first=block == 0, **factory))
                channels = wanted
            squeezed = max(1, channels // config.se_reduction)
            gate = SqueezeExcite(channels, rd_channels=squeezed, bias=False, names="senet", **factory)
            self.layers.append(nn.Sequential(*blocks, gate))
        head = max(HEAD_CHANNELS, scaled(HEAD_CHANNELS, config.width))
        self.head = nn.Conv2d(channels, head, 1, bias=False, **factory)
        self.fc = nn.Linear(head, config.num_params, bias=False, **factory)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Whitened parameters of normalised crops: [batch, 3, input_size, input_size] -> [batch, num_params].

        Raises:
            TypeError, ValueError: see :func:`frnet.models.inputs.check_crops`.
        """
        check_crops(x, self.config.input_size, self.fc.weight, self.architecture)
        return self.fc(self.head(self.layers(self.stem(x))).mean((2, 3)))
