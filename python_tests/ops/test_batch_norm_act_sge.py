"""Batch normalisation, activation and the spatial group-wise enhance gate as one op."""

import pytest
import torch
from ops.test_batch_norm_act import LAYOUTS, STATISTICS, X, image
from support.depthwise_samples import ACTIVATIONS
from support.norm_samples import with_norm, with_running
from support.op_tests import OpTests, Sample

from frnet import ops
from frnet.ops import reference


def gated(sample: Sample, groups: int) -> Sample:
    """16-bit tensors are left out: the op's gate works on rounded activations, the reference's on rounded ones of
    another order of operations."""
    return sample.adding({"sge_weight": (groups,), "sge_bias": (groups,)}, groups=groups).without_16_bits()


SHAPES = {
    "7": ((3, 24, 7), 8),
    "41": ((1, 6, 41), 2),
    "wide": ((2, 8, (3, 131)), 8),
    "many-channels": ((2, 320, 4), 8),
    "one-group": ((2, 33, (5, 3)), 1),
    "batch-37": ((37, 8, (4, 5)), 4),
}


class TestTraining(OpTests):
    samples = {
        f"{layout}-{name}-{activation}": gated(with_norm(image(*shape, layout), activation, training=True), groups)
        for layout in LAYOUTS
        for (name, (shape, groups)), activation in zip(SHAPES.items(), ["none", *ACTIVATIONS * 2], strict=False)
    } | {
        "sliced": gated(with_norm(image(2, 8, (6, 9), "sliced"), "none", training=True), 4),
        "no-parameters": gated(with_norm(image(3, 8, 9), "silu", False, False, training=True), 2),
        "small": gated(with_norm(image(2, 4, (3, 2)), "silu", training=True), 2),
        "small-channels-last": gated(with_norm(image(2, 4, 3, "channels_last"), "none", training=True), 1),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.batch_norm_act_sge)
    reference = staticmethod(reference.batch_norm_act_sge)


class TestInference(OpTests):
    samples = {
        "relu6": gated(with_running(with_norm(image(2, 24, (15, 13)), "relu6")), 8),
        "none": gated(with_running(with_norm(image(2, 8, 9, "channels_last"), "none", False, False)), 4),
        "small": gated(with_running(with_norm(image(2, 4, (5, 4)), "silu")), 2),
    }
    small = ["small"]
    test_opcheck = None  # the op behind it is depthwise_conv2d_sge

    op = staticmethod(ops.batch_norm_act_sge)
    reference = staticmethod(reference.batch_norm_act_sge)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bits_as_the_two_ops_one_after_the_other(dtype, layout):
    x, gamma, beta = with_norm(image(3, 24, 9, layout), "none").on("cpu", dtype)
    weight, bias = torch.randn(8), torch.randn(8)
    got = ops.batch_norm_act_sge(
        x, gamma, beta, training=True, activation="relu6", sge_weight=weight, sge_bias=bias, groups=8
    )
    between = ops.batch_norm_act(x, gamma, beta, training=True, activation="relu6")
    torch.testing.assert_close(got, ops.sge_gate(between, weight, bias, 8))


def test_an_empty_batch():
    y = ops.batch_norm_act_sge(X[:0], **STATISTICS, **GATE)
    assert y.shape == (0, 4, 8, 8)


GATE = dict(sge_weight=torch.ones(2), sge_bias=torch.ones(2), groups=2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(groups=3), ValueError, "groups must divide .*4.*got 3"),
        (dict(sge_weight=torch.ones(3)), ValueError, r"sge_weight must have shape \[2\], \[groups\], got \[3\]"),
        (dict(sge_bias=torch.ones(2).int()), TypeError, "sge_bias must be float32, got int32"),
        (dict(bn_weight=torch.ones(1)), ValueError, r"bn_weight must have shape \[4\], the channels of x, got \[1\]"),
        (dict(x=X[0]), ValueError, r"x must have shape \[batch, channels, height, width\], got \[4, 8, 8\]"),
        (dict(activation="tanh"), ValueError, "activation must be one of none, .*got 'tanh'"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message, training):
    with pytest.raises(error, match=f"batch_norm_act_sge: .*{message}"):
        ops.batch_norm_act_sge(**({"x": X, "training": training} | STATISTICS | GATE | arguments))
