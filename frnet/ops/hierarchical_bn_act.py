"""The multi-scale depthwise stage with batch normalisation."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import refuse_second_derivative, run
from frnet.ops.batch_norm import (
    convolve_and_normalise,
    empty_statistics,
    register_training_form,
    save_for_backward,
    saved_arguments,
)
from frnet.ops.convolution import (
    check_convolution,
    convolution_options,
    empty_result,
    fake_convolution_gradients,
    in_argument_places,
    wanted_gradients,
)
from frnet.ops.hierarchical import check_splits

__all__ = ["hierarchical_depthwise_conv2d_bn_act"]

_OP = "hierarchical_depthwise_conv2d_bn_act"


def hierarchical_depthwise_conv2d_bn_act(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    *,
    splits: int = 4,
    bn_weight: torch.Tensor | None = None,
    bn_bias: torch.Tensor | None = None,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
) -> torch.Tensor:
    r"""Multi-scale depthwise stage with a batch normalisation in every split.

    .. math::
        u_0 &= a(\mathrm{bn}_0(w_0 * x_0 + b_0)) \\
        u_i &= a(\mathrm{bn}_i(w_i * (x_i + u_{i-1}) + b_i))

    over equal splits of the channels, each with its own slice of the parameters; the result is the concatenation of
    the :math:`u_i`. Chained, as written, where the stride is 1; otherwise :math:`u_i` is made of :math:`x_i` alone.
    In training the statistics are taken in the convolutions' own passes, and the backward pass needs no more than
    the inputs and the result. Otherwise the running statistics are folded into the scale and shift of
    ``hierarchical_depthwise_conv2d``. Differentiable once in ``x``, ``weight``, ``bias``, ``bn_weight`` and
    ``bn_bias``; bit-identical from run to run and for any number of threads. Under autocast ``x``, ``weight`` and
    ``bias`` are taken in the autocast dtype. Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0,
            of which no statistics are taken.
        weight: [channels, 1, kernel_h, kernel_w], of x's dtype and device.
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1. Where both are 1, padding must keep the size of x.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        splits: number of equal splits; divides the channels.
        bn_weight: gamma, [channels], of any floating dtype, or None for 1.
        bn_bias: beta, [channels], of any floating dtype, or None for 0.
        running_mean: [channels], of any floating dtype. In training it may be None; else it is updated in place.
        running_var: as running_mean; updated with the unbiased variance.
        training: whether to normalise by the batch's statistics or by the running ones.
        momentum: the batch's share in the new running statistics, in [0, 1].
        eps: added to the variance.
        activation: "none", "relu", "relu6", "hardswish" or "silu"; of every split.

    Returns:
        u, [batch, channels, out_height, out_width], of x's dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; splits does not divide the channels; a chain's result
            has another size than its input; there are no running statistics to normalise by; a training batch has
            fewer than two values per channel.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Gao et al., Res2Net, 2019, figure 2 and equation 1; Ioffe and Szegedy, Batch Normalization, 2015.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([[1.0, -1.0], [2.0, 0.0]]).reshape(1, 2, 1, 2)
        >>> ops.hierarchical_depthwise_conv2d_bn_act(x, torch.ones(2, 1, 1, 1), splits=2, training=True)[0, :, 0]
        tensor([[ 1.0000, -1.0000],
                [ 1.0000, -1.0000]])
    """
    parameters = dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var)
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            hierarchical_depthwise_conv2d_bn_act,
            dict(x=x, weight=weight, bias=bias, **parameters),
            updated=("running_mean", "running_var") if training else (),
            **dict(stride=stride, padding=padding, dilation=dilation, splits=splits),
            **dict(training=training, momentum=momentum, eps=eps, activation=activation),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    return convolve_and_normalise(
        _OP,
        "hierarchical_depthwise_conv2d",
        (x, weight, bias, *options),
        parameters,
        (training, momentum, eps),
        code,
        behind=(splits,),
        only_in_evaluation=(None, None, None, None, 0),
        check=lambda: check_splits(_OP, x, weight, options, splits),
    )


@torch.library.register_fake("frnet::hierarchical_depthwise_conv2d_bn_act")
def _fake(x, weight, bias, *rest):
    options, gamma, beta, splits = rest[:6], rest[6], rest[7], rest[10]
    check_convolution(_OP, x, weight, bias, options, bn_weight=gamma, bn_bias=beta)
    check_splits(_OP, x, weight, options, splits)
    return empty_result(x, weight, options), *empty_statistics(x)


@torch.library.register_fake("frnet::hierarchical_depthwise_conv2d_bn_act_backward")
def _fake_backward(grad_u, u, x, weight, *rest):
    return fake_convolution_gradients(x, weight, *rest[-5:])


def _setup_context(ctx, inputs, output):
    save_for_backward(ctx, inputs, output, output[0])
    ctx.splits = inputs[13]


def _backward(ctx, grad_u, grad_mean, grad_variance):
    if grad_u is None:  # nobody needs the one result that has a gradient
        return (None,) * 14
    saved, (u,) = saved_arguments(ctx)
    wanted = wanted_gradients(ctx.needs_input_grad)
    gradients = run("hierarchical_depthwise_conv2d_bn_act_backward", grad_u, u, *saved, ctx.splits, *wanted)
    return *in_argument_places(gradients, wanted), None, None, None


register_training_form(_OP, _backward, _setup_context)
refuse_second_derivative(_OP)
register_autocast(_OP, lower=("x", "weight", "bias"))
