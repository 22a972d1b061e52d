"""Batch normalisation and activation, behind whatever made their input."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, run
from frnet.ops.batch_norm import empty_normalised, normalise, register_training_form
from frnet.ops.checks import accumulation_dtype, image_layout

__all__ = ["batch_norm_act"]

_OP = "batch_norm_act"


def batch_norm_act(
    x: torch.Tensor,
    bn_weight: torch.Tensor | None = None,
    bn_bias: torch.Tensor | None = None,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
) -> torch.Tensor:
    r"""Batch normalisation, activation.

    .. math:: y = a\!\left(\gamma_c \frac{x - \mu_c}{\sqrt{\sigma^2_c + \epsilon}} + \beta_c\right)

    Equals ``F.batch_norm(x, running_mean, running_var, bn_weight, bn_bias, training, momentum, eps)`` and the
    activation. Of the forward pass x and one mean and variance per channel are kept for the backward pass, nothing
    else: the activation's input is formed again. Differentiable once in ``x``, ``bn_weight`` and ``bn_bias``;
    bit-identical from run to run and for any number of threads. Under autocast ``x`` is taken in the autocast dtype.
    Arrays as in ``depthwise_conv2d``.

    Args:
        x: [batch, channels, height, width], float32, float64, float16 or bfloat16; any strides. The batch may be 0,
            of which no statistics are taken.
        bn_weight: gamma, [channels], of any floating dtype, or None for 1.
        bn_bias: beta, [channels], of any floating dtype, or None for 0.
        running_mean: [channels], of any floating dtype. In training it may be None; else it is updated in place.
        running_var: as running_mean; updated with the unbiased variance.
        training: whether to normalise by the batch's statistics or by the running ones.
        momentum: the batch's share in the new running statistics, in [0, 1].
        eps: added to the variance.
        activation: "none", "relu", "relu6", "hardswish" or "silu".

    Returns:
        y, of x's shape, dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported.
        ValueError: a shape, size, device or name does not fit; there are no running statistics to normalise by; a
            training batch has fewer than two values per channel.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithms 1 and 2.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> ops.batch_norm_act(x, training=True, activation="relu")
        tensor([[[[0.0000, 0.0000],
                  [0.4472, 1.3416]]]])
    """
    parameters = dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var)
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            batch_norm_act,
            dict(x=x, **parameters),
            updated=("running_mean", "running_var") if training else (),
            **dict(training=training, momentum=momentum, eps=eps, activation=activation),
        )
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    return normalise(_OP, "depthwise_conv2d", x, parameters, (training, momentum, eps), code)


@torch.library.register_fake("frnet::batch_norm_act")
def _fake(x, gamma, beta, *rest):
    return empty_normalised(_OP, x, gamma, beta)


@torch.library.register_fake("frnet::batch_norm_act_backward")
def _fake_backward(grad_y, x, *rest):
    needs_x, *needs = rest[-3:]
    dtype = accumulation_dtype(x)
    grad_x = x.new_empty(0, dtype=dtype)
    if needs_x:
        grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))
    return grad_x, *(x.new_empty(x.shape[1] if needed else 0, dtype=dtype) for needed in needs)


def _setup_context(ctx, inputs, output):
    x, gamma, beta, ctx.eps, ctx.activation = inputs
    _, mean, variance = output
    ctx.save_for_backward(x, gamma, beta, mean, variance)
    ctx.mark_non_differentiable(mean, variance)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_y, grad_mean, grad_variance):
    if grad_y is None:  # nobody needs the one result that has a gradient
        return (None,) * 5
    x, gamma, beta, mean, variance = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:3]
    gradients = run("batch_norm_act_backward", grad_y, x, gamma, beta, ctx.eps, ctx.activation, mean, variance, *wanted)
    return *only_wanted(gradients, wanted), None, None


register_training_form(_OP, _backward, _setup_context)
refuse_second_derivative(_OP)
register_autocast(_OP, lower=("x",))
