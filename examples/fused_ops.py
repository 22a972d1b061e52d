"""The fused ops inside a torch model of your own: the same weights, the same results, in less time.

Run: python examples/fused_ops.py
"""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor, nn

from frnet import nn as fnn


class Block(nn.Module):
    """An inverted residual block as hundreds of models have it; nothing of frnet in it."""

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, expanded, 1, bias=False), nn.BatchNorm2d(expanded), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(expanded, expanded, 3, padding=1, groups=expanded, bias=False),
            nn.BatchNorm2d(expanded),
            nn.ReLU6(),
        )
        self.project = nn.Sequential(nn.Conv2d(expanded, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.expand(x)))


def milliseconds(function, *arguments: Tensor) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return sorted(times)[3] * 1e3


torch.manual_seed(0)
plain = nn.Sequential(*(Block(24, 144) for _ in range(3)))
x = torch.randn(8, 24, 30, 30)

# 1. Replace: convolution, normalisation and activation of every depthwise stage become one op.
fused = fnn.replace_depthwise(copy.deepcopy(plain))
for part in fnn.find_depthwise(plain):
    print(f"{part.name}, {part.norm} and {part.activation} ({part.function}): one op")
assert fused.state_dict().keys() == plain.state_dict().keys()  # checkpoints fit both ways

for mode in ("train", "eval"):
    getattr(plain, mode)(), getattr(fused, mode)()
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-4, atol=1e-4)

# 2. Gradients are those of plain torch, and the activations in between are not kept.
plain.train(), fused.train()
for model in (plain, fused):
    model(x).square().mean().backward()
for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)

# 3. Or build with the stages themselves, which fuse() folds into a single op for inference.
stage = fnn.DepthwiseConv2dNormAct(144, 3, padding=1, activation="relu6", gate=fnn.SpatialGroupEnhance(8)).eval()
wide = torch.randn(8, 144, 30, 30)
torch.testing.assert_close(stage.fuse()(wide), stage(wide), rtol=1e-4, atol=1e-5)

plain.eval(), fused.eval()
with torch.inference_mode():
    print(f"plain torch {milliseconds(plain, x):.1f} ms, with fused ops {milliseconds(fused, x):.1f} ms")
