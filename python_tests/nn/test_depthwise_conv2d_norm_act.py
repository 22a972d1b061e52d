"""DepthwiseConv2dNormAct computes what torch's modules one after the other compute."""

from __future__ import annotations

import copy

import pytest
import torch
from support.tolerances import assert_close
from torch import nn

from frnet.nn import DepthwiseConv2dNormAct, SpatialGroupEnhance, SqueezeExcite

CHANNELS = 8
ACTIVATIONS = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}


def gates() -> dict[str, nn.Module | None]:
    torch.manual_seed(7)
    spatial = SpatialGroupEnhance(4)
    nn.init.normal_(spatial.weight)
    return {"none": None, "se": SqueezeExcite(CHANNELS, rd_channels=3, activation="silu"), "sge": spatial}


def twins(gate="none", **settings) -> tuple[DepthwiseConv2dNormAct, nn.Sequential]:
    settings = {"kernel_size": 3, "padding": 1, "activation": "relu6"} | settings
    torch.manual_seed(3)
    ours = DepthwiseConv2dNormAct(CHANNELS, gate=gates()[gate], **settings)
    conv = {"stride": 1, "dilation": 1, "bias": False} | settings
    norm = {name: conv.pop(name) for name in ("eps", "momentum", "affine", "track_running_stats") if name in conv}
    parts = {
        "conv": nn.Conv2d(CHANNELS, CHANNELS, groups=CHANNELS, **{k: v for k, v in conv.items() if k != "activation"}),
        "norm": nn.BatchNorm2d(CHANNELS, **norm),
        "activation": ACTIVATIONS[settings["activation"]](),
    }
    if gate != "none":
        parts["gate"] = gates()[gate]
    theirs = nn.Sequential()
    for name, part in parts.items():
        theirs.add_module(name, part)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("gate", ["none", "se", "sge"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_and_evaluation_equal_the_parts(activation, gate, with_statistics, assert_same_steps):
    ours, theirs = twins(gate, activation=activation)
    with_statistics(ours)
    with_statistics(theirs)
    assert_same_steps(ours, theirs, torch.randn(3, CHANNELS, 9, 11))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "stride": 2, "padding": 2},
        {"kernel_size": (3, 5), "padding": (1, 2)},
        {"dilation": 2, "padding": 2, "affine": False},
        {"momentum": None},
        {"momentum": 0.7, "eps": 0.1},
        {"track_running_stats": False},
    ],
)
def test_settings(settings, with_statistics, assert_same_steps):
    ours, theirs = twins("se", **settings)
    with_statistics(ours)
    with_statistics(theirs)
    assert_same_steps(ours, theirs, torch.randn(3, CHANNELS, 9, 11), steps=3)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    if ours.norm.num_batches_tracked is not None:
        assert ours.norm.num_batches_tracked == theirs.norm.num_batches_tracked > 0


def test_a_bias_of_the_convolution(with_statistics):
    ours, theirs = (with_statistics(model) for model in twins(bias=True))
    x = torch.randn(3, CHANNELS, 9, 11)
    for training in (True, False):  # in training it is normalised away, and its gradient is but rounding
        results = [model.train(training)(x) for model in (ours, theirs)]
        assert_close(*results, "forward")
    for result in results:
        result.square().sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad, b.grad, "gradient")


def test_float64(with_statistics, assert_same_steps):
    ours, theirs = (with_statistics(model.double()) for model in twins("sge"))
    assert_same_steps(ours, theirs, torch.randn(3, CHANNELS, 9, 11, dtype=torch.float64))


def test_channels_last_stays_channels_last(with_statistics, assert_same_steps):
    ours, theirs = (with_statistics(model) for model in twins("se"))
    x = torch.randn(3, CHANNELS, 9, 11).contiguous(memory_format=torch.channels_last)
    assert_same_steps(ours, theirs, x)
    for training in (True, False):
        assert ours.train(training)(x).is_contiguous(memory_format=torch.channels_last)


def test_bfloat16(with_statistics):
    ours, theirs = (with_statistics(model) for model in twins("se"))
    x = torch.randn(3, CHANNELS, 9, 11).bfloat16()
    ours.bfloat16()
    expected = theirs.load_state_dict(ours.state_dict())  # rounded alike
    for training in (True, False):
        result = ours.train(training)(x)
        expected = theirs.train(training)(x.float())
        assert result.dtype == torch.bfloat16
        assert_close(result, expected, "forward")


def test_a_frozen_normalisation_stays_frozen(with_statistics):
    ours, theirs = (with_statistics(model) for model in twins())
    x = torch.randn(3, CHANNELS, 9, 11)
    before = ours.norm.running_mean.clone()
    for model in (ours, theirs):
        model.train()
        model.norm.eval()
        model(x).square().sum().backward()
    assert torch.equal(ours.norm.running_mean, before)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad, b.grad, "gradient")


@pytest.mark.parametrize("gate", ["none", "se", "sge"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fuse_gives_the_same(activation, gate, with_statistics):
    ours = with_statistics(twins(gate, activation=activation, bias=True)[0]).eval()
    state = copy.deepcopy(ours.state_dict())
    fused = ours.fuse()
    x = torch.randn(3, CHANNELS, 9, 11)
    torch.testing.assert_close(fused(x), ours(x), rtol=1e-5, atol=1e-6)
    assert not list(fused.parameters())
    assert {"weight", "scale", "shift"} <= dict(fused.named_buffers()).keys()
    with torch.no_grad():
        expected = fused(x)
        for parameter in ours.parameters():
            parameter.mul_(2)
        assert torch.equal(fused(x), expected)  # a copy
    assert {name: value.shape for name, value in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}


def test_fuse_refuses_what_changes():
    ours = DepthwiseConv2dNormAct(CHANNELS, 3)
    with pytest.raises(RuntimeError, match=r"DepthwiseConv2dNormAct: fuse\(\).*call eval\(\) first"):
        ours.fuse()
    ours.eval().norm.train()
    with pytest.raises(RuntimeError, match="call eval"):
        ours.fuse()
    with pytest.raises(RuntimeError, match="track_running_stats=False"):
        DepthwiseConv2dNormAct(CHANNELS, 3, track_running_stats=False).eval().fuse()
    fused = DepthwiseConv2dNormAct(CHANNELS, 3).eval().fuse()
    assert not fused.training
    fused.eval()
    with pytest.raises(RuntimeError, match="FoldedDepthwiseConv2d: holds constants"):
        fused.train()


@pytest.mark.parametrize("gate", ["none", "se", "sge"])
def test_compile_and_export(gate, with_statistics, assert_compiles_and_exports):
    ours = with_statistics(twins(gate)[0])
    x = torch.randn(2, CHANNELS, 9, 11)
    assert_compiles_and_exports(ours, x)
    fused = ours.eval().fuse()
    exported = torch.export.export(fused, (x,))
    torch.testing.assert_close(exported.module()(x), fused(x), rtol=0, atol=0)


def test_device_and_dtype_reach_everything():
    layer = DepthwiseConv2dNormAct(2, 3, device="meta", dtype=torch.float64)
    assert {value.device.type for value in layer.state_dict().values()} == {"meta"}
    assert layer.conv.weight.dtype == layer.norm.running_var.dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"channels": 0}, ValueError, "channels must be an int >= 1, got 0"),
        (
            {"activation": "gelu"},
            ValueError,
            "activation must be one of none, relu, .*, got 'gelu'",
        ),
        ({"gate": nn.Sigmoid()}, TypeError, "gate must be a SqueezeExcite, a SpatialGroupEnhance or None, got Sigmoid"),
        ({"gate": SqueezeExcite(4)}, ValueError, "gate must be for the 8 channels, got one for 4"),
        ({"gate": SpatialGroupEnhance(3)}, ValueError, "gate.groups must be an int >= 1 that divides the 8 channels"),
    ],
)
def test_constructor_errors(settings, error, message):
    with pytest.raises(error, match=message):
        DepthwiseConv2dNormAct(**{"channels": CHANNELS, "kernel_size": 3} | settings)
