"""Depthwise convolution, with what usually follows it."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import refuse_second_derivative, register_gradient, run
from frnet.ops.checks import accumulation_dtype
from frnet.ops.convolution import (
    accumulated,
    check_convolution,
    convolution_options,
    empty_result,
    fake_convolution_gradients,
    in_argument_places,
    result_size,
    wanted_gradients,
)

__all__ = ["depthwise_conv2d", "depthwise_conv2d_statistics"]

_OP = "depthwise_conv2d"
_BACKWARD = "depthwise_conv2d_backward"
_POOLED = "depthwise_conv2d_pooled"
_STATISTICS = "depthwise_conv2d_statistics"


def depthwise_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    scale: torch.Tensor | None = None,
    shift: torch.Tensor | None = None,
    activation: str = "none",
    *,
    pooled: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    r"""Depthwise 2-D convolution, every channel with its own kernel, then a scale, a shift and an activation.

    .. math::
        v_{n,c,i,j} &= b_c + \sum_{u,v} w_{c,u,v}\, x_{n,c,\; i s_h - p_h + u d_h,\; j s_w - p_w + v d_w} \\
        y_{n,c,i,j} &= a(\mathrm{scale}_c\, v_{n,c,i,j} + \mathrm{shift}_c)

    with zeros outside ``x``. v equals ``torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation,
    groups=channels)``; scale and shift are where a folded batch normalisation goes. One pass reads ``x`` and writes
    y, the pooled means included. The result keeps the memory format of ``x``: channels_last in, channels_last out.
    Differentiable once in every tensor; bit-identical from run to run and for any number of threads. Under autocast
    ``x``, ``weight`` and ``bias`` are taken in the autocast dtype. float16 and bfloat16 accumulate in float32.

    NumPy arrays, and CuPy arrays on the current CuPy stream, are taken in place of tensors and returned, without a
    copy and without gradients; all of one kind.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0.
        weight: [channels, 1, kernel_h, kernel_w], of x's dtype and device. No size is excluded; 3x3 and 5x5 with
            stride 1 or 2 and dilation 1 are the fast ones.
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        scale: [channels] or None; float32 (float64 where x is), cast to it from another floating dtype.
        shift: as scale.
        activation: "none", "relu", "relu6", "hardswish" or "silu".
        pooled: whether to return the mean of y over each plane too.

    Returns:
        y, [batch, channels, out_height, out_width] with
        out = floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. Where pooled, (y, means) with the
        means [batch, channels] of scale's dtype, taken before y is rounded to its own.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; the kernel is larger than the padded input.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Howard et al., MobileNets, 2017, section 3.1, equation 3.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.ones(1, 2, 4, 4)
        >>> ops.depthwise_conv2d(x, torch.ones(2, 1, 3, 3), stride=2, padding=1, activation="relu6")[0, 0]
        tensor([[4., 6.],
                [6., 6.]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        arrays = dict(x=x, weight=weight, bias=bias, scale=scale, shift=shift)
        pairs = dict(stride=stride, padding=padding, dilation=dilation)
        return run_on_arrays(depthwise_conv2d, arrays, **pairs, activation=activation, pooled=pooled)
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    epilogue = accumulated(x, scale, shift)
    op = _POOLED if pooled else _OP
    try:
        return run(op, x, weight, bias, *options, *epilogue, code)
    except (RuntimeError, TypeError):
        # The op refuses what does not fit before it does anything. Saying what is wrong here, in words a
        # caller can use, leaves nothing to check on the way that succeeds.
        _check(x, weight, bias, *options, *epilogue)
        raise


def depthwise_conv2d_statistics(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Mean and biased variance per channel of a depthwise convolution's result v, which is not stored.

    .. math:: \mu_c = \frac{1}{M} \sum_{n,i,j} v_{n,c,i,j}, \qquad \sigma^2_c = \frac{1}{M} \sum (v_{n,c,i,j} - \mu_c)^2

    over the M = batch x out_height x out_width values of a channel. What batch normalisation across several
    processes (SyncBatchNorm) is made of: combine the processes' statistics, make scale and shift of them, and call
    ``depthwise_conv2d``; gradients flow through the statistics too. Differentiable once in every tensor;
    bit-identical from run to run and for any number of threads. Arrays and autocast as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], as in ``depthwise_conv2d``, with at least one image.
        weight: [channels, 1, kernel_h, kernel_w], of x's dtype and device.
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.

    Returns:
        (mean, variance), [channels] each, float32, or float64 where x is.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size or device does not fit; the batch is empty.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> ops.depthwise_conv2d_statistics(x, torch.full((1, 1, 1, 1), 2.0))
        (tensor([5.]), tensor([5.]))
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        pairs = dict(stride=stride, padding=padding, dilation=dilation)
        return run_on_arrays(depthwise_conv2d_statistics, dict(x=x, weight=weight, bias=bias), **pairs)
    options = convolution_options(_STATISTICS, stride, padding, dilation)
    try:
        result = run(_STATISTICS, x, weight, bias, *options)
    except (RuntimeError, TypeError):
        check_convolution(_STATISTICS, x, weight, bias, options)
        _check_not_empty(x)
        raise
    _check_not_empty(x)
    return result


def _check(x, weight, bias, *rest) -> None:
    """Raises what the docstring of depthwise_conv2d promises."""
    check_convolution(_OP, x, weight, bias, rest[:6], scale=rest[6], shift=rest[7])


def _check_not_empty(x: torch.Tensor) -> None:
    if x.shape[0] == 0:
        raise ValueError(f"{_STATISTICS}: x must have a batch of at least 1 to take statistics of, got {list(x.shape)}")


@torch.library.register_fake("frnet::depthwise_conv2d")
def _fake(x, weight, bias, *rest):
    _check(x, weight, bias, *rest)
    return empty_result(x, weight, rest[:6])


@torch.library.register_fake("frnet::depthwise_conv2d_pooled")
def _fake_pooled(x, weight, bias, *rest):
    return _fake(x, weight, bias, *rest), x.new_empty(x.shape[:2], dtype=accumulation_dtype(x))


@torch.library.register_fake("frnet::depthwise_conv2d_statistics")
def _fake_statistics(x, weight, bias, *options):
    check_convolution(_STATISTICS, x, weight, bias, options)
    dtype = accumulation_dtype(x)
    return x.new_empty(x.shape[1], dtype=dtype), x.new_empty(x.shape[1], dtype=dtype)


@torch.library.register_fake("frnet::depthwise_conv2d_backward")
def _fake_backward(grad_y, x, weight, *rest):
    return fake_convolution_gradients(x, weight, *rest[-5:])


def _setup_context(ctx, inputs, output):
    x, weight, bias, *ctx.options, scale, shift, ctx.activation = inputs
    ctx.save_for_backward(x, weight, bias, scale, shift)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_y):
    x, weight, bias, scale, shift = ctx.saved_tensors
    wanted = wanted_gradients(ctx.needs_input_grad)
    epilogue = scale, shift, ctx.activation, None, None
    gradients = run(_BACKWARD, grad_y, x, weight, bias, *ctx.options, *epilogue, *wanted)
    return *in_argument_places(gradients, wanted), None


def _pooled_backward(ctx, grad_y, grad_pooled):
    if grad_pooled is not None:
        x, weight = ctx.saved_tensors[:2]
        height, width = result_size(x, weight, ctx.options)
        grad_mean = grad_pooled[:, :, None, None]
        if grad_y is None:
            grad_y = (grad_mean / (height * width)).to(x.dtype).expand(-1, -1, height, width)
        else:
            grad_y = torch.add(grad_y, grad_mean, alpha=1 / (height * width)).to(x.dtype)
    return _backward(ctx, grad_y)


def _statistics_setup_context(ctx, inputs, output):
    x, weight, bias, *ctx.options = inputs
    ctx.save_for_backward(x, weight, bias, output[0])


def _statistics_backward(ctx, grad_mean, grad_variance):
    x, weight, bias, mean = ctx.saved_tensors
    height, width = result_size(x, weight, ctx.options)
    count = x.shape[0] * height * width
    # grad_v = grad_mean / count + 2 grad_variance (v - mean) / count
    linear = grad_variance * (2 / count)
    constant = torch.addcmul(grad_mean / count, linear, mean, value=-1)
    wanted = (*ctx.needs_input_grad[:3], False, False)
    epilogue = None, None, ACTIVATIONS["none"], constant, linear
    gradients = run(_BACKWARD, None, x, weight, bias, *ctx.options, *epilogue, *wanted)
    return tuple(in_argument_places(gradients, wanted)[:9])


register_gradient(_OP, _backward, _setup_context)
register_gradient(_POOLED, _pooled_backward, _setup_context)
register_gradient(_STATISTICS, _statistics_backward, _statistics_setup_context)
refuse_second_derivative(_OP)
for _op in (_OP, _POOLED, _STATISTICS):
    register_autocast(_op, lower=("x", "weight", "bias"))
