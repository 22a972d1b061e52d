"""Depthwise convolution, batch normalisation, activation and squeeze and excitation."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, GATES, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, run
from frnet.ops.batch_norm import (
    convolve_and_normalise,
    empty_statistics,
    register_training_form,
    save_for_backward,
    saved_arguments,
)
from frnet.ops.convolution import (
    accumulated,
    check_convolution,
    convolution_options,
    empty_result,
    fake_convolution_gradients,
    in_argument_places,
    wanted_gradients,
)
from frnet.ops.se import check_layers, fake_layer_gradients

__all__ = ["depthwise_conv2d_bn_act_se"]

_OP = "depthwise_conv2d_bn_act_se"


def depthwise_conv2d_bn_act_se(
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
    w1: torch.Tensor,
    b1: torch.Tensor | None = None,
    w2: torch.Tensor,
    b2: torch.Tensor | None = None,
    se_activation: str = "relu",
    gate: str = "sigmoid",
) -> torch.Tensor:
    r"""Depthwise 2-D convolution, batch normalisation, activation, then squeeze and excitation.

    .. math::
        u &= a\!\left(\gamma_c \frac{v - \mu_c}{\sqrt{\sigma^2_c + \epsilon}} + \beta_c\right) \\
        y_{n,c} &= u_{n,c}\; g\big(W_2\, a_s(W_1 \bar u_n + b_1) + b_2\big)_c

    with v the result of ``depthwise_conv2d(x, weight, bias, stride, padding, dilation)``. Equals
    ``se_gate`` of ``depthwise_conv2d_bn_act``, whose arguments come first. Between the forward and the backward pass
    of a training step nothing the size of a tensor is kept but ``x``. Differentiable once in every tensor but the
    running statistics; bit-identical from run to run and for any number of threads. Under autocast ``x``, ``weight``
    and ``bias`` are taken in the autocast dtype. Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], as all up to activation in ``depthwise_conv2d_bn_act``.
        weight: [channels, 1, kernel_h, kernel_w].
        bias: [channels] or None.
        stride: int or (vertical, horizontal), at least 1.
        padding: int or (vertical, horizontal), at least 0, in pixels of zeros on each side.
        dilation: int or (vertical, horizontal), at least 1.
        bn_weight: gamma, [channels], or None for 1.
        bn_bias: beta, [channels], or None for 0.
        running_mean: [channels]; in training it may be None, else it is updated in place.
        running_var: as running_mean; updated with the unbiased variance.
        training: whether to normalise by the batch's statistics or by the running ones.
        momentum: the batch's share in the new running statistics, in [0, 1].
        eps: added to the variance.
        activation: "none", "relu", "relu6", "hardswish" or "silu"; behind the normalisation.
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
        ValueError: a shape, size, device or name does not fit; there are no running statistics to normalise by; a
            training batch has fewer than two values per channel.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithms 1 and 2;
        Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> ops.depthwise_conv2d_bn_act_se(
        ...     x, torch.ones(1, 1, 1, 1), training=True, activation="relu", w1=torch.ones(1, 1), w2=torch.zeros(1, 1)
        ... )
        tensor([[[[0.0000, 0.0000],
                  [0.2236, 0.6708]]]])
    """
    parameters = dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var)
    gate_parameters = dict(w1=w1, b1=b1, w2=w2, b2=b2)
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            depthwise_conv2d_bn_act_se,
            dict(x=x, weight=weight, bias=bias, **parameters, **gate_parameters),
            updated=("running_mean", "running_var") if training else (),
            **dict(stride=stride, padding=padding, dilation=dilation, training=training, momentum=momentum, eps=eps),
            **dict(activation=activation, se_activation=se_activation, gate=gate),
        )
    options = convolution_options(_OP, stride, padding, dilation)
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    codes = function_code(_OP, "se_activation", ACTIVATIONS, se_activation), function_code(_OP, "gate", GATES, gate)
    layers = accumulated(x, *gate_parameters.values())
    return convolve_and_normalise(
        _OP,
        "depthwise_conv2d_se",
        (x, weight, bias, *options),
        parameters,
        (training, momentum, eps),
        code,
        behind=(*layers, *codes),
        gate="se_gate",
        check=lambda: check_layers(_OP, x, *layers),
    )


@torch.library.register_fake("frnet::depthwise_conv2d_bn_act_se")
def _fake(x, weight, bias, *rest):
    options, gamma, beta = rest[:6], rest[6], rest[7]
    check_convolution(_OP, x, weight, bias, options, bn_weight=gamma, bn_bias=beta)
    check_layers(_OP, x, *rest[10:14])
    return empty_result(x, weight, options), *empty_statistics(x)


@torch.library.register_fake("frnet::depthwise_conv2d_bn_act_se_backward")
def _fake_backward(grad_y, x, weight, *rest):
    return *fake_convolution_gradients(x, weight, *rest[-5:]), *fake_layer_gradients(*rest[13:17])


def _setup_context(ctx, inputs, output):
    *layers, activation, gate = inputs[13:]
    save_for_backward(ctx, inputs, output, *layers)
    ctx.codes = activation, gate


def _backward(ctx, grad_y, grad_mean, grad_variance):
    if grad_y is None:  # nobody needs the one result that has a gradient
        return (None,) * 19
    saved, layers = saved_arguments(ctx)
    wanted = wanted_gradients(ctx.needs_input_grad)
    gradients = run("depthwise_conv2d_bn_act_se_backward", grad_y, *saved, *layers, *ctx.codes, *wanted)
    of_gate = only_wanted(gradients[5:], ctx.needs_input_grad[13:17])
    return *in_argument_places(gradients[:5], wanted), None, None, *of_gate, None, None


register_training_form(_OP, _backward, _setup_context)
refuse_second_derivative(_OP)
register_autocast(_OP, lower=("x", "weight", "bias"))
