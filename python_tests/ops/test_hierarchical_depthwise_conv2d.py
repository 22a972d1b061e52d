"""The multi-scale stage, with and without batch statistics, against its splits one by one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.depthwise_samples import make, with_epilogue
from support.op_tests import OpTests, Sample, assert_same_finiteness

from frnet import ops
from frnet.ops import reference

# torch's own, of the reference's gate of an empty batch.
pytestmark = pytest.mark.filterwarnings("ignore:std.*degrees of freedom")


def behind(sample: Sample, affine=True, groups=0) -> Sample:
    channels = sample.tensors["x"].shape[1]
    shapes = {"out_scale": (channels,), "out_shift": (channels,)} if affine else {}
    if groups:
        shapes |= {"sge_weight": (groups,), "sge_bias": (groups,)}
    return sample.adding(shapes, groups=groups)


class TestHierarchicalDepthwiseConv2d(OpTests):
    samples = {
        "nchw": with_epilogue(make(2, 16, (15, 13), 3, 1, 1), "silu"),
        "nchw-gate": behind(with_epilogue(make(2, 24, 15, 3, 1, 1), "silu"), groups=8).without_16_bits(),
        "nchw-s2": behind(with_epilogue(make(2, 16, 41, 3, 2, 1), "relu6"), groups=4),
        "nchw-5x5": with_epilogue(make(1, 12, 7, 5, 1, 2, bias=False), "relu").without_16_bits(),
        "nchw-relu6": behind(with_epilogue(make(2, 16, 8, 3, 1, 1), "relu6"), groups=2).without_16_bits(),
        "nchw-hardswish": behind(with_epilogue(make(1, 8, (5, 64), 3, 1, 1), "hardswish")).without_16_bits(),
        "nchw-4x4": behind(with_epilogue(make(1, 96, 4, 3, 1, 1), "silu"), groups=8),
        "channels_last": with_epilogue(make(2, 16, (15, 13), 3, 1, 1, layout="channels_last"), "silu"),
        "channels_last-gate": behind(with_epilogue(make(2, 96, 8, 3, 1, 1, layout="channels_last"), "silu"), groups=8),
        "channels_last-relu6": behind(
            with_epilogue(make(1, 48, 7, 3, 1, 1, bias=False, layout="channels_last"), "relu6"), groups=1
        ).without_16_bits(),
        "channels_last-s2": with_epilogue(make(2, 16, (9, 31), 5, 2, 2, layout="channels_last"), "hardswish"),
        "plain": make(2, 8, 9, 3, 1, 1),
        "one-split": with_epilogue(make(2, 8, 9, 3, 1, 1), "relu6").adding(splits=1),
        "eight-splits": behind(with_epilogue(make(2, 8, 9, 3, 1, 1), "silu"), groups=2)
        .adding(splits=8)
        .without_16_bits(),
        "one-stride-of-two": with_epilogue(make(2, 8, 9, 3, (1, 2), 1), "relu").adding(splits=2),
        "gate-alone": behind(make(2, 8, 9, 3, 1, 1), False, groups=2),
        "groups-across-splits": behind(with_epilogue(make(2, 24, 6, 3, 1, 1), "silu"), groups=3),
        "one-pixel": with_epilogue(make(3, 4, 1, 3, 1, 1), "silu"),
        "sliced": behind(with_epilogue(make(2, 8, (6, 9), 3, 1, 1, layout="sliced"), "silu"), groups=2),
        "empty": behind(with_epilogue(make(0, 8, 9, 3, 1, 1), "relu"), groups=2),
        "small": behind(with_epilogue(make(2, 4, (3, 4), 3, 1, 1), "silu"), groups=2)
        .adding(splits=2)
        .without_16_bits(),
        "small-no-gate": behind(with_epilogue(make(1, 3, 4, 3, 1, 1, layout="channels_last"), "relu6")).adding(
            splits=3
        ),
    }
    small = ["small", "small-no-gate"]
    traced = small  # whose gradients are made of different ops

    op = staticmethod(ops.hierarchical_depthwise_conv2d)
    reference = staticmethod(reference.hierarchical_depthwise_conv2d)


def training(sample: Sample, activation: str, splits=4, parameters=True) -> Sample:
    channels = sample.tensors["x"].shape[1]
    shapes = {"bn_weight": (channels,), "bn_bias": (channels,)} if parameters else {}
    return sample.adding(shapes, activation=activation, splits=splits, training=True)


class TestHierarchicalDepthwiseConv2dBnAct(OpTests):
    samples = {
        "nchw": training(make(2, 16, (15, 13), 3, 1, 1), "silu"),
        "nchw-relu6": training(make(2, 24, 8, 3, 1, 1), "relu6").without_16_bits(),
        "nchw-s2": training(make(2, 16, 41, 3, 2, 1), "relu6"),
        "channels_last": training(make(2, 16, (7, 13), 3, 1, 1, layout="channels_last"), "silu"),
        "channels_last-relu": training(
            make(3, 48, 4, 3, 1, 1, bias=False, layout="channels_last"), "relu"
        ).without_16_bits(),
        "channels_last-5x5-s2": training(make(2, 8, 15, 5, 2, 2, layout="channels_last"), "hardswish"),
        "one-split": training(make(2, 8, 9, 3, 1, 1), "relu6", 1),
        "no-parameters": training(make(2, 8, 9, 3, 1, 1), "none", 2, False),
        "sliced": training(make(2, 8, (6, 9), 3, 1, 1, layout="sliced"), "silu", 8),
        "small": training(make(2, 4, (3, 4), 3, 1, 1), "silu", 2),
        "small-s2": training(make(2, 4, 5, 3, 2, 1, layout="channels_last"), "relu", 2),
    }
    small = ["small", "small-s2"]

    op = staticmethod(ops.hierarchical_depthwise_conv2d_bn_act)
    reference = staticmethod(reference.hierarchical_depthwise_conv2d_bn_act)


def test_the_reference_is_four_convolutions_one_after_the_other():
    """Written out, with torch's own functions alone."""
    x, weight, bias, scale, shift = with_epilogue(make(2, 8, 9, 3, 1, 1)).on("cpu", torch.float64)
    results = []
    for i in range(4):
        part = slice(2 * i, 2 * i + 2)
        v = x[:, part] + results[-1] if results else x[:, part]
        v = F.conv2d(v, weight[part], bias[part], 1, 1, groups=2)
        results.append(F.relu6(v * scale[part].reshape(1, 2, 1, 1) + shift[part].reshape(1, 2, 1, 1)))
    y = reference.hierarchical_depthwise_conv2d(x, weight, bias, 1, 1, 1, scale, shift, "relu6", splits=4)
    torch.testing.assert_close(y, torch.cat(results, 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_running_statistics(stride):
    x, weight, bias, gamma, beta = training(make(3, 8, 9, 3, stride, 1), "relu6").on("cpu", torch.float64)
    expected_mean, expected_variance = torch.rand(8, dtype=torch.float64), torch.rand(8, dtype=torch.float64) + 1
    mean, variance = expected_mean.clone(), expected_variance.clone()
    parameters = dict(bn_weight=gamma, bn_bias=beta, momentum=0.3, eps=1e-3, activation="relu6")
    for is_training in (True, True, False):
        u = ops.hierarchical_depthwise_conv2d_bn_act(
            *(x, weight, bias, stride, 1), running_mean=mean, running_var=variance, training=is_training, **parameters
        )
        expected = reference.hierarchical_depthwise_conv2d_bn_act(
            *(x, weight, bias, stride, 1),
            **dict(running_mean=expected_mean, running_var=expected_variance, training=is_training),
            **parameters,
        )
        torch.testing.assert_close(u, expected)
        tensors = (x, weight, gamma, beta)
        torch.testing.assert_close(
            torch.autograd.grad(u.square().sum(), tensors), torch.autograd.grad(expected.square().sum(), tensors)
        )
        torch.testing.assert_close((mean, variance), (expected_mean, expected_variance))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(value):
    sample = with_epilogue(make(1, 8, 9, 3, 1, 1))
    tensors = sample.on("cpu", torch.float32)
    with torch.no_grad():
        tensors[0][0, 2, 3, 3] = value

    def call(module):
        return lambda *tensors: sample.call(module.hierarchical_depthwise_conv2d, tensors)[0]

    assert_same_finiteness(call(ops), call(reference), tensors)


@pytest.mark.parametrize("groups", [0, 2])
def test_autocast(groups):
    sample = behind(with_epilogue(make(2, 8, 6, 3, 1, 1), "relu"), groups=groups)
    tensors = sample.on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (y,) = sample.call(ops.hierarchical_depthwise_conv2d, tensors)
    lowered = [t.detach().bfloat16() if i < 3 else t for i, t in enumerate(tensors)]
    assert torch.equal(y, *sample.call(ops.hierarchical_depthwise_conv2d, lowered))
    y.sum().backward()
    assert {tensor.grad.dtype for tensor in tensors} == {torch.float32}

    sample = training(make(2, 8, 6, 3, 1, 1), "relu")
    tensors = sample.on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (u,) = sample.call(ops.hierarchical_depthwise_conv2d_bn_act, tensors)
    assert u.dtype == torch.bfloat16
    u.sum().backward()
    assert {tensor.grad.dtype for tensor in tensors} == {torch.float32}


X = torch.zeros(2, 8, 6, 6)
GOOD = dict(x=X, weight=torch.zeros(8, 1, 3, 3), padding=1)
BAD_CHAINS = [
    (dict(splits=3), ValueError, "splits must divide the 8 channels of x, got 3"),
    (dict(splits=0), ValueError, "splits must be at least 1, got 0"),
    (dict(splits=2.0), TypeError, "splits must be an int, got 2.0"),
    (dict(padding=0), ValueError, r"padding must keep the size 6x6 of x where stride is 1, .*got \(0, 0\).*gives 4x4"),
    (dict(weight=torch.zeros(2, 1, 3, 3)), ValueError, "weight .*with the 8 channels of x"),
    (dict(activation="gelu"), ValueError, "activation must be one of"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD_CHAINS,
        (dict(out_scale=torch.ones(7)), ValueError, r"out_scale must have shape \[8\], \[channels\], got \[7\]"),
        (dict(out_shift=torch.ones(8).int()), TypeError, "out_shift must be float32, got int32"),
        (dict(groups=3, sge_weight=torch.ones(3), sge_bias=torch.ones(3)), ValueError, "groups must divide the 8"),
        (dict(groups=-1), ValueError, "groups must be at least 1, got -1"),
        (dict(groups=2, sge_bias=torch.ones(2)), TypeError, "sge_weight must be a torch.Tensor .*got NoneType"),
        (dict(groups=2, sge_weight=torch.ones(8), sge_bias=torch.ones(2)), ValueError, r"sge_weight .*shape \[2\]"),
        (dict(sge_weight=torch.ones(2)), ValueError, "groups must be at least 1 where there are sge_weight"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^hierarchical_depthwise_conv2d: {message}"):
        ops.hierarchical_depthwise_conv2d(**(GOOD | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD_CHAINS,
        (dict(running_mean=torch.ones(4)), ValueError, r"running_mean must have shape \[8\].*got \[4\]"),
        (dict(training=False), ValueError, "running_mean must be given where training is False"),
        (dict(x=X[:1, :, :1, :1]), ValueError, r"more than one value per channel .*shape \[1, 8, 1, 1\]"),
    ],
)
def test_bad_arguments_with_statistics_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^hierarchical_depthwise_conv2d_bn_act: .*{message}"):
        ops.hierarchical_depthwise_conv2d_bn_act(**(copy.copy(GOOD) | dict(training=True) | arguments))
