"""Mobile-FRNet in plain torch layers: the baseline that frnet's network is measured against."""

from __future__ import annotations

import torch
from plain_stage import HierarchicalStage, SpatialGroupEnhance, SqueezeExcite
from torch import nn

from frnet.models.mobile_network import LAYERS, STEM_CHANNELS


def conv_norm_act(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, act: bool = True):
    layers = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if act else []))


class Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, gated: bool):
        super().__init__()
        channels = expansion * in_channels
        self.expand = conv_norm_act(in_channels, channels)
        self.depthwise = HierarchicalStage(channels, stride, SpatialGroupEnhance(8))
        self.se = SqueezeExcite(channels, channels // 16) if gated else nn.Identity()
        self.project = conv_norm_act(channels, out_channels, act=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm_act(in_channels, out_channels, 1, stride, act=False)

    def forward(self, x):
        return self.project(self.se(self.depthwise(self.expand(x)))) + self.shortcut(x)


class PlainMobileFRNet(nn.Module):
    """At width 1, with attention at the expanded position."""

    def __init__(self, num_params: int = 62):
        super().__init__()
        channels = STEM_CHANNELS
        self.stem = conv_norm_act(3, channels, 3, 2)
        self.layers = nn.Sequential()
        for number, layer in enumerate(LAYERS):
            blocks = []
            for block in range(layer.blocks):
                stride = layer.stride if block == 0 else 1
                blocks.append(Block(channels, layer.channels, stride, layer.expansion, block == 0 and number > 0))
                channels = layer.channels
            if number == len(LAYERS) - 1:
                blocks.append(SqueezeExcite(channels, channels // 16))
            self.layers.append(nn.Sequential(*blocks))
        self.head = conv_norm_act(channels, 1280)
        self.fc = nn.Linear(1280, num_params)

    def forward(self, x):
        return self.fc(self.head(self.layers(self.stem(x))).mean((2, 3)))

    @torch.no_grad()
    def load_from(self, model: nn.Module) -> PlainMobileFRNet:
        """Takes the weights of a frnet.models.MobileFRNet."""
        theirs = model.state_dict()
        state = {}
        for name, value in self.state_dict().items():
            state[name] = split_of(name, value, theirs).reshape(value.shape)
        self.load_state_dict(state)
        return self


def split_of(name: str, like: torch.Tensor, theirs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The value of one of our names among theirs; of a split, its share of the channels."""
    parts = name.split(".")
    if "convs" in parts or "norms" in parts:
        at = parts.index("convs" if "convs" in parts else "norms")
        split = int(parts[at + 1])
        value = theirs[".".join([*parts[:at], parts[at].removesuffix("s"), *parts[at + 2 :]])]
        return value.chunk(4)[split] if value.dim() else value
    if len(parts) > 2 and parts[-2] in ("0", "1") and parts[-3] in ("stem", "expand", "project", "shortcut", "head"):
        return theirs[".".join([*parts[:-2], "conv" if parts[-2] == "0" else "norm", parts[-1]])]
    return theirs[name]
