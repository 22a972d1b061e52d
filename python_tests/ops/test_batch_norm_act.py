"""Batch normalisation and activation against torch's own."""

import copy

import pytest
import torch
from support.depthwise_samples import ACTIVATIONS, draw_image
from support.norm_samples import with_norm, with_running
from support.op_tests import OpTests, Sample, assert_same_finiteness
from torch import nn

from frnet import ops
from frnet.ops import reference

LAYOUTS = ["nchw", "channels_last"]


def image(batch, channels, size, layout="nchw") -> Sample:
    height, width = size if isinstance(size, tuple) else (size, size)
    return Sample({"x": draw_image(batch, channels, height, width, layout)}, differentiable=("x",))


SHAPES = {
    "7": (3, 24, 7),
    "41": (1, 5, 41),
    "wide": (2, 8, (3, 131)),
    "segments": (1, 2, (67, 71)),
    "many-channels": (2, 321, 4),
    "one-channel": (2, 1, (5, 3)),
    "1-pixel": (17, 37, 1),
    "batch-37": (37, 8, (4, 5)),
}


class TestTraining(OpTests):
    samples = {
        f"{layout}-{name}-{activation}": with_norm(image(*shape, layout), activation, training=True)
        for layout in LAYOUTS
        for (name, shape), activation in zip(SHAPES.items(), ACTIVATIONS * 2, strict=False)
    } | {
        "sliced": with_norm(image(2, 8, (6, 9), "sliced"), "relu6", training=True),
        "transposed": with_norm(image(2, 8, (6, 9), "transposed"), "relu6", training=True),
        "no-parameters": with_norm(image(3, 8, 9), "silu", False, False, training=True, eps=1e-3),
        "weight-alone": with_norm(image(3, 8, 9, "channels_last"), "relu6", bias=False, training=True),
        "small": with_norm(image(2, 3, (3, 2)), "silu", training=True),
        "small-channels-last": with_norm(image(2, 3, 2, "channels_last"), "relu", training=True),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.batch_norm_act)
    reference = staticmethod(reference.batch_norm_act)


class TestInference(OpTests):
    samples = {
        "relu6": with_running(with_norm(image(2, 24, (15, 13)), "relu6")),
        "no-parameters": with_running(with_norm(image(2, 8, 9, "channels_last"), "silu", False, False)),
        "bias-alone": with_running(with_norm(image(2, 8, 9), "none", False)),
        "empty": with_running(with_norm(image(0, 8, 9), "relu")),
        "small": with_running(with_norm(image(2, 3, (5, 4)), "hardswish")),
    }
    small = ["small"]
    test_opcheck = None  # the op behind it is depthwise_conv2d

    op = staticmethod(ops.batch_norm_act)
    reference = staticmethod(reference.batch_norm_act)


def norm_of(channels: int) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, momentum=0.3, eps=1e-3)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias)
    return norm


def ours(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    return ops.batch_norm_act(
        *(x, norm.weight, norm.bias, norm.running_mean, norm.running_var),
        *(norm.training, norm.momentum, norm.eps),
        activation="relu6",
    )


def test_two_steps_and_an_evaluation_as_torchs_module_makes_them():
    expected_norm = norm_of(5)
    norm = copy.deepcopy(expected_norm)
    for step in range(3):
        training = step < 2
        x = 3 + torch.randn(3, 5, 9, 7, generator=torch.Generator().manual_seed(step))
        results = []
        for n, call in ((norm, ours), (expected_norm, lambda n, x: nn.functional.relu6(n(x)))):
            y = call(n.train(training), x)
            results.append((y, *torch.autograd.grad(y.square().mean(), list(n.parameters()))))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(norm, name), getattr(expected_norm, name))
    assert not norm.running_mean.requires_grad


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_far_from_zero_keep_their_variance(layout):
    """1000 times further from zero than from each other: a sum of squares would have no digits left."""
    x = (draw_image(4, 6, 33, 31, layout) + 1000).float()
    running_mean, running_var = torch.zeros(6), torch.zeros(6)
    y = ops.batch_norm_act(x, None, None, running_mean, running_var, training=True, momentum=1.0)
    variance, mean = torch.var_mean(x.double(), (0, 2, 3))
    torch.testing.assert_close(running_mean.double(), mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(running_var.double(), variance, rtol=1e-5, atol=0)
    expected = reference.batch_norm_act(x.double(), training=True)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-4)  # a step of float32 at 1000 is 6e-5


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training):
    norm = norm_of(5).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ours(norm, torch.randn(3, 5, 9, 7))
    assert y.dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32
    y.sum().backward()
    assert {parameter.grad.dtype for parameter in norm.parameters()} == {torch.float32}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(value):
    x, gamma, beta = with_norm(image(2, 4, 8), "none").on("cpu", torch.float32)
    with torch.no_grad():
        x[0, 1, 3, 3] = value

    def call(module):
        return lambda x, gamma, beta: module.batch_norm_act(x, gamma, beta, training=True, activation="relu6")

    assert_same_finiteness(call(ops), call(reference), (x, gamma, beta))


X = torch.zeros(2, 4, 8, 8)
STATISTICS = dict(running_mean=torch.zeros(4), running_var=torch.ones(4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(running_var=None), ValueError, "running_var must be given where training is False, got None"),
        (dict(bn_weight=torch.ones(1)), ValueError, r"bn_weight must have shape \[4\], the channels of x, got \[1\]"),
        (dict(bn_weight=torch.ones(4, 1), training=True), ValueError, r"bn_weight must have shape \[channels\]"),
        (dict(bn_bias=torch.ones(4).to("meta")), ValueError, "bn_bias must be on x's device cpu, got meta"),
        (dict(bn_bias=torch.ones(4).int(), training=True), TypeError, "bn_bias must be float32, .*got int32"),
        (dict(running_var=torch.ones(3), training=True), ValueError, r"running_var must have shape \[4\].*got \[3\]"),
        (dict(running_mean=torch.ones(4).long(), training=True), TypeError, "running_mean must be .*got int64"),
        (dict(activation="tanh"), ValueError, "activation must be one of none, .*got 'tanh'"),
        (dict(x=X[0]), ValueError, r"x must have shape \[batch, channels, height, width\], got \[4, 8, 8\]"),
        (dict(x=X[0], training=True), ValueError, r"x must have shape \[batch, channels, height, width\]"),
        (dict(x=X.int(), training=True), TypeError, "x must be float32, .*got int32"),
        (dict(x=None), TypeError, "x must be a torch.Tensor .*got NoneType"),
        (dict(x=X[:1, :, :1, :1], training=True), ValueError, r"more than one value .*got .*shape \[1, 4, 1, 1\]"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    statistics = copy.deepcopy(STATISTICS)
    with pytest.raises(error, match=f"batch_norm_act: .*{message}"):
        ops.batch_norm_act(**({"x": X} | statistics | arguments))
    torch.testing.assert_close(statistics, STATISTICS)
