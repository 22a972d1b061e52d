"""depthwise_conv2d and its statistics against torch's own convolution."""

import pytest
import torch
import torch.nn.functional as F
from support.depthwise_samples import ACTIVATIONS, NETWORK_SHAPES, make, samples, varied, with_epilogue
from support.op_tests import CPU_AND_CUDA, OpTests, assert_same_finiteness

from frnet import ops
from frnet.ops import reference

EPILOGUES = {
    f"{name}-{activation}": with_epilogue(sample, activation)
    for (name, sample), activation in zip(varied().items(), ACTIVATIONS * 3, strict=False)
}


class TestDepthwiseConv2d(OpTests):
    samples = (
        samples()
        | EPILOGUES
        | {
            "scale-alone": with_epilogue(make(2, 8, 9, 3, 1, 1), "relu", shift=False),
            "shift-alone": with_epilogue(make(2, 8, 9, 3, 1, 1), "hardswish", scale=False),
            "activation-alone": make(2, 8, 9, 3, 1, 1).adding(activation="relu"),
            "small": make(2, 3, (5, 4), 3, 2, 1),
            "small-channels-last": with_epilogue(
                make(2, 3, (5, 4), 3, 1, 1, layout="channels_last"), "relu6", shift=False
            ),
            "small-no-bias": with_epilogue(make(1, 2, 6, (2, 3), 1, (0, 1), 2, bias=False), "silu"),
        }
    )
    small = ["small", "small-channels-last", "small-no-bias"]

    op = staticmethod(ops.depthwise_conv2d)
    reference = staticmethod(reference.depthwise_conv2d)


class TestPooled(OpTests):
    samples = {name: sample.adding(pooled=True) for name, sample in EPILOGUES.items()} | {
        "plain": make(2, 19, 15, 3, 1, 1).adding(pooled=True),
        "empty": make(0, 4, 8, 3, 1, 1).adding(pooled=True),
        "small": with_epilogue(make(2, 3, (5, 4), 3, 2, 1, layout="channels_last"), "hardswish").adding(pooled=True),
    }
    small = ["small"]

    op = staticmethod(ops.depthwise_conv2d)
    reference = staticmethod(reference.depthwise_conv2d)


class TestStatistics(OpTests):
    samples = varied() | {"small": make(2, 3, (5, 4), 3, 2, 1)}
    small = ["small"]

    op = staticmethod(ops.depthwise_conv2d_statistics)
    reference = staticmethod(reference.depthwise_conv2d_statistics)


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

    def call(module):
        return lambda x, weight, bias: module.depthwise_conv2d(x, weight, bias, stride, 1)

    assert_same_finiteness(call(ops), call(reference), (x, weight, bias))


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_what_is_not_finite(value, activation):
    x, weight, bias, scale, shift = with_epilogue(make(1, 4, 6, 3, 1, 1)).on("cpu", torch.float32)
    with torch.no_grad():
        x[0, 0, 2, 3] = value

    def call(module):
        return lambda *tensors: module.depthwise_conv2d(*tensors[:3], 1, 1, 1, *tensors[3:], activation)

    assert_same_finiteness(call(ops), call(reference), (x, weight, bias, scale, shift))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_sides_of_every_kink_and_the_kinks(activation):
    x = torch.tensor(
        [-4.0, -3, -3 + 1e-6, -1, -1e-6, -0.0, 0, 1e-6, 1, 3 - 1e-6, 3, 3 + 1e-6, 6 - 1e-6, 6, 6 + 1e-6, 9]
    )
    results = []
    for module in (ops, reference):
        image = x.reshape(1, 1, 4, 4).clone().requires_grad_()
        y = module.depthwise_conv2d(image, torch.ones(1, 1, 1, 1), activation=activation)
        results.append((y, *torch.autograd.grad(y.sum(), image)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    x, weight, bias, scale, shift = with_epilogue(make(1, 4, 6, 3)).on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        y, pooled = ops.depthwise_conv2d(x.to(dtype), weight, bias, scale=scale, shift=shift, pooled=True)
        mean, _ = ops.depthwise_conv2d_statistics(x.to(dtype), weight, bias)  # mixed dtypes are brought together
    assert (y.dtype, pooled.dtype, mean.dtype) == (dtype, torch.float32, torch.float32)
    y.sum().backward()
    assert weight.grad.dtype == scale.grad.dtype == torch.float32
    expected = ops.depthwise_conv2d(x.to(dtype), weight.to(dtype), bias.to(dtype), scale=scale, shift=shift)
    assert torch.equal(y, expected)


def test_scale_and_shift_of_another_dtype_get_gradients_of_it():
    x, weight, bias, scale, shift = with_epilogue(make(1, 4, 6, 3)).on("cpu", torch.bfloat16)
    scale, shift = (t.detach().bfloat16().requires_grad_() for t in (scale, shift))
    y = ops.depthwise_conv2d(x, weight, bias, scale=scale, shift=shift)
    assert torch.equal(y, ops.depthwise_conv2d(x, weight, bias, scale=scale.float(), shift=shift.float()))
    y.sum().backward()
    assert scale.grad.dtype == shift.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("output", [0, 1])
def test_a_gradient_of_one_of_two_results(output):
    tensors = with_epilogue(make(2, 3, 5, 3), "silu").on("cpu", torch.float64)
    gradients = []
    for module in (ops, reference):
        result = module.depthwise_conv2d(*tensors[:3], scale=tensors[3], shift=tensors[4], pooled=True)[output]
        gradients.append(torch.autograd.grad(result.square().sum(), tensors))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_statistics_of_half_batches_make_a_batch_normalisation_of_the_whole():
    """What SyncBatchNorm does between processes, forward and backward, with autograd through the statistics."""
    x, weight, bias, gamma, beta = make(6, 5, 9, 3, 2, 1).adding({"gamma": (5,), "beta": (5,)}).on("cpu", torch.float64)
    expected = reference.depthwise_conv2d_bn_act(
        *(x, weight, bias, 2, 1), bn_weight=gamma, bn_bias=beta, training=True, activation="hardswish"
    )

    parts = x[:2], x[2:]
    statistics = [ops.depthwise_conv2d_statistics(part, weight, bias, 2, 1) for part in parts]
    share = [part.shape[0] / x.shape[0] for part in parts]
    mean = sum(s * m for s, (m, _) in zip(share, statistics, strict=True))
    variance = sum(s * (v + (m - mean) ** 2) for s, (m, v) in zip(share, statistics, strict=True))
    scale = gamma * torch.rsqrt(variance + 1e-5)
    shift = beta - mean * scale
    y = torch.cat(
        [ops.depthwise_conv2d(p, weight, bias, 2, 1, scale=scale, shift=shift, activation="hardswish") for p in parts]
    )

    torch.testing.assert_close(y, expected)
    tensors = (x, weight, gamma, beta)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(y, tensors, upstream), torch.autograd.grad(expected, tensors, upstream)
    )


X = torch.zeros(2, 4, 8, 8)
W = torch.zeros(4, 1, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(x=[1]), TypeError, "x must be a torch.Tensor .*got list"),
        (dict(x=X[0]), ValueError, r"x must have shape .*got \[4, 8, 8\]"),
        (dict(x=X.int()), TypeError, "x must be float32, float64, float16 or bfloat16, got int32"),
        (dict(weight=W[:3]), ValueError, r"weight .*with the 4 channels of x, got \[3, 1, 3, 3\]"),
        (dict(weight=W.expand(4, 2, 3, 3)), ValueError, "weight must have shape"),
        (dict(weight=W.double()), TypeError, "weight must be float32, got float64"),
        (dict(weight=W.to("meta")), ValueError, "weight must be on x's device cpu, got meta"),
        (dict(weight=W.numpy()), TypeError, "weight must be a torch.Tensor .*got ndarray"),
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
        (dict(scale=torch.ones(3)), ValueError, r"scale must have shape \[4\], \[channels\], got \[3\]"),
        (dict(shift=torch.ones(4, 1)), ValueError, r"shift must have shape \[channels\], got \[4, 1\]"),
        (dict(scale=torch.ones(4).int()), TypeError, "scale must be float32, got int32"),
        (dict(shift=torch.ones(4).to("meta")), ValueError, "shift must be on x's device cpu, got meta"),
        (dict(shift=1.0), TypeError, "shift must be a torch.Tensor .*got float"),
        (dict(activation="gelu"), ValueError, "activation must be one of none, relu, .*silu, got 'gelu'"),
        (dict(activation=None), ValueError, "activation must be one of .*got None"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"depthwise_conv2d: {message}"):
        ops.depthwise_conv2d(**({"x": X, "weight": W} | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(x=X[:0]), ValueError, r"x must have a batch of at least 1 .*got \[0, 4, 8, 8\]"),
        (dict(weight=W.half()), TypeError, "weight must be float32, got float16"),
    ],
)
def test_bad_arguments_of_statistics_are_named(arguments, error, message):
    with pytest.raises(error, match=f"depthwise_conv2d_statistics: {message}"):
        ops.depthwise_conv2d_statistics(**({"x": X, "weight": W} | arguments))


def test_under_autocast_float64_stays_and_is_not_mixed():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.depthwise_conv2d(X.double(), W.double()).dtype == torch.float64
        with pytest.raises(TypeError, match="weight must be float64, got float32"):
            ops.depthwise_conv2d(X.double(), W)
        with pytest.raises(TypeError, match="weight must be float32, float16 or bfloat16, got float64"):
            ops.depthwise_conv2d(X, W.double())


def test_the_raw_op_refuses_what_would_read_past_a_buffer():
    with pytest.raises(RuntimeError, match="larger than the padded input"):
        torch.ops.frnet.depthwise_conv2d(X, torch.zeros(4, 1, 9, 9), None, 1, 1, 0, 0, 1, 1, None, None, 0)
    with pytest.raises(RuntimeError, match="does not fit the output"):
        torch.ops.frnet.depthwise_conv2d_backward(
            X, X, W, None, 1, 1, 0, 0, 1, 1, None, None, 0, None, None, True, True, True, False, False
        )
