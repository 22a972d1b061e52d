"""Spatial group-wise enhance, alone and behind a depthwise convolution: against its authors' results and torch."""

import numpy as np
import pytest
import torch
from support.depthwise_samples import ACTIVATIONS, draw_image, make, varied, with_epilogue
from support.op_tests import CPU_AND_CUDA, OpTests, Sample, assert_same_finiteness
from support.tolerances import assert_close

from frnet import ops
from frnet.ops import reference

# torch's own, of the reference where there is no more than one value.
pytestmark = pytest.mark.filterwarnings("ignore:std.*degrees of freedom")


def gate(batch, channels, size, groups, layout="nchw") -> Sample:
    height, width = size if isinstance(size, tuple) else (size, size)
    sample = Sample({"x": draw_image(batch, channels, height, width, layout)}, differentiable=("x",))
    return sample.adding({"weight": (groups,), "bias": (groups,)}, groups=groups)


class TestSgeGate(OpTests):
    samples = {
        f"{layout}-{name}": gate(*shape, layout=layout)
        for layout in ("nchw", "channels_last")
        for name, shape in {
            "2-pixels": (2, 16, (1, 2), 4),
            "7": (3, 24, 7, 8),
            "41": (1, 6, 41, 2),
            "wide": (2, 8, (3, 131), 1),
            "one-channel-per-group": (2, 13, (5, 9), 13),
            "many-channels": (1, 320, 4, 8),
            "large-group": (1, 96, (6, 5), 1),
            "batch-17": (17, 8, (4, 5), 4),
            "empty": (0, 8, 5, 2),
        }.items()
    } | {
        "sliced": gate(2, 8, (6, 9), 2, "sliced"),
        "transposed": gate(2, 8, (6, 9), 2, "transposed"),
        "small": gate(2, 4, (3, 4), 2),
        "small-channels-last": gate(1, 6, 3, 2, "channels_last"),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.sge_gate)
    reference = staticmethod(reference.sge_gate)


def behind(sample: Sample, activation: str, groups: int) -> Sample:
    return with_epilogue(sample, activation).adding({"sge_weight": (groups,), "sge_bias": (groups,)}, groups=groups)


BEHIND = {
    f"{name}-{activation}": behind(sample, activation, 4)
    for (name, sample), activation in zip(varied().items(), ACTIVATIONS * 3, strict=False)
}


class TestDepthwiseConv2dSge(OpTests):
    samples = BEHIND | {
        "sliced-none": BEHIND["sliced-none"].without_16_bits(),
        "no-epilogue": make(2, 16, 9, 3, 1, 1).adding({"sge_weight": (2,), "sge_bias": (2,)}, groups=2),
        "one-group": behind(make(2, 16, 9, 3, 1, 1, bias=False), "hardswish", 1).without_16_bits(),
        "empty": behind(make(0, 8, 5, 3), "relu", 2),
        "small": behind(make(2, 4, (5, 4), 3, 2, 1), "silu", 2),
        "small-channels-last": behind(make(1, 3, 5, 3, layout="channels_last"), "relu6", 3),
    }
    small = ["small", "small-channels-last"]

    op = staticmethod(ops.depthwise_conv2d_sge)
    reference = staticmethod(reference.depthwise_conv2d_sge)


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("module", "dtype", "layout", "device"),
    [
        (reference, torch.float64, torch.contiguous_format, "cpu"),
        *[
            pytest.param(ops, torch.float32, layout, device, marks=marks)
            for layout in (torch.contiguous_format, torch.channels_last)
            for device, marks in (("cpu", ()), ("cuda", pytest.mark.cuda))
        ],
    ],
)
def test_the_authors_module(shared, case, module, dtype, layout, device):
    """Result and gradients that the authors' code gave, with r as the upstream gradient."""
    golden = np.load(shared / "golden" / "sge_reference.npz")

    def tensor(name):
        return torch.from_numpy(golden[f"{case}_{name}"])

    x = tensor("x").to(device, dtype).contiguous(memory_format=layout).requires_grad_()
    weight, bias = (tensor(name).flatten().to(device, dtype).requires_grad_() for name in ("weight", "bias"))
    y = module.sge_gate(x, weight, bias, int(golden[f"{case}_groups"]))
    y.backward(tensor("r").to(device, dtype))
    assert_close(y, tensor("y"), "forward", torch.float32)
    for got, name in ((x.grad, "gx"), (weight.grad, "gw"), (bias.grad, "gb")):
        assert_close(got, tensor(name).reshape(got.shape), "gradient", torch.float32)


@pytest.mark.parametrize("device", CPU_AND_CUDA)
def test_a_constant_image_has_no_deviation(device):
    """The deviation is zero: 1e-5 keeps the result finite, and torch's gradient of a deviation is zero there."""
    double = dict(device=device, dtype=torch.float64)  # the gradient has 1 / 1e-5 in it, and rounding with it
    x = torch.ones(1, 4, 4, 4, **double).requires_grad_()
    weight, bias = (torch.tensor([0.5, -1.0], **double).requires_grad_() for _ in range(2))
    results = []
    for module in (ops, reference):
        y = module.sge_gate(x, weight, bias, 2)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, weight, bias))))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_what_is_not_finite_spreads_as_in_torch(value, layout):
    x, weight, bias = gate(2, 8, 5, 4, layout).on("cpu", torch.float32)
    with torch.no_grad():
        x[1, 2, 3, 3] = value
    assert_same_finiteness(
        lambda *tensors: ops.sge_gate(*tensors, 4), lambda *tensors: reference.sge_gate(*tensors, 4), (x, weight, bias)
    )


def test_one_pixel_has_no_deviation():
    tensors = gate(2, 8, 1, 4).on("cpu", torch.float32)
    assert ops.sge_gate(*tensors, 4).isnan().all()
    assert_same_finiteness(
        lambda *tensors: ops.sge_gate(*tensors, 4), lambda *tensors: reference.sge_gate(*tensors, 4), tensors
    )


def test_autocast_and_parameters_of_another_dtype():
    sample = behind(make(2, 8, 6, 3), "relu", 2)
    tensors = sample.on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (y,) = sample.call(ops.depthwise_conv2d_sge, tensors)
        assert ops.sge_gate(tensors[0], *tensors[5:], 2).dtype == torch.bfloat16
    lowered = [t.detach().bfloat16() if i < 3 else t for i, t in enumerate(tensors)]
    assert torch.equal(y, *sample.call(ops.depthwise_conv2d_sge, lowered))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y.sum().backward()
    assert {tensor.grad.dtype for tensor in tensors} == {torch.float32}

    halves = [t.detach().bfloat16().requires_grad_() for t in tensors]
    sample.call(ops.depthwise_conv2d_sge, halves)[0].sum().backward()
    assert {tensor.grad.dtype for tensor in halves} == {torch.bfloat16}


X = torch.zeros(2, 4, 8, 8)
BAD_GATES = [
    (dict(groups=3), ValueError, "groups must divide the 4 channels of x, got 3"),
    (dict(groups=0), ValueError, "groups must be at least 1, got 0"),
    (dict(groups=2.0), TypeError, "groups must be an int, got 2.0"),
    (dict(x=X.long()), TypeError, "x must be float32, .*got int64"),
    (dict(x=X[0]), ValueError, "x must have shape"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD_GATES,
        (dict(weight=torch.zeros(4)), ValueError, r"weight must have shape \[2\], \[groups\], got \[4\]"),
        (dict(weight=torch.zeros(1, 2, 1, 1)), ValueError, r"weight must have shape \[groups\], got \[1, 2, 1, 1\]"),
        (dict(bias=torch.zeros(2).to("meta")), ValueError, "bias must be on x's device cpu, got meta"),
        (dict(bias=torch.zeros(2).int()), TypeError, "bias must be float32, got int32"),
        (dict(bias=None), TypeError, "bias must be a torch.Tensor .*got NoneType"),
    ],
)
def test_bad_arguments_of_the_gate_are_named(arguments, error, message):
    good = dict(x=X, weight=torch.zeros(2), bias=torch.zeros(2), groups=2)
    with pytest.raises(error, match=f"^sge_gate: {message}"):
        ops.sge_gate(**(good | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *BAD_GATES,
        (dict(sge_weight=torch.zeros(4)), ValueError, r"sge_weight must have shape \[2\], \[groups\], got \[4\]"),
        (dict(weight=torch.zeros(4, 1, 3, 3).half()), TypeError, "weight must be float32, got float16"),
        (dict(activation="gelu"), ValueError, "activation must be one of"),
    ],
)
def test_bad_arguments_behind_a_convolution_are_named(arguments, error, message):
    good = dict(x=X, weight=torch.zeros(4, 1, 3, 3), sge_weight=torch.zeros(2), sge_bias=torch.zeros(2), groups=2)
    with pytest.raises(error, match=f"^depthwise_conv2d_sge: {message}"):
        ops.depthwise_conv2d_sge(**(good | arguments))
