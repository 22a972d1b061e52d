"""The depthwise stage of a mobile block in plain torch layers: what frnet's modules are compared with."""

from __future__ import annotations

import torch
from torch import nn

from frnet.ops import reference


class SpatialGroupEnhance(nn.Module):
    """As its authors wrote it; see frnet.ops.reference.sge_gate."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(1, groups, 1, 1))

    def forward(self, x):
        return reference.sge_gate(x, self.weight.flatten(), self.bias.flatten(), self.groups)


class SqueezeExcite(nn.Module):
    """timm's and torchvision's, without either."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        hidden = self.conv_reduce(x.mean((2, 3), keepdim=True)).relu()
        return x * self.conv_expand(hidden).sigmoid()


class Stage(nn.Module):
    """Convolution, batch normalisation, ReLU6, and a gate or none."""

    def __init__(self, channels: int, stride: int, gate: nn.Module | None):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU6()
        self.gate = gate or nn.Identity()

    def forward(self, x):
        return self.gate(self.act(self.norm(self.conv(x))))


class HierarchicalStage(nn.Module):
    """The multi-scale stage: four chained splits, the batch normalisation behind them, the gate."""

    def __init__(self, channels: int, stride: int, gate: nn.Module | None, splits: int = 4):
        super().__init__()
        each = channels // splits
        self.chained = stride == 1
        self.convs = nn.ModuleList(nn.Conv2d(each, each, 3, stride, 1, groups=each, bias=False) for _ in range(splits))
        self.norms = nn.ModuleList(nn.BatchNorm2d(each) for _ in range(splits))
        self.act = nn.ReLU6()
        self.out_norm = nn.BatchNorm2d(channels)
        self.gate = gate or nn.Identity()

    def forward(self, x):
        results: list[torch.Tensor] = []
        for part, conv, norm in zip(x.chunk(len(self.convs), 1), self.convs, self.norms, strict=True):
            if self.chained and results:
                part = part + results[-1]
            results.append(self.act(norm(conv(part))))
        return self.gate(self.out_norm(torch.cat(results, 1)))
