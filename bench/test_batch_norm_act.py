"""Batch normalisation and ReLU6, and with SGE behind them, on the shapes behind a network's 1x1 convolutions."""

import pytest
import torch

from frnet import ops
from frnet.ops import reference

SHAPES = [(96, 60), (144, 30), (192, 15), (384, 8), (960, 4)]
GROUPS = 8


def draw(layout, channels, size, device):
    x = torch.randn(32, channels, size, size, generator=torch.Generator().manual_seed(1)).to(device)
    return x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("op", ["batch_norm_act", "batch_norm_act_sge"])
@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_training(benchmark, contend, contender, device, op, layout, channels, size):
    benchmark.group = f"{op} training {layout} batch 32 {channels}x{size}x{size}"
    x = draw(layout, channels, size, device).requires_grad_()
    upstream = torch.randn_like(x)
    gamma, beta = torch.rand(channels, device=device), torch.randn(channels, device=device)
    parameters = [value.requires_grad_() for value in (gamma, beta)]
    options = dict(training=True, activation="relu6")
    if op == "batch_norm_act_sge":
        gate = [torch.randn(GROUPS, device=device).requires_grad_() for _ in range(2)]
        options |= dict(activation="none", sge_weight=gate[0], sge_bias=gate[1], groups=GROUPS)
        parameters += gate

    def step(function, x):
        return torch.autograd.grad(function(x), [x, *parameters], upstream)[0]

    # Forward reads x and writes y; backward reads x and y's gradient, and writes that of x.
    contend(
        contender,
        lambda x: getattr(ops, op)(x, gamma, beta, **options),
        lambda x: getattr(reference, op)(x, gamma, beta, **options),
        (x,),
        5 * x.numel() * x.element_size(),
        call=step,
        rtol=5e-3,  # of eleven million values one may lie on either side of a kink
    )
