"""Depthwise convolution, batch normalisation and activation against torch's own."""

import copy

import pytest
import torch
from support.depthwise_samples import ACTIVATIONS, make, varied
from support.norm_samples import with_norm, with_running
from support.op_tests import OpTests, assert_same_finiteness
from torch import nn

from frnet import ops
from frnet.ops import reference


class TestTraining(OpTests):
    samples = {
        f"{name}-{activation}": with_norm(sample, activation, training=True)
        for (name, sample), activation in zip(varied().items(), ACTIVATIONS * 3, strict=False)
    } | {
        "no-parameters": with_norm(make(3, 8, 9, 3, 1, 1), "relu", False, False, training=True, eps=1e-3),
        "weight-alone": with_norm(make(3, 8, 9, 3, 1, 1), "relu6", bias=False, training=True),
        "small": with_norm(make(2, 3, (5, 4), 3, 2, 1), "silu", training=True),
        "small-channels-last": with_norm(
            make(2, 3, 4, 3, 1, 1, bias=False, layout="channels_last"), "relu", training=True
        ),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.depthwise_conv2d_bn_act)
    reference = staticmethod(reference.depthwise_conv2d_bn_act)


class TestInference(OpTests):
    samples = {
        "relu6": with_running(with_norm(make(2, 24, (15, 13), 3, 1, 1), "relu6")),
        "no-parameters": with_running(with_norm(make(2, 8, 9, 3, 2, 1, layout="channels_last"), "silu", False, False)),
        "bias-alone": with_running(with_norm(make(2, 8, 9, 3, 2, 1), "none", False)),
        "empty": with_running(with_norm(make(0, 8, 9, 3, 2, 1), "relu")),
        "small": with_running(with_norm(make(2, 3, (5, 4), 3, 2, 1), "hardswish")),
    }
    small = ["small"]
    test_opcheck = None  # the op behind it is depthwise_conv2d

    op = staticmethod(ops.depthwise_conv2d_bn_act)
    reference = staticmethod(reference.depthwise_conv2d_bn_act)


def modules(channels: int, dtype=torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, momentum=0.3, eps=1e-3)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    conv = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
    return nn.Sequential(conv, norm, nn.ReLU6()).to(dtype)


def ours(block: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    conv, norm, _ = block
    return ops.depthwise_conv2d_bn_act(
        *(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation),
        **dict(bn_weight=norm.weight, bn_bias=norm.bias, running_mean=norm.running_mean, running_var=norm.running_var),
        **dict(training=norm.training, momentum=norm.momentum, eps=norm.eps, activation="relu6"),
    )


def test_two_steps_and_an_evaluation_as_torchs_modules_make_them():
    expected_block = modules(5)
    block = copy.deepcopy(expected_block)
    for step in range(3):
        training = step < 2
        x = torch.randn(3, 5, 9, 7, generator=torch.Generator().manual_seed(step))
        results = []
        for b, call in ((block, ours), (expected_block, lambda b, x: b(x))):
            y = call(b.train(training), x)
            gradients = torch.autograd.grad(y.square().mean(), list(b.parameters()))
            results.append((y, *gradients))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(block[1], name), getattr(expected_block[1], name))
    assert not block[1].running_mean.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training):
    block = modules(5).train(training)
    x = torch.randn(3, 5, 9, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ours(block, x)
    assert y.dtype == torch.bfloat16
    assert block[1].running_mean.dtype == torch.float32
    y.sum().backward()
    assert {parameter.grad.dtype for parameter in block.parameters()} == {torch.float32}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(value):
    x, weight, bias, gamma, beta = with_norm(make(2, 4, 8, 3, 2, 1), "none").on("cpu", torch.float32)
    with torch.no_grad():
        x[0, 1, 3, 3] = value

    def call(module):
        return lambda x, weight, gamma, beta: module.depthwise_conv2d_bn_act(
            x, weight, bias, 2, 1, bn_weight=gamma, bn_bias=beta, training=True, activation="relu6"
        )

    assert_same_finiteness(call(ops), call(reference), (x, weight, gamma, beta))


X = torch.zeros(2, 4, 8, 8)
W = torch.zeros(4, 1, 3, 3)
STATISTICS = dict(running_mean=torch.zeros(4), running_var=torch.ones(4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(running_var=None), ValueError, "running_var must be given where training is False, got None"),
        (dict(running_mean=None), ValueError, "running_mean must be given where training is False, got None"),
        (dict(bn_weight=torch.ones(1)), ValueError, r"bn_weight must have shape \[4\], the channels of x, got \[1\]"),
        (dict(bn_bias=torch.ones(4).to("meta")), ValueError, "bn_bias must be on x's device cpu, got meta"),
        (dict(bn_bias=torch.ones(4).int(), training=True), TypeError, "bn_bias must be float32, .*got int32"),
        (dict(running_var=torch.ones(3), training=True), ValueError, r"running_var must have shape \[4\].*got \[3\]"),
        (dict(running_mean=torch.ones(4).long(), training=True), TypeError, "running_mean must be .*got int64"),
        (
            dict(running_var=torch.ones(4).to("meta"), training=True),
            ValueError,
            "running_var must be on x's device cpu",
        ),
        (dict(bn_weight=torch.ones(4, 1), training=True), ValueError, r"bn_weight must have shape \[channels\]"),
        (dict(weight=W.half()), TypeError, "weight must be float32, got float16"),
        (dict(weight=None), TypeError, "weight must be a torch.Tensor .*got NoneType"),
        (dict(activation="tanh"), ValueError, "activation must be one of none, .*got 'tanh'"),
        (dict(stride=0, training=True), ValueError, "stride must be at least 1"),
        (
            dict(x=X[:1, :, :3, :3], training=True),
            ValueError,
            r"more than one value .*got a result of shape \[1, 4, 1, 1\]",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    statistics = copy.deepcopy(STATISTICS)
    with pytest.raises(error, match=f"depthwise_conv2d_bn_act: .*{message}"):
        ops.depthwise_conv2d_bn_act(**({"x": X, "weight": W} | statistics | arguments))
    torch.testing.assert_close(statistics, STATISTICS)
