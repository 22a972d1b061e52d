"""Depthwise convolution, batch normalisation and activation."""

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

__all__ = ["depthwise_conv2d_bn_act"]

_OP = "depthwise_conv2d_bn_act"


def depthwise_conv2d_bn_act(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    *,
    bn_weight: torch.Tensor | None = None,
    bn_bias: torch.Tensor | None = None,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
) -> torch.Tensor:
    r"""Depthwise 2-D convolution, batch normalisation, activation.

    .. math:: y = a\!\left(\gamma_c \frac{v - \mu_c}{\sqrt{\sigma^2_c + \epsilon}} + \beta_c\right)

    with v the result of ``depthwise_conv2d(x, weight, bias, stride, padding, dilation)``. Equals
    ``F.batch_norm(v, running_mean, running_var, bn_weight, bn_bias, training, momentum, eps)`` and the activation.
    In training the mean and the biased variance of each channel are taken in the convolution's own pass; v is
    neither stored nor saved, the backward pass computes it again. Otherwise the running statistics are folded into
    ``depthwise_conv2d``'s scale and shift. Differentiable once in ``x``, ``weight``, ``bias``, ``bn_weight`` and
    ``bn_bias``; bit-identical from run to run and for any number of threads. Under autocast ``x``, ``weight`` and
    ``bias`` are taken in the autocast dtype. Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0,
            of which no statistics are taken.
        weight: [channels, 1, kernel_h, kernel_w], of x's dtype and device.
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        bn_weight: gamma, [channels], of any floating dtype, or None for 1.
        bn_bias: beta, [channels], of any floating dtype, or None for 0.
        running_mean: [channels], of any floating dtype. In training it may be None; else it is updated in place.
        running_var: as running_mean; updated with the unbiased variance.
        training: whether to normalise by the batch's statistics or by the running ones.
        momentum: the batch's share in the new running statistics, in [0, 1].
        eps: added to the variance.
        activation: "none", "relu", "relu6", "hardswish" or "silu".

    Returns:
        y, [batch, channels, out_height, out_width], of x's dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from x's.
        ValueError: a shape, size, device or name does not fit; there are no running statistics to normalise by; a
            training batch has fewer than two values per channel.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithms 1 and 2.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> mean, variance = torch.zeros(1), torch.ones(1)
        >>> ops.depthwise_conv2d_bn_act(
        ...     x, torch.ones(1, 1, 1, 1), running_mean=mean, running_var=variance, training=True, activation="relu"
        ... )
        tensor([[[[0.0000, 0.0000],
                  [0.4472, 1.3416]]]])
        >>> mean, variance
        (tensor([0.2500]), tensor([1.0667]))
    """
    parameters = dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var)
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            depthwise_conv2d_bn_act,
            dict(x=x, weight=weight, bias=bias, **parameters),
            updated=("running_mean", "running_var") if training else (),
            **dict(stride=stride, padding=padding, dilation=dilation),
            **dict(training=training, momentum=momentum, eps=eps, activation=activation),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    convolution = x, weight, bias, *options
    return convolve_and_normalise(_OP, "depthwise_conv2d", convolution, parameters, (training, momentum, eps), code)


@torch.library.register_fake("frnet::depthwise_conv2d_bn_act")
def _fake(x, weight, bias, *rest):
    options, gamma, beta = rest[:6], rest[6], rest[7]
    check_convolution(_OP, x, weight, bias, options, bn_weight=gamma, bn_bias=beta)
    return empty_result(x, weight, options), *empty_statistics(x)


@torch.library.register_fake("frnet::depthwise_conv2d_bn_act_backward")
def _fake_backward(grad_y, x, weight, *rest):
    return fake_convolution_gradients(x, weight, *rest[-5:])


def _backward(ctx, grad_y, grad_mean, grad_variance):
    if grad_y is None:  # nobody needs the one result that has a gradient
        return (None,) * 13
    saved, _ = saved_arguments(ctx)
    wanted = wanted_gradients(ctx.needs_input_grad)
    gradients = run("depthwise_conv2d_bn_act_backward", grad_y, *saved, *wanted)
    return *in_argument_places(gradients, wanted), None, None


register_training_form(_OP, _backward, save_for_backward)
refuse_second_derivative(_OP)
register_autocast(_OP, lower=("x", "weight", "bias"))
