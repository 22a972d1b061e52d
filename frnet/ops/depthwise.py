"""Depthwise convolution."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.autocast import register_autocast
from frnet.ops.checks import check_device, check_dtype, check_pair, check_tensor
from frnet.ops.device import autocast_is_on, check_built_for

__all__ = ["depthwise_conv2d"]

_OP = "depthwise_conv2d"
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def depthwise_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> torch.Tensor:
    r"""Depthwise 2-D convolution: every channel with its own kernel.

    .. math:: y_{n,c,i,j} = b_c + \sum_{u,v} w_{c,u,v}\, x_{n,c,\; i s_h - p_h + u d_h,\; j s_w - p_w + v d_w}

    with zeros outside ``x``. Equals ``torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation,
    groups=channels)``. The result keeps the memory format of ``x``: channels_last in, channels_last out.
    Differentiable once in ``x``, ``weight`` and ``bias``; bit-identical from run to run and for any number
    of threads. Under autocast it computes in the autocast dtype. float16 and bfloat16 accumulate in float32.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0.
        weight: [channels, 1, kernel_h, kernel_w], of x's dtype and device. No size is excluded; 3x3 and 5x5 with
            stride 1 or 2 and dilation 1 are the fast ones.
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.

    Returns:
        [batch, channels, out_height, out_width] with
        out = floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size or device does not fit; the kernel is larger than the padded input.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Howard et al., MobileNets, 2017, section 3.1, equation 3.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.ones(1, 2, 4, 4)
        >>> ops.depthwise_conv2d(x, torch.ones(2, 1, 3, 3), stride=2, padding=1)[0, 0]
        tensor([[4., 6.],
                [6., 9.]])
    """
    stride_h, stride_w = (stride, stride) if type(stride) is int else check_pair(_OP, "stride", stride, 1)
    padding_h, padding_w = (padding, padding) if type(padding) is int else check_pair(_OP, "padding", padding, 0)
    dilation_h, dilation_w = (dilation, dilation) if type(dilation) is int else check_pair(_OP, "dilation", dilation, 1)
    options = (stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w)
    try:
        return torch.ops.frnet.depthwise_conv2d.default(x, weight, bias, *options)
    except (RuntimeError, TypeError):
        # The op refuses what does not fit before it does anything. Saying what is wrong here, in words a
        # caller can use, leaves nothing to check on the way that succeeds.
        _check(x, weight, bias, *options)
        raise


def _check(x, weight, bias, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w) -> None:
    """Raises what the docstring of depthwise_conv2d promises."""
    check_pair(_OP, "stride", (stride_h, stride_w), 1)
    check_pair(_OP, "padding", (padding_h, padding_w), 0)
    check_pair(_OP, "dilation", (dilation_h, dilation_w), 1)
    check_tensor(_OP, "x", x, "[batch, channels, height, width]")
    check_tensor(_OP, "weight", weight, "[channels, 1, kernel_h, kernel_w]")
    check_dtype(_OP, "x", x, _DTYPES)
    channels = x.shape[1]
    if weight.shape[0] != channels or weight.shape[1] != 1:
        raise ValueError(
            f"{_OP}: weight must have shape [channels, 1, kernel_h, kernel_w] with the {channels} channels of x, "
            f"got {list(weight.shape)}"
        )
    # Under autocast the dtypes are brought together on the way.
    dtypes = _DTYPES if autocast_is_on(x.device) else (x.dtype,)
    check_dtype(_OP, "weight", weight, dtypes)
    check_device(_OP, "weight", weight, "x", x)
    if bias is not None:
        check_tensor(_OP, "bias", bias, "[channels]")
        if bias.shape[0] != channels:
            raise ValueError(f"{_OP}: bias must have shape [{channels}], the channels of x, got {list(bias.shape)}")
        check_dtype(_OP, "bias", bias, dtypes)
        check_device(_OP, "bias", bias, "x", x)
    kernel_h, kernel_w = weight.shape[2], weight.shape[3]
    if (
        min(kernel_h, kernel_w) < 1
        or _output_size(x.shape[2], kernel_h, stride_h, padding_h, dilation_h) < 1
        or _output_size(x.shape[3], kernel_w, stride_w, padding_w, dilation_w) < 1
    ):
        raise ValueError(
            f"{_OP}: weight's kernel {kernel_h}x{kernel_w} with dilation ({dilation_h}, {dilation_w}) must be at least "
            f"1x1 and fit the padded input {x.shape[2] + 2 * padding_h}x{x.shape[3] + 2 * padding_w}"
        )
    check_built_for(_OP, x.device)


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    """The layout the kernels choose: channels_last where x is dense in that order alone."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


@torch.library.register_fake("frnet::depthwise_conv2d")
def _fake(x, weight, bias, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w):
    _check(x, weight, bias, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w)
    height = _output_size(x.shape[2], weight.shape[2], stride_h, padding_h, dilation_h)
    width = _output_size(x.shape[3], weight.shape[3], stride_w, padding_w, dilation_w)
    return torch.empty(
        (x.shape[0], x.shape[1], height, width),
        dtype=x.dtype,
        device=x.device,
        memory_format=_memory_format(x),
    )


@torch.library.register_fake("frnet::depthwise_conv2d_backward")
def _fake_backward(grad_y, x, weight, *options):
    needs_x, needs_weight, needs_bias = options[-3:]
    none = x.new_empty(0)
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=_memory_format(x))
    grad_weight = weight.new_empty(weight.shape)
    grad_bias = weight.new_empty(weight.shape[0])
    return (
        grad_x if needs_x else none,
        grad_weight if needs_weight or needs_bias else x.new_empty(0),
        grad_bias if needs_bias else x.new_empty(0),
    )


def _setup_context(ctx, inputs, output):
    x, weight, _, *options = inputs
    ctx.save_for_backward(x, weight)
    ctx.options = options


def _backward(ctx, grad_y):
    x, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad[:3]
    gradients = torch.ops.frnet.depthwise_conv2d_backward.default(grad_y, x, weight, *ctx.options, *needs)
    return (*(g if needed else None for g, needed in zip(gradients, needs, strict=True)), *[None] * 6)


def _double_backward(ctx, *gradients):
    raise NotImplementedError("depthwise_conv2d: there is no second derivative; it is differentiable once")


torch.library.register_autograd("frnet::depthwise_conv2d", _backward, setup_context=_setup_context)
torch.library.register_autograd("frnet::depthwise_conv2d_backward", _double_backward)
register_autocast("depthwise_conv2d", lower=True)
