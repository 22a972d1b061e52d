"""MobileNetV2 as the published comparison counts it.

Sandler et al., 2018, with two differences that the published number of parameters asks for: a projection shortcut on
every block whose shape changes, and an expansion also where its factor is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from frnet.nn import MobileBlock

from .mobile_network import LAYERS, STEM_CHANNELS, MobileNetwork, check_common, scaled
from .settings import check_flags

__all__ = ["MobileNetV2", "MobileNetV2Config"]

_NAME = "mobilenet_v2"


@dataclass(frozen=True)
class MobileNetV2Config:
    """Everything that shapes the network.

    Attributes:
        num_params: outputs of the last layer; 62 for 3DDFA's morphable model.
        input_size: side of the square input, in pixels.
        width: multiplier of every channel count, in (0, 8]; counts become multiples of 8.
        zero_init_residual: whether blocks start as their shortcuts alone.
    """

    num_params: int = 62
    input_size: int = 120
    width: float = 1.0
    zero_init_residual: bool = False

    def __post_init__(self) -> None:
        check_common(_NAME, self.num_params, self.input_size, self.width)
        check_flags(_NAME, zero_init_residual=self.zero_init_residual)


class MobileNetV2(MobileNetwork):
    """MobileNetV2 with a linear layer onto the whitened parameters of a morphable model.

    Args:
        config: see :class:`MobileNetV2Config`.
        device: where the parameters live.
        dtype: type of the parameters.

    Example:
        >>> import torch
        >>> model = MobileNetV2(MobileNetV2Config(width=0.25)).eval()
        >>> model(torch.zeros(2, 3, 120, 120)).shape
        torch.Size([2, 62])
    """

    architecture = _NAME

    def __init__(
        self,
        config: MobileNetV2Config | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        config = config or MobileNetV2Config()
        factory = {"device": device, "dtype": dtype}
        super().__init__(config, _layers(config, factory), **factory)


def _layers(config: MobileNetV2Config, factory: dict) -> Iterator[tuple[list[MobileBlock], None]]:
    channels = scaled(STEM_CHANNELS, config.width)
    for layer in LAYERS:
        blocks = []
        for block in range(layer.blocks):
            wanted = scaled(layer.channels, config.width)
            stride = layer.stride if block == 0 else 1
            blocks.append(MobileBlock(channels, wanted, stride, layer.expansion, splits=1, **factory))
            channels = wanted
        yield blocks, None
