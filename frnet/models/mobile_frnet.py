"""Mobile-FRNet: MobileNetV2 with a multi-scale depthwise stage, spatial and channel gates.

ICPR 2020. What its sources leave open is a field of the config; docs/networks.md says which readings reproduce the
published counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from frnet.nn import MobileBlock, SqueezeExcite

from .mobile_network import LAYERS, STEM_CHANNELS, MobileNetwork, check_common, scaled
from .settings import check_counts, check_flags

__all__ = ["MobileFRNet", "MobileFRNetConfig"]

_NAME = "mobile_frnet"


@dataclass(frozen=True)
class MobileFRNetConfig:
    """Everything that shapes the network.

    Attributes:
        num_params: outputs of the last layer; 62 for 3DDFA's morphable model.
        input_size: side of the square input, in pixels; with attention at least 33.
        width: multiplier of every channel count, in (0, 8]; counts become multiples of 8.
        attention: whether there are gates: spatial ones in every block, seven channel gates between layers.
        splits: of the multi-scale stage; divides the expanded channels of every block.
        sge_groups: of the spatial gates; divides the expanded channels of every block.
        se_reduction: of the channel gates.
        se_position: "expanded": a channel gate stands on the depthwise output of the first block after each layer
            boundary, and behind the last layer, which gives the published number of parameters; "output": behind each
            layer.
        zero_init_residual: whether blocks start as their shortcuts alone.
    """

    num_params: int = 62
    input_size: int = 120
    width: float = 1.0
    attention: bool = True
    splits: int = 4
    sge_groups: int = 8
    se_reduction: int = 16
    se_position: str = "expanded"
    zero_init_residual: bool = False

    def __post_init__(self) -> None:
        check_flags(_NAME, attention=self.attention, zero_init_residual=self.zero_init_residual)
        check_common(_NAME, self.num_params, self.input_size, self.width, gated=self.attention)
        if self.se_position not in ("expanded", "output"):
            raise ValueError(f"{_NAME}: se_position must be 'expanded' or 'output', got {self.se_position!r}")
        check_counts(_NAME, splits=self.splits, sge_groups=self.sge_groups, se_reduction=self.se_reduction)
        for channels in expanded_channels(self.width):
            for name in ("splits", "sge_groups") if self.attention else ("splits",):
                if channels % getattr(self, name):
                    raise ValueError(
                        f"{_NAME}: {name} must divide the expanded channels of every block, got {getattr(self, name)} "
                        f"for {channels} at width {self.width}"
                    )


class MobileFRNet(MobileNetwork):
    """Mobile-FRNet with a linear layer onto the whitened parameters of a morphable model.

    Args:
        config: see :class:`MobileFRNetConfig`.
        device: where the parameters live.
        dtype: type of the parameters.

    Source: Mobile-FRNet, ICPR 2020.

    Example:
        >>> import torch
        >>> model = MobileFRNet(MobileFRNetConfig(width=0.25)).eval()
        >>> model(torch.zeros(2, 3, 120, 120)).shape
        torch.Size([2, 62])
    """

    architecture = _NAME

    def __init__(
        self,
        config: MobileFRNetConfig | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        config = config or MobileFRNetConfig()
        factory = {"device": device, "dtype": dtype}
        super().__init__(config, _layers(config, factory), **factory)


def expanded_channels(width: float) -> Iterator[int]:
    """Of every block."""
    channels = scaled(STEM_CHANNELS, width)
    for layer in LAYERS:
        for _ in range(layer.blocks):
            yield layer.expansion * channels
            channels = scaled(layer.channels, width)


def _layers(config: MobileFRNetConfig, factory: dict) -> Iterator[tuple[list[MobileBlock], SqueezeExcite | None]]:
    channels = scaled(STEM_CHANNELS, config.width)
    groups = config.sge_groups if config.attention else 0
    expanded = config.attention and config.se_position == "expanded"
    for number, layer in enumerate(LAYERS):
        blocks = []
        for block in range(layer.blocks):
            wanted = scaled(layer.channels, config.width)
            blocks.append(
                MobileBlock(
                    channels,
                    wanted,
                    layer.stride if block == 0 else 1,
                    layer.expansion,
                    splits=config.splits,
                    sge_groups=groups,
                    se_reduction=config.se_reduction if expanded and block == 0 and number > 0 else 0,
                    **factory,
                )
            )
            channels = wanted
        gate = None
        if config.attention and (config.se_position == "output" or number == len(LAYERS) - 1):
            gate = SqueezeExcite(channels, rd_channels=max(1, channels // config.se_reduction), **factory)
        yield blocks, gate
