"""Batch normalisation: what the ops with one share, alone and behind a convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from frnet.ops.autocast import as_autocast_does
from frnet.ops.autograd import register_gradient, run, without_autocast
from frnet.ops.checks import (
    FLOATING,
    accumulation_dtype,
    check_accumulated,
    check_device,
    check_dtype,
    check_image,
    check_tensor,
    image_layout,
)
from frnet.ops.convolution import accumulated, check_convolution, result_size
from frnet.ops.decompositions import DECOMPOSITIONS
from frnet.ops.device import autocast_is_on, check_built_for

__all__ = [
    "convolve_and_normalise",
    "empty_normalised",
    "empty_statistics",
    "fold_statistics",
    "normalise",
    "register_training_form",
    "save_for_backward",
    "saved_arguments",
]


def convolve_and_normalise(
    op: str,
    evaluation: str,
    convolution: tuple,
    parameters: dict[str, torch.Tensor | None],
    rules: tuple[bool, float, float],
    activation: int,
    behind: Sequence = (),
    only_in_evaluation: Sequence = (),
    gate: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """What every op with a convolution and a batch normalisation in it does.

    Args:
        op: its name, which is that of its training form.
        evaluation: the name of its form with a given scale and shift.
        convolution: x, weight, bias and the six integers.
        parameters: bn_weight, bn_bias, running_mean and running_var by name.
        rules: training, momentum and eps.
        activation: the code.
        behind: what both forms take after the activation.
        only_in_evaluation: what ``evaluation`` takes after that.
        gate: name of the op that ``behind`` is for, where it is a gate's.
        check: raises where ``behind`` does not fit.
    """
    x, weight, bias, *options = convolution
    training, momentum, eps = rules
    bn_weight, bn_bias, running_mean, running_var = parameters.values()
    try:
        if not training:
            refuse_misfits(weight, 0, *parameters.values())
            epilogue = fold_running_statistics(x, bn_weight, bn_bias, running_mean, running_var, eps)
            return run(evaluation, x, weight, bias, *options, *epilogue, activation, *behind, *only_in_evaluation)
        refuse_misfits(weight, 0, running_mean, running_var, written=True)
        affine = accumulated(x, bn_weight, bn_bias)
        arguments = x, weight, bias, *options, *affine, eps, activation
        if is_empty(x):
            check_batch_norm(op, x, weight, bias, options, training, **parameters)
            check()
            return of_nothing(op, arguments, behind, gate)
        return run(op, *arguments, *behind, running_mean, running_var, momentum)[0]
    except (RuntimeError, TypeError):
        check_batch_norm(op, x, weight, bias, options, training, **parameters)
        check()
        raise


def normalise(
    op: str,
    evaluation: str,
    x: torch.Tensor,
    parameters: dict[str, torch.Tensor | None],
    rules: tuple[bool, float, float],
    activation: int,
    behind: Sequence = (),
    gate: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> torch.Tensor:
    """The same without a convolution; ``evaluation`` is still the form of an op with one."""
    training, momentum, eps = rules
    bn_weight, bn_bias, running_mean, running_var = parameters.values()
    try:
        if not training:
            refuse_misfits(x, 1, *parameters.values())
            epilogue = fold_running_statistics(x, *parameters.values(), eps)
            unit = x.new_ones(x.shape[1], 1, 1, 1)  # a convolution that changes nothing
            return run(evaluation, x, unit, None, 1, 1, 0, 0, 1, 1, *epilogue, activation, *behind)
        refuse_misfits(x, 1, running_mean, running_var, written=True)
        affine = accumulated(x, bn_weight, bn_bias)
        arguments = x, *affine, eps, activation
        if is_empty(x):
            check_normalised(op, x, training, **parameters)
            check()
            return of_nothing(op, arguments, behind, gate)
        return run(op, *arguments, *behind, running_mean, running_var, momentum)[0]
    except (RuntimeError, TypeError):
        check_normalised(op, x, training, **parameters)
        check()
        raise


def register_training_form(op: str, backward: Callable, setup_context: Callable) -> None:
    """Gives an op with a batch's statistics its derivatives, and updates the running statistics where it computes.

    There, and not behind it: a checkpoint (torch.utils.checkpoint) that computes again leaves off as soon as it has
    what the backward pass needs, and torch.func allows what is done inside a torch.autograd.Function alone.
    """

    def and_update(operation, *inputs):
        *arguments, running_mean, running_var, momentum = inputs
        y, mean, variance = operation(*arguments)
        count = check_enough_values(op, y.shape)
        update_running_statistics(running_mean, running_var, mean, variance, momentum, count)
        return y, mean, variance

    register_gradient(op, backward, setup_context, around=and_update, results=1)


def is_empty(x: object) -> bool:
    return isinstance(x, torch.Tensor) and x.numel() == 0


def of_nothing(op: str, arguments: Sequence, behind: Sequence, gate: str | None) -> torch.Tensor:
    """What an op makes of an empty batch in training, with gradients of zero, as torch's layers: there are no
    statistics, and nothing for its kernel to do. behind: what it takes after ``arguments``, for the gate if it has one.
    """
    device = arguments[0].device
    if autocast_is_on(device):
        arguments = as_autocast_does(op, arguments, device.type)
    with without_autocast(arguments[0]):
        if gate is None:
            return DECOMPOSITIONS[op](*arguments, *behind)[0]
        ungated = op.removesuffix("_" + gate.removesuffix("_gate"))
        return run(gate, DECOMPOSITIONS[ungated](*arguments)[0], *behind)


def empty_normalised(op: str, x: torch.Tensor, gamma, beta) -> tuple[torch.Tensor, ...]:
    """What a training form without a convolution returns, not filled; raises where its arguments do not fit."""
    check_image(op, x)
    for name, value in (("bn_weight", gamma), ("bn_bias", beta)):
        if value is not None:
            check_accumulated(op, name, value, x, (x.shape[1],), "[channels]")
    check_built_for(op, x.device)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=image_layout(x)), *empty_statistics(x)


def empty_statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance as a training form returns them beside its result."""
    dtype = accumulation_dtype(x)
    return x.new_empty(x.shape[1], dtype=dtype), x.new_empty(x.shape[1], dtype=dtype)


def save_for_backward(ctx, inputs, output, *more: torch.Tensor) -> None:
    """The convolution, the normalisation and its statistics, and more tensors for the backward pass."""
    x, weight, bias, *ctx.options, gamma, beta, ctx.eps, ctx.activation = inputs[:13]
    _, mean, variance = output
    ctx.save_for_backward(x, weight, bias, gamma, beta, mean, variance, *more)
    ctx.mark_non_differentiable(mean, variance)
    ctx.set_materialize_grads(False)


def saved_arguments(ctx) -> tuple:
    """What was saved as the arguments of a backward op behind the gradient, and the tensors beyond them."""
    x, weight, bias, gamma, beta, mean, variance, *more = ctx.saved_tensors
    return (x, weight, bias, *ctx.options, gamma, beta, ctx.eps, ctx.activation, mean, variance), more


def check_batch_norm(op: str, x, weight, bias, options: tuple[int, ...], training: bool, **parameters) -> None:
    """Raises where the arguments of the convolution or the parameters of the normalisation do not fit."""
    check_convolution(op, x, weight, bias, options)
    check_parameters(op, x, training, **parameters)
    if training:
        check_enough_values(op, (*x.shape[:2], *result_size(x, weight, options)))


def check_normalised(op: str, x, training: bool, **parameters) -> None:
    """Raises where x or the parameters of the normalisation do not fit."""
    check_image(op, x)
    check_parameters(op, x, training, **parameters)
    check_built_for(op, x.device)
    if training:
        check_enough_values(op, x.shape)


def check_parameters(op: str, x: torch.Tensor, training: bool, **parameters) -> None:
    """Raises where the parameters of a normalisation do not fit x's channels."""
    for name, value in parameters.items():
        if value is None:
            if name.startswith("running_") and not training:
                raise ValueError(f"{op}: {name} must be given where training is False, got None")
            continue
        check_tensor(op, name, value, "[channels]")
        if value.shape[0] != x.shape[1]:
            raise ValueError(f"{op}: {name} must have shape [{x.shape[1]}], the channels of x, got {list(value.shape)}")
        check_dtype(op, name, value, FLOATING)
        check_device(op, name, value, "x", x)


def check_enough_values(op: str, result: tuple[int, ...]) -> int:
    """How many values of each channel a result has; raises where one is too few for statistics, as torch does."""
    count = result[0] * result[2] * result[3]
    if count == 1:
        raise ValueError(
            f"{op}: x must give more than one value per channel where training is True, got a result of shape "
            f"{list(result)}"
        )
    return count


def refuse_misfits(like: object, axis: int, *parameters: object, written: bool = False) -> None:
    """Raises, in no particular words, where torch would broadcast or convert silently.

    like: as large as there are channels along its axis.
    written: these are updated when the op is done, and then it is too late to find one on another device.
    """
    if not isinstance(like, torch.Tensor):
        raise TypeError("no tensor")
    channels = like.shape[axis] if like.dim() > axis else 0
    for parameter in parameters:
        if parameter is not None and not (
            isinstance(parameter, torch.Tensor)
            and parameter.is_floating_point()
            and parameter.numel() == channels
            and parameter.dim() == 1
            and not (written and parameter.device != like.device)
        ):
            raise TypeError("not one floating value per channel")


def fold_running_statistics(x, bn_weight, bn_bias, running_mean, running_var, eps: float) -> tuple:
    """Scale and shift of the normalisation by running statistics, in the dtype that x's values are accumulated in."""
    bn_weight, bn_bias, mean, variance = accumulated(x, bn_weight, bn_bias, running_mean, running_var)
    return fold_statistics(mean, variance, bn_weight, bn_bias, eps)


def fold_statistics(
    mean: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift [channels] of a normalisation by given statistics, of their dtype; differentiable."""
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    if bias is None:
        return scale, -mean * scale
    return scale, torch.addcmul(bias.to(mean.dtype), mean, scale, value=-1)


def update_running_statistics(running_mean, running_var, mean, variance, momentum: float, count: int) -> None:
    """running = (1 - momentum) running + momentum batch, with the batch's unbiased variance, in place."""
    if running_mean is not None:
        if running_mean.dtype is mean.dtype:
            running_mean.lerp_(mean, momentum)
        else:
            running_mean.copy_(torch.lerp(running_mean.to(mean.dtype), mean, momentum))
    if running_var is not None:
        factor = momentum * count / (count - 1)
        if running_var.dtype is variance.dtype:
            running_var.mul_(1 - momentum).add_(variance, alpha=factor)
        else:  # rounded once
            running_var.copy_((running_var.to(variance.dtype) * (1 - momentum)).add_(variance, alpha=factor))
