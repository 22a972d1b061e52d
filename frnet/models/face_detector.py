"""The network that finds faces: one stage, without anchors, on planes of three strides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frnet.nn import Conv2dNormAct, DepthwiseConv2dNormAct

from .network import Fusible
from .settings import check_counts

__all__ = ["STRIDES", "FaceDetectorConfig", "FaceDetectorNet"]

STRIDES = (8, 16, 32)
OUTPUTS = 7
"""Of a cell: score, offset of the middle in two directions, width, height, cosine and sine of the roll."""


@dataclass(frozen=True)
class FaceDetectorConfig:
    """Everything that shapes the network.

    Attributes:
        stem: channels of the first convolution, stride 2.
        channels: of the stages with strides 4, 8, 16 and 32.
        blocks: 3x3 convolutions of those stages, the one with the stride among them.
        context: 5x5 depthwise stages behind the last of them, by which a cell sees all of a large face.
        neck: channels in which the planes are brought together, and of the heads.
    """

    stem: int = 16
    channels: tuple[int, int, int, int] = (32, 64, 64, 96)
    blocks: tuple[int, int, int, int] = (1, 2, 3, 1)
    context: int = 2
    neck: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.channels) != 4 or len(self.blocks) != 4:
            raise ValueError(f"face_detector: wanted four stages, got {self.channels} and {self.blocks}")
        counts = dict(zip(("channels",) * 4, self.channels, strict=True)) | {"stem": self.stem, "neck": self.neck}
        check_counts("face_detector", **counts, blocks=min(self.blocks))


class _Residual(nn.Module):
    """What a part adds to its input."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return x + self.part(x)


class _Separable(nn.Sequential):
    """Depthwise and 1x1 convolution, each normalised and with ReLU."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(
            DepthwiseConv2dNormAct(channels, kernel_size, padding=kernel_size // 2, activation="relu"),
            Conv2dNormAct(channels, channels, 1, activation="relu"),
        )


class FaceDetectorNet(Fusible):
    """Planes of cells, each of which says whether a face's middle lies near it, and where exactly.

    A pyramid of 3x3 convolutions (strides 2 to 32), brought together from coarse to fine by 1x1 convolutions, doubled
    pixels and addition; then a depthwise-separable head of its own for each of the strides 8, 16 and 32. Nothing but
    convolutions, ReLU, addition and doubling, so that any runtime can do it.

    Args:
        config: see :class:`FaceDetectorConfig`.

    Example:
        >>> import torch
        >>> planes = FaceDetectorNet().eval()(torch.zeros(1, 3, 64, 96))
        >>> [list(plane.shape) for plane in planes]
        [[1, 7, 8, 12], [1, 7, 4, 6], [1, 7, 2, 3]]
    """

    architecture = "face_detector"

    def __init__(self, config: FaceDetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FaceDetectorConfig()
        self.stem = Conv2dNormAct(3, config.stem, 3, 2, "relu")
        channels, stages = config.stem, []
        for wanted, blocks in zip(config.channels, config.blocks, strict=True):
            rest = [_Residual(Conv2dNormAct(wanted, wanted, 3, 1, "relu")) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(Conv2dNormAct(channels, wanted, 3, 2, "relu"), *rest))
            channels = wanted
        stages[-1].extend(_Residual(_Separable(channels, 5)) for _ in range(config.context))
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(Conv2dNormAct(c, config.neck, 1, 1, "relu") for c in config.channels[1:])
        self.heads = nn.ModuleList(
            nn.Sequential(_Separable(config.neck, 3), _Separable(config.neck, 3), nn.Conv2d(config.neck, OUTPUTS, 1))
            for _ in STRIDES
        )
        self._start()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw outputs of a batch.

        Args:
            x: [batch, 3, height, width], BGR, ``(pixel - 127.5) / 128``; both sides multiples of 32.

        Returns:
            One plane [batch, 7, height / stride, width / stride] for each of :data:`STRIDES`; :func:`decode` says
            what they mean.
        """
        x = self.stages[0](self.stem(x))
        planes = []
        for stage, lateral in zip(self.stages[1:], self.laterals, strict=True):
            x = stage(x)
            planes.append(lateral(x))
        for fine in (1, 0):
            planes[fine] = planes[fine] + F.interpolate(planes[fine + 1], scale_factor=2.0, mode="nearest")
        return [head(plane) for head, plane in zip(self.heads, planes, strict=True)]

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for head in self.heads:
            nn.init.normal_(head[-1].weight, 0, 0.01)
            nn.init.zeros_(head[-1].bias)
            with torch.no_grad():
                head[-1].bias[0] = -4.6  # one face in a hundred cells
                head[-1].bias[5] = 1.0  # upright


def decode(planes: list[Tensor]) -> Tensor:
    """Cells of all planes in one row, in pixels.

    With s the stride and (x, y) a cell's place, in cells: the middle is ``s (x + o_x), s (y + o_y)``, the size
    ``4 s exp(o_w), 4 s exp(o_h)``.

    Args:
        planes: what :class:`FaceDetectorNet` returns.

    Returns:
        [batch, cells, 7]: x, y of the middle, width, height, cosine and sine of the roll (of no particular length),
        and the score as a logit.
    """
    rows = []
    for stride, plane in zip(STRIDES, planes, strict=True):
        height, width = plane.shape[2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=plane.device), torch.arange(width, device=plane.device), indexing="ij"
        )
        score, across, down, wide, high, cosine, sine = plane.float().unbind(1)
        size = [4 * stride * side.clamp(-6, 6).exp() for side in (wide, high)]
        cells = [stride * (x + across), stride * (y + down), *size, cosine, sine, score]
        rows.append(torch.stack([cell.flatten(1) for cell in cells], 2))
    return torch.cat(rows, 1)


def cell_places(sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Places [cells, 2] and strides [cells], in pixels, of planes with these heights and widths, as :func:`decode`."""
    places, strides = [], []
    for stride, (height, width) in zip(STRIDES, sizes, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places.append(stride * torch.stack([x, y], 2).reshape(-1, 2).float())
        strides.append(torch.full((height * width,), float(stride)))
    return torch.cat(places), torch.cat(strides)
