"""Squeeze and excitation, alone and behind a depthwise convolution, against plain torch."""

import pytest
import torch
from support.depthwise_samples import ACTIVATIONS, draw_image, make, varied, with_epilogue
from support.op_tests import OpTests, Sample, assert_same_finiteness
from torch import nn

from frnet import ops
from frnet.ops import reference


def layers(channels: int, squeezed: int, biases=True) -> dict:
    b1, b2 = ((squeezed,), (channels,)) if biases else (None, None)
    return {"w1": (squeezed, channels), "b1": b1, "w2": (channels, squeezed), "b2": b2}


def gate(batch, channels, size, squeezed, layout="nchw", biases=True, activation="relu", gate="sigmoid") -> Sample:
    height, width = size if isinstance(size, tuple) else (size, size)
    sample = Sample({"x": draw_image(batch, channels, height, width, layout)}, differentiable=("x",))
    return sample.adding(layers(channels, squeezed, biases), activation=activation, gate=gate)


class TestSeGate(OpTests):
    samples = {
        f"{layout}-{name}": gate(*shape, layout=layout)
        for layout in ("nchw", "channels_last")
        for name, shape in {
            "1-pixel": (2, 16, 1, 4),
            "7": (3, 24, 7, 6),
            "41": (1, 5, 41, 3),
            "wide": (2, 8, (3, 131), 2),
            "many-channels": (1, 320, 4, 20),
            "one-channel": (2, 1, (5, 3), 1),
            "batch-17": (17, 8, (4, 5), 4),
            "empty": (0, 8, 5, 2),
        }.items()
    } | {
        "sliced": gate(2, 8, (6, 9), 2, "sliced"),
        "transposed": gate(2, 8, (6, 9), 2, "transposed"),
        "no-biases": gate(2, 16, 9, 4, biases=False, activation="silu"),
        "hardsigmoid": gate(2, 16, 9, 4, "channels_last", activation="hardswish", gate="hardsigmoid"),
        "relu6-hardsigmoid": gate(2, 16, 9, 4, activation="relu6", gate="hardsigmoid"),
        "small": gate(2, 4, (3, 2), 2),
        "small-no-biases": gate(2, 4, 2, 3, "channels_last", False, "none", "hardsigmoid"),
    }
    small = ["small", "small-no-biases"]

    op = staticmethod(ops.se_gate)
    reference = staticmethod(reference.se_gate)


def behind(sample: Sample, activation: str, squeezed=4, biases=True, **options) -> Sample:
    channels = sample.tensors["x"].shape[1]
    return with_epilogue(sample, activation).adding(layers(channels, squeezed, biases), **options)


BEHIND = {
    f"{name}-{activation}": behind(sample, activation)
    for (name, sample), activation in zip(varied().items(), ACTIVATIONS * 3, strict=False)
}


class TestDepthwiseConv2dSe(OpTests):
    samples = BEHIND | {
        "channels_last-3x3-s2-relu": BEHIND["channels_last-3x3-s2-relu"].without_16_bits(),
        "channels_last-5x5-s2-relu6": BEHIND["channels_last-5x5-s2-relu6"].without_16_bits(),
        "no-epilogue": make(2, 16, 9, 3, 1, 1).adding(layers(16, 4)).without_16_bits(),
        "hard": behind(make(2, 16, 9, 3, 1, 1), "hardswish", 6, False, se_activation="silu", gate="hardsigmoid"),
        "empty": behind(make(0, 8, 5, 3), "relu"),
        "small": behind(make(2, 4, (5, 4), 3, 2, 1), "silu", 2),
        "small-channels-last": behind(
            make(1, 3, 4, 3, layout="channels_last"), "relu6", 2, False, se_activation="relu6", gate="hardsigmoid"
        ),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.depthwise_conv2d_se)
    reference = staticmethod(reference.depthwise_conv2d_se)


@pytest.mark.parametrize("module", [ops, reference])
def test_torchs_own_layers(module):
    torch.manual_seed(0)
    squeeze, excite = nn.Conv2d(8, 3, 1).double(), nn.Conv2d(3, 8, 1).double()
    layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, nn.SiLU(), excite, nn.Hardsigmoid())
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    w1, w2 = squeeze.weight.flatten(1), excite.weight.flatten(1)
    y = module.se_gate(x, w1, squeeze.bias, w2, excite.bias, "silu", "hardsigmoid")
    torch.testing.assert_close(y, x * layers(x))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(value):
    tensors = gate(2, 8, 5, 3).on("cpu", torch.float32)
    with torch.no_grad():
        tensors[0][1, 2, 3, 3] = value
    assert_same_finiteness(ops.se_gate, reference.se_gate, tensors)


def test_autocast_and_layers_of_another_dtype():
    sample = behind(make(2, 8, 6, 3), "relu")
    tensors = sample.on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (y,) = sample.call(ops.depthwise_conv2d_se, tensors)
        assert ops.se_gate(tensors[0], *tensors[5:]).dtype == torch.bfloat16
    assert y.dtype == torch.bfloat16
    lowered = [t.detach().bfloat16() if i < 3 else t for i, t in enumerate(tensors)]
    assert torch.equal(y, *sample.call(ops.depthwise_conv2d_se, lowered))
    y.sum().backward()
    assert {tensor.grad.dtype for tensor in tensors} == {torch.float32}

    halves = [t.detach().bfloat16().requires_grad_() for t in tensors]
    sample.call(ops.depthwise_conv2d_se, halves)[0].sum().backward()
    assert {tensor.grad.dtype for tensor in halves} == {torch.bfloat16}


def test_backward_inside_autocast():
    """The gradient computes the convolution again, in the dtype it was computed in."""
    sample = behind(make(2, 8, 6, 3), "relu")
    tensors, expected = sample.on("cpu", torch.float32), sample.on("cpu", torch.float32)
    y = sample.call(ops.depthwise_conv2d_se, tensors)[0].sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y.backward()
    sample.call(ops.depthwise_conv2d_se, expected)[0].sum().backward()
    for got, want in zip(tensors, expected, strict=True):
        assert torch.equal(got.grad, want.grad)


X = torch.zeros(2, 4, 8, 8)
LAYERS = dict(w1=torch.zeros(3, 4), b1=torch.zeros(3), w2=torch.zeros(4, 3), b2=torch.zeros(4))
BAD_LAYERS = [
    (dict(w1=torch.zeros(3, 5)), ValueError, r"w1 must have shape \[3, 4\], \[squeezed, channels\], got \[3, 5\]"),
    (dict(w1=torch.zeros(3, 4, 1, 1)), ValueError, r"w1 must have shape \[squeezed, channels\], got \[3, 4, 1, 1\]"),
    (dict(w1=None), TypeError, "w1 must be a torch.Tensor .*got NoneType"),
    (dict(b1=torch.zeros(4)), ValueError, r"b1 must have shape \[3\], \[squeezed\], got \[4\]"),
    (dict(w2=torch.zeros(3, 4)), ValueError, r"w2 must have shape \[4, 3\], \[channels, squeezed\], got \[3, 4\]"),
    (dict(w2=torch.zeros(4, 3).to("meta")), ValueError, "w2 must be on x's device cpu, got meta"),
    (dict(b2=torch.zeros(3)), ValueError, r"b2 must have shape \[4\], \[channels\], got \[3\]"),
    (dict(b2=torch.zeros(4).int()), TypeError, "b2 must be float32, got int32"),
    (dict(x=X.long()), TypeError, "x must be float32, float64, float16 or bfloat16, got int64"),
    (dict(x=X[0]), ValueError, "x must have shape"),
    (dict(gate="tanh"), ValueError, "gate must be one of sigmoid, hardsigmoid, got 'tanh'"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [*BAD_LAYERS, (dict(activation="gelu"), ValueError, "activation must be one of none, relu, .*got 'gelu'")],
)
def test_bad_arguments_of_the_gate_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^se_gate: {message}"):
        ops.se_gate(**({"x": X} | LAYERS | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD_LAYERS,
        (dict(se_activation="gelu"), ValueError, "se_activation must be one of none, relu, .*got 'gelu'"),
        (dict(weight=torch.zeros(3, 1, 3, 3)), ValueError, "weight .*with the 4 channels of x"),
        (dict(scale=torch.zeros(3)), ValueError, "scale must have shape"),
    ],
)
def test_bad_arguments_behind_a_convolution_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^depthwise_conv2d_se: {message}"):
        ops.depthwise_conv2d_se(**({"x": X, "weight": torch.zeros(4, 1, 3, 3)} | LAYERS | arguments))
