"""Convolution, batch normalisation, activation and a gate behind them in one op, against plain torch."""

import copy

import pytest
import torch
from support.depthwise_samples import ACTIVATIONS, make, varied
from support.norm_samples import with_norm, with_running
from support.op_tests import OpTests, Sample, assert_same_finiteness

from frnet import ops
from frnet.ops import reference


def with_layers(sample: Sample, squeezed=4, biases=True, **options) -> Sample:
    channels = sample.tensors["x"].shape[1]
    b1, b2 = ((squeezed,), (channels,)) if biases else (None, None)
    layers = {"w1": (squeezed, channels), "b1": b1, "w2": (channels, squeezed), "b2": b2}
    return sample.adding(layers, **options)


def with_groups(sample: Sample, groups: int) -> Sample:
    return sample.adding({"sge_weight": (groups,), "sge_bias": (groups,)}, groups=groups)


def training(sample: Sample, activation: str, **options) -> Sample:
    return with_norm(sample, activation, training=True, **options)


VARIED = {
    f"{name}-{activation}": training(sample, activation)
    for (name, sample), activation in zip(varied().items(), ACTIVATIONS * 3, strict=False)
}
LAYOUTS = ("nchw", "channels_last")


class TestSe(OpTests):
    samples = {name: with_layers(sample) for name, sample in VARIED.items()} | {
        # Few channels, whose planes share vectors across images; more images than are taken at a time.
        "few-channels": with_layers(training(make(37, 3, 7, 3, 1, 1), "relu6"), 2),
        **{
            f"batch-35-{layout}": with_layers(training(make(35, 24, 6, 3, 2, 1, layout=layout), "silu"), 3)
            for layout in LAYOUTS
        },
        **{
            f"tiles-{layout}": with_layers(training(make(2, 3, (157, 131), 5, 1, 2, layout=layout), "silu"), 2)
            for layout in LAYOUTS
        },
        "reaching-too-far": with_layers(training(make(2, 3, 40, 31, 1, 15), "silu"), 2),
        "no-parameters": with_layers(
            training(make(3, 8, 9, 3, 1, 1), "silu", weight=False, bias=False),
            *(6, False),
            **dict(se_activation="silu", gate="hardsigmoid"),
        ),
        "evaluation": with_layers(with_running(with_norm(make(2, 24, (15, 13), 3, 1, 1), "silu"))),
        "small": with_layers(training(make(2, 4, (5, 4), 3, 2, 1), "silu"), 2),
        "small-channels-last": with_layers(
            training(make(2, 3, 4, 3, 1, 1, bias=False, layout="channels_last"), "relu"), 2, False
        ),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.depthwise_conv2d_bn_act_se)
    reference = staticmethod(reference.depthwise_conv2d_bn_act_se)


def divisors(channels: int) -> list[int]:
    return [groups for groups in range(1, channels + 1) if channels % groups == 0]


class TestSge(OpTests):
    samples = {
        name: with_groups(
            sample, divisors(sample.tensors["x"].shape[1])[i % len(divisors(sample.tensors["x"].shape[1]))]
        )
        for i, (name, sample) in enumerate(VARIED.items())
        if "one-pixel" not in name
    } | {
        **{
            f"{groups}-groups-{layout}": with_groups(
                training(make(3, 48, (9, 7), 3, 1, 1, layout=layout), "hardswish"), groups
            )
            for groups in (2, 3, 8, 16)
            for layout in LAYOUTS
        },
        **{
            f"{groups}-groups-{layout}": with_groups(
                training(make(3, 48, (9, 7), 3, 1, 1, layout=layout), "hardswish"), groups
            ).without_16_bits()
            for groups in (1, 48)
            for layout in LAYOUTS
        },
        "across-images": with_groups(training(make(5, 3, 7, 3, 1, 1), "silu"), 3).without_16_bits(),
        **{
            f"tiles-{layout}": with_groups(
                training(make(2, 4, (157, 131), 5, 2, 2, layout=layout), "silu"), 2
            ).without_16_bits()
            for layout in LAYOUTS
        },
        # A group that does not stay in a cache, a kernel that fits no tile.
        "large-group": with_groups(training(make(1, 16, 90, 3, 1, 1), "silu"), 1).without_16_bits(),
        "reaching-too-far": with_groups(training(make(2, 4, 40, 31, 1, 15), "silu"), 2).without_16_bits(),
        "evaluation": with_groups(with_running(with_norm(make(2, 24, (15, 13), 3, 1, 1), "silu")), 4).without_16_bits(),
        "small": with_groups(training(make(2, 4, (5, 4), 3, 2, 1), "silu"), 2).without_16_bits(),
        "small-channels-last": with_groups(
            training(make(2, 3, 4, 3, 1, 1, bias=False, layout="channels_last"), "hardswish"), 1
        ).without_16_bits(),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.depthwise_conv2d_bn_act_sge)
    reference = staticmethod(reference.depthwise_conv2d_bn_act_sge)


GATES = {
    "se": (
        ops.depthwise_conv2d_bn_act_se,
        ops.se_gate,
        dict(w1=torch.ones(2, 8), b1=None, w2=torch.ones(8, 2), b2=None),
    ),
    "sge": (
        ops.depthwise_conv2d_bn_act_sge,
        ops.sge_gate,
        dict(sge_weight=torch.ones(4), sge_bias=torch.ones(4), groups=4),
    ),
}


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_two_ops_with_running_statistics(gate, dtype):
    """bfloat16: the result in between is rounded by one and not by the other."""
    fused, alone, parameters = GATES[gate]
    torch.manual_seed(0)
    x, weight = torch.randn(4, 8, 9, 7, dtype=dtype), torch.randn(8, 1, 3, 3, dtype=dtype)
    running = dict(running_mean=torch.zeros(8), running_var=torch.ones(8))
    running_of_two = copy.deepcopy(running)
    options = dict(padding=1, training=True, activation="relu6", momentum=0.3)
    y = fused(x, weight, **options, **running, **parameters)
    expected = alone(ops.depthwise_conv2d_bn_act(x, weight, **options, **running_of_two), *parameters.values())
    torch.testing.assert_close(running, running_of_two, rtol=0, atol=0)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("gate", GATES)
def test_of_what_is_as_large_as_a_result_the_input_alone_is_kept(gate):
    fused, _, parameters = GATES[gate]
    x, weight = torch.randn(4, 8, 9, 7, requires_grad=True), torch.randn(8, 1, 3, 3, requires_grad=True)
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = fused(x, weight, padding=1, training=True, activation="relu6", **parameters)
    y.sum().backward()
    large = [tensor for tensor in kept if tensor.numel() >= y.numel()]
    assert [tensor.data_ptr() for tensor in large] == [x.data_ptr()]


@pytest.mark.parametrize("gate", GATES)
def test_autocast(gate):
    fused, _, parameters = GATES[gate]
    x, weight = torch.randn(4, 8, 9, 7), torch.randn(8, 1, 3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fused(x, weight, training=True, activation="relu6", **parameters)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_spreads_as_in_torch(gate, value):
    parameters = GATES[gate][2]
    x, weight = torch.randn(3, 8, 9, 7), torch.randn(8, 1, 3, 3)
    x[0, 1, 3, 3] = value

    def call(module):
        function = getattr(module, f"depthwise_conv2d_bn_act_{gate}")
        return lambda x, weight: function(x, weight, training=True, activation="relu6", **parameters)

    tensors = x.requires_grad_(), weight.requires_grad_()
    assert_same_finiteness(call(ops), call(reference), tensors)


X = torch.zeros(2, 8, 9, 9)
W = torch.zeros(8, 1, 3, 3)


@pytest.mark.parametrize(
    ("gate", "arguments", "error", "message"),
    [
        (
            "se",
            dict(w1=torch.ones(2, 7)),
            ValueError,
            r"w1 must have shape \[2, 8\], .*got \[2, 7\]",
        ),
        ("se", dict(w2=None), TypeError, "w2 must be a torch.Tensor"),
        ("se", dict(gate="tanh"), ValueError, "gate must be one of sigmoid, hardsigmoid, got 'tanh'"),
        ("se", dict(bn_weight=torch.ones(3)), ValueError, r"bn_weight must have shape \[8\]"),
        ("sge", dict(groups=3), ValueError, "groups must .*divide .*8.*got 3"),
        ("sge", dict(sge_bias=torch.ones(3)), ValueError, r"sge_bias must have shape \[4\], .*got \[3\]"),
        ("sge", dict(weight=W.half()), TypeError, "weight must be float32, got float16"),
        ("sge", dict(x=X[:1, :, :3, :3]), ValueError, "more than one value per channel"),
    ],
)
def test_bad_arguments_are_named(gate, arguments, error, message):
    fused, _, parameters = GATES[gate]
    running = dict(running_mean=torch.zeros(8), running_var=torch.ones(8))
    with pytest.raises(error, match=f"depthwise_conv2d_bn_act_{gate}: .*{message}"):
        fused(**(dict(x=X, weight=W, training=True) | running | parameters | arguments))
    assert torch.equal(running["running_mean"], torch.zeros(8))
