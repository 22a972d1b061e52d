"""Squeeze and excitation."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, GATES, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, register_gradient, run
from frnet.ops.checks import check_accumulated, check_image, check_tensor, image_layout
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

__all__ = ["check_layers", "depthwise_conv2d_se", "fake_layer_gradients", "se_gate"]

_GATE = "se_gate"
_OP = "depthwise_conv2d_se"


def se_gate(
    x: torch.Tensor,
    w1: torch.Tensor,
    b1: torch.Tensor | None,
    w2: torch.Tensor,
    b2: torch.Tensor | None,
    activation: str = "relu",
    gate: str = "sigmoid",
) -> torch.Tensor:
    r"""Squeeze and excitation: every channel is scaled by a gate that two small layers make of all channels' means.

    .. math:: y_{n,c} = x_{n,c}\; g\big(W_2\, a(W_1 \bar x_n + b_1) + b_2\big)_c

    with :math:`\bar x_{n,c}` the mean of ``x`` over the plane. The result keeps the memory format of ``x``.
    Differentiable once in every tensor; bit-identical from run to run and for any number of threads. Under autocast
    ``x`` is taken in the autocast dtype and the layers stay in float32, as they are for any float16 or bfloat16 x.
    NumPy and CuPy arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0.
        w1: [squeezed, channels]; float32 (float64 where x is), cast to it from another floating dtype, as are all
            four. The weight of a 1x1 convolution is it with ``.flatten(1)``.
        b1: [squeezed] or None.
        w2: [channels, squeezed].
        b2: [channels] or None.
        activation: "none", "relu", "relu6", "hardswish" or "silu".
        gate: "sigmoid" or "hardsigmoid".

    Returns:
        y, of x's shape, dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported.
        ValueError: a shape, device or name does not fit.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.ones(1, 2, 1, 2)
        >>> ops.se_gate(x, torch.ones(1, 2), None, torch.tensor([[0.0], [10.0]]), None)
        tensor([[[[0.5000, 0.5000]],
        <BLANKLINE>
                 [[1.0000, 1.0000]]]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(se_gate, dict(x=x, w1=w1, b1=b1, w2=w2, b2=b2), activation=activation, gate=gate)
    codes = function_code(_GATE, "activation", ACTIVATIONS, activation), function_code(_GATE, "gate", GATES, gate)
    layers = accumulated(x, w1, b1, w2, b2)
    try:
        return run("se_gate", x, *layers, *codes)
    except (RuntimeError, TypeError):
        _check_gate(x, *layers)
        raise


def depthwise_conv2d_se(
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
    w1: torch.Tensor,
    b1: torch.Tensor | None = None,
    w2: torch.Tensor,
    b2: torch.Tensor | None = None,
    se_activation: str = "relu",
    gate: str = "sigmoid",
) -> torch.Tensor:
    r"""Depthwise 2-D convolution with scale, shift and activation, then squeeze and excitation.

    .. math:: y_{n,c} = u_{n,c}\; g\big(W_2\, a(W_1 \bar u_n + b_1) + b_2\big)_c

    with u the result of ``depthwise_conv2d(x, weight, bias, stride, padding, dilation, scale, shift, activation)``,
    whose means come from the convolution's own pass. The backward pass computes u again instead of saving it.
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
        activation: "none", "relu", "relu6", "hardswish" or "silu"; of the convolution.
        w1: [squeezed, channels], as all that follow in ``se_gate``.
        b1: [squeezed] or None.
        w2: [channels, squeezed].
        b2: [channels] or None.
        se_activation: "none", "relu", "relu6", "hardswish" or "silu"; between the two layers.
        gate: "sigmoid" or "hardsigmoid".

    Returns:
        y, [batch, channels, out_height, out_width], of x's dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; the kernel is larger than the padded input.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.ones(1, 2, 1, 2)
        >>> ops.depthwise_conv2d_se(x, 2 * torch.ones(2, 1, 1, 1), w1=torch.ones(1, 2), w2=torch.zeros(2, 1))
        tensor([[[[1., 1.]],
        <BLANKLINE>
                 [[1., 1.]]]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            depthwise_conv2d_se,
            dict(x=x, weight=weight, bias=bias, scale=scale, shift=shift, w1=w1, b1=b1, w2=w2, b2=b2),
            **dict(stride=stride, padding=padding, dilation=dilation),
            **dict(activation=activation, se_activation=se_activation, gate=gate),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    codes = function_code(_OP, "se_activation", ACTIVATIONS, se_activation), function_code(_OP, "gate", GATES, gate)
    scale_, shift_, *layers = accumulated(x, scale, shift, w1, b1, w2, b2)
    try:
        return run("depthwise_conv2d_se", x, weight, bias, *options, scale_, shift_, code, *layers, *codes)
    except (RuntimeError, TypeError):
        _check(x, weight, bias, options, scale_, shift_, *layers)
        raise


def _check(x, weight, bias, options, scale, shift, *layers) -> None:
    """Raises what the docstring of depthwise_conv2d_se promises."""
    check_convolution(_OP, x, weight, bias, options, scale=scale, shift=shift)
    check_layers(_OP, x, *layers)


def _check_gate(x, *layers) -> None:
    """Raises what the docstring of se_gate promises."""
    check_image(_GATE, x)
    check_layers(_GATE, x, *layers)
    check_built_for(_GATE, x.device)


def check_layers(op: str, x, w1, b1, w2, b2) -> None:
    """Raises where the two layers of a gate do not fit x's channels."""
    channels = x.shape[1]
    check_tensor(op, "w1", w1, "[squeezed, channels]")
    squeezed = w1.shape[0]
    check_accumulated(op, "w1", w1, x, (squeezed, channels), "[squeezed, channels]")
    if b1 is not None:
        check_accumulated(op, "b1", b1, x, (squeezed,), "[squeezed]")
    check_accumulated(op, "w2", w2, x, (channels, squeezed), "[channels, squeezed]")
    if b2 is not None:
        check_accumulated(op, "b2", b2, x, (channels,), "[channels]")


def fake_layer_gradients(*layers: torch.Tensor | None) -> list[torch.Tensor]:
    """Empty where there is no layer."""
    first = layers[0]
    return [
        first.new_empty(0) if layer is None else torch.empty(layer.shape, dtype=layer.dtype, device=layer.device)
        for layer in layers
    ]


@torch.library.register_fake("frnet::se_gate")
def _fake_gate(x, w1, b1, w2, b2, activation, gate):
    _check_gate(x, w1, b1, w2, b2)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))


@torch.library.register_fake("frnet::se_gate_backward")
def _fake_gate_backward(grad_y, x, *rest):
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))
    return grad_x, *fake_layer_gradients(*rest[:4])


@torch.library.register_fake("frnet::depthwise_conv2d_se")
def _fake(x, weight, bias, *rest):
    options, scale, shift, layers = rest[:6], rest[6], rest[7], rest[9:13]
    _check(x, weight, bias, options, scale, shift, *layers)
    return empty_result(x, weight, options)


@torch.library.register_fake("frnet::depthwise_conv2d_se_backward")
def _fake_backward(grad_y, x, weight, *rest):
    return *fake_convolution_gradients(x, weight, *rest[-5:]), *fake_layer_gradients(*rest[10:14])


def _gate_setup_context(ctx, inputs, output):
    *tensors, activation, gate = inputs
    ctx.save_for_backward(*tensors)
    ctx.codes = activation, gate


def _gate_backward(ctx, grad_y):
    gradients = run("se_gate_backward", grad_y, *ctx.saved_tensors, *ctx.codes)
    return *only_wanted(gradients, ctx.needs_input_grad[:5]), None, None


def _setup_context(ctx, inputs, output):
    x, weight, bias, *ctx.options, scale, shift, ctx.activation, w1, b1, w2, b2, activation, gate = inputs
    ctx.save_for_backward(x, weight, bias, scale, shift, w1, b1, w2, b2)
    ctx.codes = activation, gate


def _backward(ctx, grad_y):
    x, weight, bias, scale, shift, *layers = ctx.saved_tensors
    wanted = wanted_gradients(ctx.needs_input_grad)
    convolution = x, weight, bias, *ctx.options, scale, shift, ctx.activation
    gradients = run("depthwise_conv2d_se_backward", grad_y, *convolution, *layers, *ctx.codes, *wanted)
    of_layers = only_wanted(gradients[5:], ctx.needs_input_grad[12:16])
    return *in_argument_places(gradients[:5], wanted), None, *of_layers, None, None


register_gradient("se_gate", _gate_backward, _gate_setup_context)
register_gradient("depthwise_conv2d_se", _backward, _setup_context)
refuse_second_derivative("se_gate")
refuse_second_derivative("depthwise_conv2d_se")
register_autocast("se_gate", lower=("x",))
register_autocast("depthwise_conv2d_se", lower=("x", "weight", "bias"))
