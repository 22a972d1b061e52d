"""MobileNetV1 as 3DDFA uses it: 13 separable convolutions between a 3x3 convolution and a linear layer.

Howard et al., MobileNets (arXiv 1704.04861), table 1. State-dict names are those of 3DDFA and 3DDFA_V2, so
their files load (see :mod:`frnet.weights.checkpoint`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frnet import ops
from frnet.nn import DepthwiseConv2d, FoldedConv2d, FoldedDepthwiseConv2d
from frnet.nn.batch_norm import fold_batch_norm

from .inputs import check_crops
from .network import Network
from .settings import check_counts, check_width


@dataclass(frozen=True)
class MobileNetV1Config:
    """Everything that shapes the network.

    Attributes:
        num_params: outputs of the last layer; 62 for 3DDFA's morphable model.
        width: multiplier of every channel count, in [1/32, 4].
        input_size: side of the square input, in pixels.
    """

    num_params: int = 62
    width: float = 1.0
    input_size: int = 120

    def __post_init__(self) -> None:
        check_counts("mobilenet_v1", num_params=self.num_params, input_size=self.input_size)
        check_width("mobilenet_v1", self.width, 1 / STEM_CHANNELS, 4)


@dataclass(frozen=True)
class Separable:
    """One depthwise-separable stage: its name in the state dict, output channels at width 1, stride."""

    name: str
    channels: int
    stride: int = 1


STEM_CHANNELS = 32
STAGES = (
    Separable("dw2_1", 64),
    Separable("dw2_2", 128, stride=2),
    Separable("dw3_1", 128),
    Separable("dw3_2", 256, stride=2),
    Separable("dw4_1", 256),
    Separable("dw4_2", 512, stride=2),
    *(Separable(f"dw5_{i}", 512) for i in range(1, 6)),
    Separable("dw5_6", 1024, stride=2),
    Separable("dw6", 1024),
)


class SeparableConv2d(nn.Module):
    """3x3 depthwise convolution, BN, ReLU, then 1x1 convolution, BN, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, **factory) -> None:
        super().__init__()
        self.conv_dw = DepthwiseConv2d(in_channels, 3, stride=stride, padding=1, bias=False, **factory)
        self.bn_dw = nn.BatchNorm2d(in_channels, **factory)
        self.conv_sep = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.bn_sep = nn.BatchNorm2d(out_channels, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, h, w] -> [batch, out_channels, ceil(h/stride), ceil(w/stride)]."""
        x = torch.relu(self.bn_dw(self.conv_dw(x)))
        return torch.relu(self.bn_sep(self.conv_sep(x)))

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """The same in evaluation, with both normalisations folded once and for all; parameters are copied."""
        depthwise = FoldedDepthwiseConv2d(ops.depthwise_conv2d, self.conv_dw, *fold_batch_norm(self.bn_dw), "relu")
        return nn.Sequential(depthwise, FoldedConv2d(self.conv_sep, self.bn_sep, "relu"))


class MobileNetV1(Network):
    """MobileNetV1 with a linear layer onto the whitened parameters of a morphable model.

    Args:
        config: see :class:`MobileNetV1Config`.
        device: where the parameters live.
        dtype: type of the parameters.

    Example:
        >>> import torch
        >>> model = MobileNetV1(MobileNetV1Config(width=0.25)).eval()
        >>> model(torch.zeros(2, 3, 120, 120)).shape
        torch.Size([2, 62])
    """

    architecture = "mobilenet_v1"

    def __init__(
        self,
        config: MobileNetV1Config | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or MobileNetV1Config()
        factory = {"device": device, "dtype": dtype}
        channels = int(STEM_CHANNELS * config.width)
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(channels, **factory)
        for stage in STAGES:
            out_channels = int(stage.channels * config.width)
            self.add_module(stage.name, SeparableConv2d(channels, out_channels, stage.stride, **factory))
            channels = out_channels
        self.fc = nn.Linear(channels, config.num_params, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Whitened parameters of normalised crops.

        Args:
            x: [batch, 3, input_size, input_size], BGR, ``(pixel - 127.5) / 128``; dtype of the weights.

        Returns:
            [batch, num_params], to be de-whitened with ``z * std + mean``.

        Raises:
            TypeError, ValueError: see :func:`frnet.models.inputs.check_crops`.
        """
        check_crops(x, self.config.input_size, self.fc.weight, self.architecture)
        x = torch.relu(self.bn1(self.conv1(x)))
        for stage in STAGES:
            x = self.get_submodule(stage.name)(x)
        return self.fc(x.mean(dim=(2, 3)))

    def _fuse_parts(self) -> None:
        super()._fuse_parts()
        self.conv1, self.bn1 = FoldedConv2d(self.conv1, self.bn1, "none"), nn.Identity()
