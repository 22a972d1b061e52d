"""The frame that Mobile-FRNet and the table's MobileNetV2 share: a stem, inverted residual blocks, a head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from frnet.nn import Conv2dNormAct, MobileBlock, SqueezeExcite

from .inputs import check_crops
from .network import Network
from .settings import check_counts, check_width

__all__ = ["HEAD_CHANNELS", "LAYERS", "STEM_CHANNELS", "LayerSpec", "MobileNetwork", "check_common", "scaled"]


@dataclass(frozen=True)
class LayerSpec:
    """A row of MobileNetV2's table: blocks of one width, the first of which has the stride.

    Attributes:
        expansion: how many times wider a block is inside.
        channels: of the output, at width 1.
        blocks: how many.
        stride: of the first one.
    """

    expansion: int
    channels: int
    blocks: int
    stride: int


# Sandler et al., MobileNetV2, 2018, table 2.
LAYERS = (
    LayerSpec(1, 16, 1, 1),
    LayerSpec(6, 24, 2, 2),
    LayerSpec(6, 32, 3, 2),
    LayerSpec(6, 64, 4, 2),
    LayerSpec(6, 96, 3, 1),
    LayerSpec(6, 160, 3, 2),
    LayerSpec(6, 320, 1, 1),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
# Halved five times, it leaves more than one pixel: a spatial gate looks at how the pixels of a plane differ.
SMALLEST_GATED_INPUT = 33


def scaled(channels: int, width: float) -> int:
    """A channel count under a width multiplier: a multiple of 8, at least 8, at most 10 % less than asked for."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels * width else rounded + 8


class MobileNetwork(Network):
    """3x3 convolution with stride 2, blocks, 1x1 convolution, mean over the plane, linear layer.

    Subclasses give ``architecture`` and a config with ``num_params``, ``input_size`` and ``width``.

    Args:
        config: of the architecture.
        layers: the blocks of each layer of LAYERS, and what gates its result, or None.
    """

    architecture: str

    def __init__(self, config, layers: Iterable[tuple[list[MobileBlock], SqueezeExcite | None]], **factory) -> None:
        super().__init__()
        self.config = config
        head = max(HEAD_CHANNELS, scaled(HEAD_CHANNELS, config.width))
        self.stem = Conv2dNormAct(3, scaled(STEM_CHANNELS, config.width), 3, stride=2, **factory)
        self.layers = nn.Sequential()
        for blocks, gate in layers:
            parts = [*blocks, *([] if gate is None else [gate])]
            self.layers.append(nn.Sequential(*parts))
        self.head = Conv2dNormAct(scaled(LAYERS[-1].channels, config.width), head, **factory)
        self.fc = nn.Linear(head, config.num_params, **factory)
        self.reset_parameters()

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
        return self.fc(self.head(self.layers(self.stem(x))).mean((2, 3)))


def check_common(architecture: str, num_params: int, input_size: int, width: float, gated: bool = False) -> None:
    """Raises for settings that make no network; gated: whether it has spatial gates."""
    check_counts(architecture, num_params=num_params, input_size=input_size)
    check_width(architecture, width, 0, 8)
    if gated and input_size < SMALLEST_GATED_INPUT:
        raise ValueError(
            f"{architecture}: input_size must be at least {SMALLEST_GATED_INPUT} with spatial gates, which need more "
            f"than one pixel in the last layer, got {input_size}"
        )
