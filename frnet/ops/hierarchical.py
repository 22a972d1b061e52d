"""The multi-scale depthwise stage: chained splits of the channels."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, register_gradient, run, without_autocast
from frnet.ops.checks import accumulation_dtype, check_divides
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
from frnet.ops.sge import check_sge

__all__ = ["check_splits", "hierarchical_depthwise_conv2d"]

_OP = "hierarchical_depthwise_conv2d"


def hierarchical_depthwise_conv2d(
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
    splits: int = 4,
    out_scale: torch.Tensor | None = None,
    out_shift: torch.Tensor | None = None,
    sge_weight: torch.Tensor | None = None,
    sge_bias: torch.Tensor | None = None,
    groups: int = 0,
) -> torch.Tensor:
    r"""Multi-scale depthwise stage: equal splits of the channels, each convolved, chained where the stride is 1.

    .. math::
        u_0 &= a(\mathrm{scale}_0\, (w_0 * x_0 + b_0) + \mathrm{shift}_0) \\
        u_i &= a(\mathrm{scale}_i\, (w_i * (x_i + u_{i-1}) + b_i) + \mathrm{shift}_i) \\
        y &= \mathrm{sge}\big(\mathrm{out\_scale}\,[u_0, u_1, \dots] + \mathrm{out\_shift}\big)

    Each split takes its own slice of weight, bias, scale and shift; :math:`*` is ``depthwise_conv2d``. With a stride
    other than 1 the splits are not chained: :math:`u_i` is made of :math:`x_i` alone. out_scale and out_shift are
    where a batch normalisation behind the concatenation is folded; without ``groups`` there is no gate. The backward
    pass computes u again instead of saving it. Differentiable once in every tensor; bit-identical from run to run
    and for any number of threads. Under autocast ``x``, ``weight`` and ``bias`` are taken in the autocast dtype.
    Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], as all up to activation in ``depthwise_conv2d``.
        weight: [channels, 1, kernel_h, kernel_w].
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1. Where both are 1, padding must keep the size of x.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        scale: [channels] or None; of every split before its activation.
        shift: [channels] or None.
        activation: "none", "relu", "relu6", "hardswish" or "silu"; of every split.
        splits: number of equal splits; divides the channels.
        out_scale: [channels] or None; float32 (float64 where x is), cast to it from another floating dtype.
        out_shift: as out_scale.
        sge_weight: [groups], as ``sge_gate``'s weight; None where groups is 0.
        sge_bias: as sge_weight.
        groups: of the gate behind; divides the channels. 0 for no gate.

    Returns:
        y, [batch, channels, out_height, out_width], of x's dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; splits or groups does not divide the channels; a
            chain's result has another size than its input.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Gao et al., Res2Net, 2019, figure 2 and equation 1, with depthwise convolutions.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.ones(1, 4, 1, 2)
        >>> ops.hierarchical_depthwise_conv2d(x, torch.ones(4, 1, 1, 1))[0, :, 0]
        tensor([[1., 1.],
                [2., 2.],
                [3., 3.],
                [4., 4.]])
    """
    if not isinstance(x, torch.Tensor) and is_array(x):
        epilogues = dict(scale=scale, shift=shift, out_scale=out_scale, out_shift=out_shift)
        return run_on_arrays(
            hierarchical_depthwise_conv2d,
            dict(x=x, weight=weight, bias=bias, **epilogues, sge_weight=sge_weight, sge_bias=sge_bias),
            **dict(stride=stride, padding=padding, dilation=dilation),
            **dict(activation=activation, splits=splits, groups=groups),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    epilogue = accumulated(x, scale, shift)
    behind = accumulated(x, out_scale, out_shift, sge_weight, sge_bias)
    try:
        if groups == 0 and (sge_weight is not None or sge_bias is not None):
            raise TypeError("the op would not read them")
        return run("hierarchical_depthwise_conv2d", x, weight, bias, *options, *epilogue, code, splits, *behind, groups)
    except (RuntimeError, TypeError):
        _check(x, weight, bias, options, *epilogue, splits, *behind, groups)
        raise


def check_splits(op: str, x, weight, options, splits) -> None:
    """Raises where splits does not divide the channels, or a chain does not keep the size of its planes."""
    check_divides(op, "splits", splits, x.shape[1])
    if options[0] == options[1] == 1:
        height, width = result_size(x, weight, options)
        if (height, width) != tuple(x.shape[2:]):
            raise ValueError(
                f"{op}: padding must keep the size {x.shape[2]}x{x.shape[3]} of x where stride is 1, since a split's "
                f"result is added to the next one's input; got {options[2:4]}, which gives {height}x{width}"
            )


def _check(x, weight, bias, options, scale, shift, splits, out_scale, out_shift, sge_weight, sge_bias, groups) -> None:
    """Raises what the docstring of hierarchical_depthwise_conv2d promises."""
    epilogues = dict(scale=scale, shift=shift, out_scale=out_scale, out_shift=out_shift)
    check_convolution(_OP, x, weight, bias, options, **epilogues)
    check_splits(_OP, x, weight, options, splits)
    if groups != 0:
        check_sge(_OP, x, groups, sge_weight=sge_weight, sge_bias=sge_bias)
    elif sge_weight is not None or sge_bias is not None:
        raise ValueError(f"{_OP}: groups must be at least 1 where there are sge_weight and sge_bias, got 0")


@torch.library.register_fake("frnet::hierarchical_depthwise_conv2d")
def _fake(x, weight, bias, *rest):
    options, scale, shift, _, splits, *behind = rest[:6], *rest[6:]
    _check(x, weight, bias, options, scale, shift, splits, *behind)
    return empty_result(x, weight, options)


@torch.library.register_fake("frnet::hierarchical_depthwise_conv2d_backward")
def _fake_backward(grad_u, u, x, weight, *rest):
    return fake_convolution_gradients(x, weight, *rest[-5:])


def _setup_context(ctx, inputs, output):
    x, weight, bias, *ctx.options, scale, shift, ctx.activation, ctx.splits = inputs[:13]
    *behind, ctx.groups = inputs[13:]
    ctx.save_for_backward(x, weight, bias, scale, shift, *behind)


def _backward(ctx, grad_y):
    x, weight, bias, scale, shift, *behind = ctx.saved_tensors
    chain = x, weight, bias, *ctx.options, scale, shift, ctx.activation, ctx.splits
    with without_autocast(x):
        u = run("hierarchical_depthwise_conv2d", *chain, None, None, None, None, 0)
    grad_u, *grad_behind = _gradients_behind(ctx, grad_y, u, *behind)
    wanted = wanted_gradients(ctx.needs_input_grad)
    gradients = run("hierarchical_depthwise_conv2d_backward", grad_u, u, *chain, *wanted)
    return *in_argument_places(gradients, wanted), None, None, *grad_behind, None


def _gradients_behind(ctx, grad_y, u, out_scale, out_shift, sge_weight, sge_bias) -> list[torch.Tensor | None]:
    """Gradients of u, out_scale, out_shift, sge_weight and sge_bias, of sge_gate(out_scale u + out_shift)."""
    needs_scale, needs_shift, *needs_gate = ctx.needs_input_grad[13:17]
    grad_v, grad_gate = grad_y, [None, None]
    if ctx.groups:
        v = _affine(u, out_scale, out_shift)
        grad_v, *grad_gate = run("sge_gate_backward", grad_y, v, sge_weight, sge_bias, ctx.groups)
    dtype = accumulation_dtype(u)
    grad_scale = (grad_v.to(dtype) * u).sum((0, 2, 3)) if needs_scale else None
    grad_shift = grad_v.sum((0, 2, 3), dtype=dtype) if needs_shift else None
    return [_affine(grad_v, out_scale, None), grad_scale, grad_shift, *only_wanted(grad_gate, needs_gate)]


def _affine(value: torch.Tensor, scale: torch.Tensor | None, shift: torch.Tensor | None) -> torch.Tensor:
    """scale value + shift, rounded once."""
    result = value if scale is None else value * scale[:, None, None]
    if shift is not None:
        result = result + shift[:, None, None]
    return result.to(value.dtype)


register_gradient("hierarchical_depthwise_conv2d", _backward, _setup_context)
refuse_second_derivative("hierarchical_depthwise_conv2d")
register_autocast("hierarchical_depthwise_conv2d", lower=("x", "weight", "bias"))
