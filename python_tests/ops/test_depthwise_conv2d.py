"""depthwise_conv2d against torch's own convolution."""

import pytest
import torch
import torch.nn.functional as F
from support.depthwise_samples import NETWORK_SHAPES, make, samples
from support.op_tests import CPU_AND_CUDA, OpTests, instruction_sets, run_with_instruction_set

from frnet import ops
from frnet.ops import reference


class TestDepthwiseConv2d(OpTests):
    samples = samples() | {
        "small": make(2, 3, (5, 4), 3, 2, 1),
        "small-channels-last": make(2, 3, (5, 4), 3, 1, 1, layout="channels_last"),
        "small-no-bias": make(1, 2, 6, (2, 3), 1, (0, 1), 2, bias=False),
    }
    small = ["small", "small-channels-last", "small-no-bias"]
    dtypes = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

    op = staticmethod(ops.depthwise_conv2d)
    reference = staticmethod(reference.depthwise_conv2d)

    @staticmethod
    def overload(x, weight, bias, stride, padding, dilation):
        pairs = [(v, v) if isinstance(v, int) else v for v in (stride, padding, dilation)]
        return torch.ops.frnet.depthwise_conv2d.default, (
            x,
            weight,
            bias,
            *(v for pair in pairs for v in pair),
        )


@pytest.mark.parametrize("isa", instruction_sets())
def test_every_instruction_set(isa):
    run_with_instruction_set(isa, f"{__file__}::TestDepthwiseConv2d", "-k", "match_the_reference and cpu")


@pytest.mark.parametrize(("channels", "size", "stride"), NETWORK_SHAPES)
@pytest.mark.parametrize("device", CPU_AND_CUDA)
def test_the_networks_shapes(channels, size, stride, device):
    x, weight, _ = make(2, channels, size, 3, stride, 1).on(device, torch.float32)
    expected = F.conv2d(x, weight, None, stride, 1, 1, channels)
    torch.testing.assert_close(ops.depthwise_conv2d(x, weight, None, stride, 1), expected, rtol=1e-5, atol=1e-5)


def test_the_memory_format_is_kept():
    x = torch.randn(2, 3, 8, 8)
    weight = torch.randn(3, 1, 3, 3)
    assert ops.depthwise_conv2d(x, weight).is_contiguous()
    result = ops.depthwise_conv2d(x.contiguous(memory_format=torch.channels_last), weight)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert not result.is_contiguous()


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_finite_spreads_as_in_torch(layout, size, value, stride):
    x, weight, bias = make(2, 17, size, 3, stride, 1, layout=layout).on("cpu", torch.float32)
    with torch.no_grad():
        x[0, 0, 0, 0] = value
        x[1, 16, size - 1, size - 1] = value
    results = []
    for function in (ops.depthwise_conv2d, reference.depthwise_conv2d):
        y = function(x, weight, bias, stride, 1)
        results.append((y, *torch.autograd.grad(y, (x, weight, bias), torch.ones_like(y))))
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got.isfinite(), expected.isfinite())
        assert torch.equal(got.isnan(), expected.isnan())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    x, weight, bias = make(1, 4, 6, 3).on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        y = ops.depthwise_conv2d(x.to(dtype), weight, bias)  # mixed dtypes are brought together
    assert y.dtype == dtype
    y.sum().backward()
    assert weight.grad.dtype == torch.float32
    expected = ops.depthwise_conv2d(x.to(dtype), weight.to(dtype), bias.to(dtype))
    assert torch.equal(y, expected)


def test_gradients_only_where_asked_for():
    x, weight, bias = make(1, 4, 6, 3).on("cpu", torch.float32)
    for wanted in ([x], [weight], [bias], [x, bias], [weight, bias]):
        for tensor in (x, weight, bias):
            tensor.requires_grad_(any(tensor is w for w in wanted))
        gradients = torch.autograd.grad(ops.depthwise_conv2d(x, weight, bias).sum(), wanted)
        expected = torch.autograd.grad(reference.depthwise_conv2d(x, weight, bias).sum(), wanted)
        for got, want in zip(gradients, expected, strict=True):
            torch.testing.assert_close(got, want)


X = torch.zeros(2, 4, 8, 8)
W = torch.zeros(4, 1, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(x=X.numpy()), TypeError, "x must be a torch.Tensor .*got ndarray"),
        (dict(x=X[0]), ValueError, r"x must have shape .*got \[4, 8, 8\]"),
        (dict(x=X.int()), TypeError, "x must be float32, float64, float16 or bfloat16, got int32"),
        (dict(weight=W[:3]), ValueError, r"weight .*with the 4 channels of x, got \[3, 1, 3, 3\]"),
        (dict(weight=W.expand(4, 2, 3, 3)), ValueError, "weight must have shape"),
        (dict(weight=W.double()), TypeError, "weight must be float32, got float64"),
        (dict(weight=W.to("meta")), ValueError, "weight must be on x's device cpu, got meta"),
        (dict(bias=torch.zeros(3)), ValueError, r"bias must have shape \[4\].*got \[3\]"),
        (dict(bias=torch.zeros(4).half()), TypeError, "bias must be float32, got float16"),
        (dict(stride=0), ValueError, "stride must be at least 1"),
        (dict(stride=(1, 2, 3)), TypeError, "stride must be an int or a pair of ints"),
        (dict(stride=1.5), TypeError, "stride must be an int or a pair of ints, got 1.5"),
        (dict(padding=-1), ValueError, "padding must be at least 0"),
        (dict(dilation=(0, 1)), ValueError, "dilation must be at least 1"),
        (dict(weight=torch.zeros(4, 1, 9, 9)), ValueError, "weight.s kernel 9x9 .*fit the padded input 8x8"),
        (dict(weight=torch.zeros(4, 1, 0, 3)), ValueError, "weight.s kernel 0x3 .*at least 1x1"),
        (dict(x=X.to_sparse()), TypeError, "x must be a dense tensor"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"depthwise_conv2d: {message}"):
        ops.depthwise_conv2d(**({"x": X, "weight": W} | arguments))


def test_the_raw_op_refuses_what_would_read_past_a_buffer():
    with pytest.raises(RuntimeError, match="larger than the padded input"):
        torch.ops.frnet.depthwise_conv2d(X, torch.zeros(4, 1, 9, 9), None, 1, 1, 0, 0, 1, 1)
    with pytest.raises(RuntimeError, match="does not fit the output"):
        torch.ops.frnet.depthwise_conv2d_backward(X, X, W, 1, 1, 0, 0, 1, 1, True, True, True)
