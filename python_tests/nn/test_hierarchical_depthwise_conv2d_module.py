"""HierarchicalDepthwiseConv2d computes what one small module per split computes."""

from __future__ import annotations

import copy

import pytest
import torch
from support.tolerances import assert_close
from torch import nn

from frnet.nn import HierarchicalDepthwiseConv2d, SpatialGroupEnhance, SqueezeExcite

CHANNELS = 16
ACTIVATIONS = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}


class PerSplit(nn.Module):
    """The stage in torch's modules, as DESIGN.md words it."""

    def __init__(self, stage: HierarchicalDepthwiseConv2d) -> None:
        super().__init__()
        width = CHANNELS // stage.splits
        kernel, stride, padding = stage.conv.kernel_size, stage.conv.stride, stage.conv.padding
        self.chained = stride == (1, 1)
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        settings = {"eps": stage.norm.eps, "momentum": stage.norm.momentum}
        for i in range(stage.splits):
            part = slice(i * width, (i + 1) * width)
            conv = nn.Conv2d(width, width, kernel, stride, padding, groups=width, bias=False)
            conv.weight = nn.Parameter(stage.conv.weight.detach()[part].clone())
            norm = nn.BatchNorm2d(width, **settings)
            for name, value in stage.norm.state_dict().items():
                getattr(norm, name).data.copy_(value[part] if value.dim() else value)
            self.convs.append(conv)
            self.norms.append(norm)
        self.activation = ACTIVATIONS[stage.activation]()
        self.out_norm = nn.BatchNorm2d(CHANNELS, **settings)
        self.out_norm.load_state_dict(stage.out_norm.state_dict())
        self.groups = 0
        if stage.gate is not None:
            self.groups = stage.gate.groups
            self.weight = nn.Parameter(stage.gate.weight.detach().clone())
            self.bias = nn.Parameter(stage.gate.bias.detach().clone())

    def forward(self, x):
        parts = []
        for x_i, conv, norm in zip(x.chunk(len(self.convs), 1), self.convs, self.norms, strict=True):
            if self.chained and parts:
                x_i = x_i + parts[-1]
            parts.append(self.activation(norm(conv(x_i))))
        y = self.out_norm(torch.cat(parts, 1))
        if not self.groups:
            return y
        n, c, h, w = y.shape
        z = y.reshape(n * self.groups, -1, h, w)
        t = (z * z.mean((2, 3), keepdim=True)).sum(1).reshape(n * self.groups, -1)
        t = t - t.mean(1, keepdim=True)
        t = (t / (t.std(1, keepdim=True) + 1e-5)).reshape(n, self.groups, h, w) * self.weight + self.bias
        return (z * torch.sigmoid(t).reshape(n * self.groups, 1, h, w)).reshape(n, c, h, w)


def gate(groups: int = 4) -> SpatialGroupEnhance:
    torch.manual_seed(5)
    module = SpatialGroupEnhance(groups)
    nn.init.normal_(module.weight)
    return module


def compare(stage: HierarchicalDepthwiseConv2d, x: torch.Tensor, training: bool, parts: PerSplit) -> None:
    inputs = [x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
    ours, theirs = stage.train(training)(inputs[0]), parts.train(training)(inputs[1])
    assert_close(ours, theirs, "forward")
    upstream = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(4))
    for model, result in ((stage, ours), (parts, theirs)):
        model.zero_grad()
        result.backward(upstream)
    assert_close(inputs[0].grad, inputs[1].grad, "gradient")
    assert_close(stage.conv.weight.grad, torch.cat([conv.weight.grad for conv in parts.convs]), "gradient")
    for name in ("weight", "bias"):
        assert_close(
            getattr(stage.norm, name).grad, torch.cat([getattr(norm, name).grad for norm in parts.norms]), "gradient"
        )
        assert_close(getattr(stage.out_norm, name).grad, getattr(parts.out_norm, name).grad, "gradient")
        if stage.gate is not None:
            assert_close(getattr(stage.gate, name).grad, getattr(parts, name).grad, "gradient")
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(
            getattr(stage.norm, name), torch.cat([getattr(norm, name) for norm in parts.norms]), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(getattr(stage.out_norm, name), getattr(parts.out_norm, name), rtol=1e-5, atol=1e-6)
    assert stage.norm.num_batches_tracked == parts.norms[0].num_batches_tracked


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        *({"activation": name} for name in ACTIVATIONS),
        {"stride": 2},
        {"stride": (2, 1), "kernel_size": (5, 3)},
        {"splits": 1},
        {"splits": 2, "kernel_size": 5},
        {"momentum": None, "eps": 0.01},
    ],
    ids=str,
)
def test_equals_one_module_per_split(settings, gated, with_statistics):
    torch.manual_seed(3)
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, gate=gate() if gated else None, **settings))
    parts = PerSplit(stage)
    x = torch.randn(3, CHANNELS, 9, 11)
    for training in (True, True, False):
        compare(stage, x, training, parts)


@pytest.mark.parametrize("frozen", ["norm", "out_norm"])
def test_one_frozen_normalisation(frozen, with_statistics):
    torch.manual_seed(3)
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, gate=gate()))
    parts = PerSplit(stage)
    x = torch.randn(3, CHANNELS, 9, 11)
    stage.train()
    parts.train()
    getattr(stage, frozen).eval()
    for module in parts.norms if frozen == "norm" else [parts.out_norm]:
        module.eval()
    assert_close(stage(x), parts(x), "forward")


def test_channels_last_stays_channels_last(with_statistics):
    torch.manual_seed(3)
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, gate=gate()))
    parts = PerSplit(stage)
    x = torch.randn(3, CHANNELS, 9, 11).contiguous(memory_format=torch.channels_last)
    for training in (True, False):
        compare(stage, x, training, parts)
        assert copy.deepcopy(stage)(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_fuse_gives_the_same(activation, gated, stride, with_statistics):
    settings = {"stride": stride, "activation": activation, "gate": gate() if gated else None}
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, **settings)).eval()
    fused = stage.fuse()
    x = torch.randn(3, CHANNELS, 9, 11)
    torch.testing.assert_close(fused(x), stage(x), rtol=1e-5, atol=1e-6)
    assert not list(fused.parameters())
    assert {"weight", "scale", "shift", "out_scale", "out_shift"} <= dict(fused.named_buffers()).keys()
    with pytest.raises(RuntimeError, match="FoldedHierarchicalDepthwiseConv2d: holds constants"):
        fused.train()
    with pytest.raises(RuntimeError, match=r"HierarchicalDepthwiseConv2d: fuse\(\).*call eval\(\) first"):
        stage.train().fuse()


@pytest.mark.parametrize("gated", [False, True])
def test_compile_and_export(gated, with_statistics, assert_compiles_and_exports):
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, gate=gate() if gated else None))
    x = torch.randn(2, CHANNELS, 9, 11)
    assert_compiles_and_exports(stage, x)
    fused = stage.eval().fuse()
    torch.testing.assert_close(torch.export.export(fused, (x,)).module()(x), fused(x), rtol=0, atol=0)


def test_bfloat16(with_statistics):
    stage = with_statistics(HierarchicalDepthwiseConv2d(CHANNELS, gate=gate())).bfloat16().eval()
    x = torch.randn(2, CHANNELS, 9, 11).bfloat16()
    result = stage(x)
    assert_close(result, stage.float()(x.float()), "forward")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"channels": 0}, ValueError, "channels must be an int >= 1, got 0"),
        ({"splits": 3}, ValueError, "splits must be an int >= 1 that divides the 16 channels, got 3"),
        ({"splits": 0}, ValueError, "splits must be an int >= 1"),
        ({"kernel_size": 4}, ValueError, "kernel_size must be odd, to keep the size of the plane, got 4"),
        ({"activation": "tanh"}, ValueError, "activation must be one of none, relu"),
        ({"gate": SpatialGroupEnhance(5)}, ValueError, "gate.groups must be an int >= 1 that divides the 16 channels"),
        ({"gate": SqueezeExcite(16)}, TypeError, "gate must be a SpatialGroupEnhance or None, got SqueezeExcite"),
    ],
)
def test_constructor_errors(settings, error, message):
    with pytest.raises(error, match=message):
        HierarchicalDepthwiseConv2d(**{"channels": CHANNELS} | settings)
