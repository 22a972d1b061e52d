"""Spatial group-wise enhance."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, register_gradient, run
from frnet.ops.checks import check_accumulated, check_divides, check_image, image_layout
from frnet.ops.convolution import (
    accumulated,
    check_convolution,
    convolution_options,
    empty_result,
    fake_convolution_gradients,
    in_argument_places,
    wanted_gradients,
)
from frnet.ops.device import check_built_for

__all__ = ["check_sge", "depthwise_conv2d_sge", "sge_gate"]

_GATE = "sge_gate"
_OP = "depthwise_conv2d_sge"


def sge_gate(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int) -> torch.Tensor:
    r"""Spatial group-wise enhance: each group of channels is scaled, pixel by pixel, by how much the pixel resembles
    the group's mean.

    .. math::
        t_p &= \sum_{c} \bar x_c\, x_{c,p}, \qquad \hat t_p = \frac{t_p - \bar t}{\mathrm{std}(t) + 10^{-5}} \\
        y_{c,p} &= x_{c,p}\; \sigma(w_g \hat t_p + b_g)

    over the channels c and the pixels p of each group g of each image, with :math:`\bar x_c` the mean of a plane and
    std the unbiased deviation, so that a plane of one pixel gives NaN. The result keeps the memory format of ``x``.
    Differentiable once in every tensor; bit-identical from run to run and for any number of threads. Under autocast
    ``x`` is taken in the autocast dtype. NumPy and CuPy arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0.
        weight: [groups]; float32 (float64 where x is), cast to it from another floating dtype.
        bias: as weight.
        groups: number of groups of neighbouring channels; divides the channels.

    Returns:
        y, of x's shape, dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported.
        ValueError: a shape or device does not fit; groups does not divide the channels.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Li, Hu and Yang, Spatial Group-wise Enhance, 2019, equations 1 to 5, with the deviation of their code.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> ops.sge_gate(x, torch.ones(1), torch.zeros(1), groups=1)
        tensor([[[[0.2383, 0.8087],
                  [1.7869, 3.0467]]]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(sge_gate, dict(x=x, weight=weight, bias=bias), groups=groups)
    weight_, bias_ = accumulated(x, weight, bias)
    try:
        return run("sge_gate", x, weight_, bias_, groups)
    except (RuntimeError, TypeError):
        _check_gate(x, weight_, bias_, groups)
        raise


def depthwise_conv2d_sge(
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
    sge_weight: torch.Tensor,
    sge_bias: torch.Tensor,
    groups: int,
) -> torch.Tensor:
    r"""Depthwise 2-D convolution with scale, shift and activation, then spatial group-wise enhance.

    .. math:: y_{c,p} = u_{c,p}\; \sigma(w_g \hat t_p + b_g)

    with u the result of ``depthwise_conv2d(x, weight, bias, stride, padding, dilation, scale, shift, activation)``
    and :math:`\hat t` made of u as in ``sge_gate``. The backward pass computes u again instead of saving it.
    Differentiable once in every tensor; bit-identical from run to run and for any number of threads. Under autocast
    ``x``, ``weight`` and ``bias`` are taken in the autocast dtype. Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], as all up to activation in ``depthwise_conv2d``.
        weight: [channels, 1, kernel_h, kernel_w].
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        scale: [channels] or None.
        shift: [channels] or None.
        activation: "none", "relu", "relu6", "hardswish" or "silu".
        sge_weight: [groups], as ``sge_gate``'s weight.
        sge_bias: [groups].
        groups: number of groups of neighbouring channels; divides the channels.

    Returns:
        y, [batch, channels, out_height, out_width], of x's dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; groups does not divide the channels.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Li, Hu and Yang, Spatial Group-wise Enhance, 2019, equations 1 to 5, with the deviation of their code.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> ops.depthwise_conv2d_sge(
        ...     x, torch.ones(1, 1, 1, 1), sge_weight=torch.ones(1), sge_bias=torch.zeros(1), groups=1
        ... )
        tensor([[[[0.2383, 0.8087],
                  [1.7869, 3.0467]]]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        parameters = dict(scale=scale, shift=shift, sge_weight=sge_weight, sge_bias=sge_bias)
        return run_on_arrays(
            depthwise_conv2d_sge,
            dict(x=x, weight=weight, bias=bias, **parameters),
            **dict(stride=stride, padding=padding, dilation=dilation, activation=activation, groups=groups),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    scale_, shift_, *gate = accumulated(x, scale, shift, sge_weight, sge_bias)
    try:
        return run("depthwise_conv2d_sge", x, weight, bias, *options, scale_, shift_, code, *gate, groups)
    except (RuntimeError, TypeError):
        _check(x, weight, bias, options, scale_, shift_, *gate, groups)
        raise


def check_sge(op: str, x, groups, **gate) -> None:
    """Raises where the two parameters of a gate do not fit x's channels."""
    check_divides(op, "groups", groups, x.shape[1])
    for name, value in gate.items():
        check_accumulated(op, name, value, x, (groups,), "[groups]")


def _check(x, weight, bias, options, scale, shift, sge_weight, sge_bias, groups) -> None:
    """Raises what the docstring of depthwise_conv2d_sge promises."""
    check_convolution(_OP, x, weight, bias, options, scale=scale, shift=shift)
    check_sge(_OP, x, groups, sge_weight=sge_weight, sge_bias=sge_bias)


def _check_gate(x, weight, bias, groups) -> None:
    """Raises what the docstring of sge_gate promises."""
    check_image(_GATE, x)
    check_sge(_GATE, x, groups, weight=weight, bias=bias)
    check_built_for(_GATE, x.device)


@torch.library.register_fake("frnet::sge_gate")
def _fake_gate(x, weight, bias, groups):
    _check_gate(x, weight, bias, groups)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))


@torch.library.register_fake("frnet::sge_gate_backward")
def _fake_gate_backward(grad_y, x, weight, bias, groups):
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))
    return grad_x, weight.new_empty(groups), bias.new_empty(groups)


@torch.library.register_fake("frnet::depthwise_conv2d_sge")
def _fake(x, weight, bias, *rest):
    options, scale, shift, gate = rest[:6], rest[6], rest[7], rest[9:]
    _check(x, weight, bias, options, scale, shift, *gate)
    return empty_result(x, weight, options)


@torch.library.register_fake("frnet::depthwise_conv2d_sge_backward")
def _fake_backward(grad_y, x, weight, *rest):
    sge_weight, sge_bias, groups = rest[10:13]
    return *fake_convolution_gradients(x, weight, *rest[-5:]), sge_weight.new_empty(groups), sge_bias.new_empty(groups)


def _gate_setup_context(ctx, inputs, output):
    *tensors, ctx.groups = inputs
    ctx.save_for_backward(*tensors)


def _gate_backward(ctx, grad_y):
    gradients = run("sge_gate_backward", grad_y, *ctx.saved_tensors, ctx.groups)
    return *only_wanted(gradients, ctx.needs_input_grad[:3]), None


def _setup_context(ctx, inputs, output):
    x, weight, bias, *ctx.options, scale, shift, ctx.activation, sge_weight, sge_bias, ctx.groups = inputs
    ctx.save_for_backward(x, weight, bias, scale, shift, sge_weight, sge_bias)


def _backward(ctx, grad_y):
    x, weight, bias, scale, shift, *gate = ctx.saved_tensors
    wanted = wanted_gradients(ctx.needs_input_grad)
    convolution = x, weight, bias, *ctx.options, scale, shift, ctx.activation
    gradients = run("depthwise_conv2d_sge_backward", grad_y, *convolution, *gate, ctx.groups, *wanted)
    of_gate = only_wanted(gradients[5:], ctx.needs_input_grad[12:14])
    return *in_argument_places(gradients[:5], wanted), None, *of_gate, None


register_gradient("sge_gate", _gate_backward, _gate_setup_context)
register_gradient("depthwise_conv2d_sge", _backward, _setup_context)
refuse_second_derivative("sge_gate")
refuse_second_derivative("depthwise_conv2d_sge")
register_autocast("sge_gate", lower=("x",))
register_autocast("depthwise_conv2d_sge", lower=("x", "weight", "bias"))
