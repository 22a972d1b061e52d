"""Batch normalisation, activation and the spatial group-wise enhance gate."""

from __future__ import annotations

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.activations import ACTIVATIONS, function_code
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import only_wanted, refuse_second_derivative, run
from frnet.ops.batch_norm import empty_normalised, normalise, register_training_form
from frnet.ops.checks import image_layout
from frnet.ops.convolution import accumulated
from frnet.ops.sge import check_sge

__all__ = ["batch_norm_act_sge"]

_OP = "batch_norm_act_sge"


def batch_norm_act_sge(
    x: torch.Tensor,
    bn_weight: torch.Tensor | None = None,
    bn_bias: torch.Tensor | None = None,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
    *,
    sge_weight: torch.Tensor,
    sge_bias: torch.Tensor,
    groups: int,
) -> torch.Tensor:
    r"""Batch normalisation, activation, spatial group-wise enhance.

    Equals ``sge_gate(batch_norm_act(x, ...), sge_weight, sge_bias, groups)``: see both. What stands in front of the
    gate is neither stored nor kept for the backward pass, which forms it again from x. Differentiable once in ``x``,
    ``bn_weight``, ``bn_bias``, ``sge_weight`` and ``sge_bias``; bit-identical from run to run and for any number of
    threads. Under autocast ``x`` is taken in the autocast dtype. Arrays as in ``depthwise_conv2d``.

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
        activation: "none", "relu", "relu6", "hardswish" or "silu"; behind the normalisation.
        sge_weight: [groups], as ``sge_gate``'s weight.
        sge_bias: [groups].
        groups: number of groups of neighbouring channels; divides the channels.

    Returns:
        y, of x's shape, dtype and memory format.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported.
        ValueError: a shape, size, device or name does not fit; there are no running statistics to normalise by; a
            training batch has fewer than two values per channel.
        RuntimeError: x is on CUDA and this build of frnet has no CUDA kernels.

    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithms 1 and 2;
        Li, Hu and Yang, Spatial Group-wise Enhance, 2019, equations 1 to 5, with the deviation of their code.

    Example:
        >>> import torch, frnet.ops as ops
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
        >>> gate = dict(sge_weight=torch.zeros(1), sge_bias=torch.zeros(1), groups=1)
        >>> ops.batch_norm_act_sge(x, training=True, activation="relu", **gate)
        tensor([[[[0.0000, 0.0000],
                  [0.2236, 0.6708]]]])
    """
    parameters = dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var)
    gate_parameters = dict(sge_weight=sge_weight, sge_bias=sge_bias)
    if not isinstance(x, torch.Tensor) and is_array(x):
        return run_on_arrays(
            batch_norm_act_sge,
            dict(x=x, **parameters, **gate_parameters),
            updated=("running_mean", "running_var") if training else (),
            **dict(training=training, momentum=momentum, eps=eps, activation=activation, groups=groups),
        )
    code = function_code(_OP, "activation", ACTIVATIONS, activation)
    gate = accumulated(x, *gate_parameters.values())
    return normalise(
        _OP,
        "depthwise_conv2d_sge",
        x,
        parameters,
        (training, momentum, eps),
        code,
        behind=(*gate, groups),
        gate="sge_gate",
        check=lambda: check_sge(_OP, x, groups, **dict(zip(gate_parameters, gate, strict=True))),
    )


@torch.library.register_fake("frnet::batch_norm_act_sge")
def _fake(x, gamma, beta, eps, activation, sge_weight, sge_bias, groups):
    results = empty_normalised(_OP, x, gamma, beta)
    check_sge(_OP, x, groups, sge_weight=sge_weight, sge_bias=sge_bias)
    return results


@torch.library.register_fake("frnet::batch_norm_act_sge_backward")
def _fake_backward(grad_y, x, gamma, beta, eps, activation, mean, variance, sge_weight, sge_bias, groups):
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x))
    return grad_x, *(torch.empty_like(value) for value in (mean, mean, sge_weight, sge_bias))


def _setup_context(ctx, inputs, output):
    x, gamma, beta, ctx.eps, ctx.activation, sge_weight, sge_bias, ctx.groups = inputs
    _, mean, variance = output
    ctx.save_for_backward(x, gamma, beta, mean, variance, sge_weight, sge_bias)
    ctx.mark_non_differentiable(mean, variance)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_y, grad_mean, grad_variance):
    if grad_y is None:  # nobody needs the one result that has a gradient
        return (None,) * 8
    x, gamma, beta, mean, variance, *gate = ctx.saved_tensors
    normalisation = x, gamma, beta, ctx.eps, ctx.activation, mean, variance
    gradients = run("batch_norm_act_sge_backward", grad_y, *normalisation, *gate, ctx.groups)
    needs = ctx.needs_input_grad
    grad_x, grad_gamma, grad_beta, *of_gate = only_wanted(gradients, (*needs[:3], *needs[5:7]))
    return grad_x, grad_gamma, grad_beta, None, None, *of_gate, None


register_training_form(_OP, _backward, _setup_context)
refuse_second_derivative(_OP)
register_autocast(_OP, lower=("x",))
