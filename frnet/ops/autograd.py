"""The ops with their derivatives: ``run`` calls them, ``register_gradient`` tells it how.

Compiled and exported graphs hold the op itself; its gradient is registered with ``torch.library.register_autograd``.
Everybody else meets a ``torch.autograd.Function`` in front of the op: ``torch.func`` takes gradients through no other,
and its call takes a third of the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Signature
from typing import Any

import torch

from frnet.ops.autocast import as_autocast_does
from frnet.ops.decompositions import DECOMPOSITIONS
from frnet.ops.device import autocast_is_on
from frnet.ops.forward_mode import BelowAutograd, decomposed, is_forward_mode, of_dual_numbers, tangents_of

__all__ = [
    "last_derivative",
    "only_wanted",
    "refuse_second_derivative",
    "register_gradient",
    "register_vmap",
    "run",
    "without_autocast",
]


@dataclass(frozen=True)
class _Op:
    forward: Callable
    on_dual_numbers: Callable
    differentiable: type[torch.autograd.Function]
    library: torch.library.Library  # with it would go what it registered


_ops: dict[str, _Op] = {}


def run(op: str, *inputs: Any) -> Any:
    """torch.ops.frnet.<op> with its derivatives: by backward(), by ``torch.func`` and in forward mode."""
    known = _ops[op]
    if torch.compiler.is_compiling():
        return (known.on_dual_numbers if is_forward_mode() else known.forward)(*inputs)
    first = inputs[1] if inputs[0] is None else inputs[0]  # of a backward op it is a gradient that may be missing
    if (
        not (torch.is_grad_enabled() or is_forward_mode())
        or not isinstance(first, torch.Tensor)  # a stand-in of torch.fx
        or torch.jit.is_tracing()
    ):
        return known.forward(*inputs)
    if not autocast_is_on(first.device):
        return known.differentiable.apply(*inputs)
    # What is kept for the backward pass must be what was computed with.
    inputs = as_autocast_does(op, inputs, first.device.type)
    with torch.autocast(first.device.type, enabled=False):
        return known.differentiable.apply(*inputs)


def register_gradient(
    op: str,
    backward: Callable,
    setup_context: Callable,
    *,
    around: Callable | None = None,
    in_alone: tuple[str, str] | None = None,
    results: int | None = None,
) -> None:
    """Gives torch.ops.frnet.<op> its derivatives, and ``torch.func.vmap`` a way through it.

    Args:
        op: its name.
        backward: ``backward(ctx, *gradients)``, as for ``torch.library.register_autograd``; of an op without a
            decomposition, which has no derivative, it raises.
        setup_context: ``setup_context(ctx, inputs, output)``, as for the same.
        around: ``around(op, *inputs)``, what ``run`` does with the op; it may take inputs behind those of the op.
        in_alone: where only the first argument has derivatives: its name, and those of the others.
        results: how many results have derivatives, the first ones; None: all.
    """
    overload = getattr(torch.ops.frnet, op).default
    own_inputs, returned = len(overload._schema.arguments), len(overload._schema.returns)
    results = returned if results is None else results

    def gradients(ctx, *upstream):
        if in_alone and any(ctx.needs_input_grad[1:]):
            raise _no_derivative(op, *in_alone)
        return backward(ctx, *upstream)

    def in_torch(moved, inputs):
        if op not in DECOMPOSITIONS:
            return backward(None)  # which says why there is no derivative
        if in_alone and any(moved[1:]):
            raise _no_derivative(op, *in_alone)
        return decomposed(op, inputs)

    compute, on_dual_numbers = overload, partial(of_dual_numbers, in_torch, overload)
    if around is not None:
        compute, on_dual_numbers = partial(around, overload), partial(around, on_dual_numbers)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(*inputs):
            return compute(*inputs)

        @staticmethod
        def setup_context(ctx, inputs, output):
            inputs = inputs[:own_inputs]
            if is_forward_mode():
                ctx.inputs = [None if isinstance(value, torch.Tensor) else value for value in inputs]
                ctx.save_for_forward(*(value if isinstance(value, torch.Tensor) else None for value in inputs))
            setup_context(ctx, inputs, output)

        @staticmethod
        def backward(ctx, *upstream):
            found = gradients(ctx, *upstream)
            return *found, *[None] * (len(ctx.needs_input_grad) - len(found))

        @staticmethod
        def jvp(ctx, *tangents):
            saved = zip(ctx.saved_tensors, ctx.inputs, strict=True)
            inputs = [value if tensor is None else tensor for tensor, value in saved]
            found = tangents_of(in_torch, inputs, tangents[:own_inputs])
            return found[0] if returned == 1 else (*found[:results], *[None] * (returned - results))

        @staticmethod
        def vmap(info, in_dims, *inputs):
            if any(isinstance(value, torch.Tensor) for value in inputs[own_inputs:]):
                raise NotImplementedError(
                    f"{op}: what it updates in place, as running statistics, it cannot update under torch.func.vmap; "
                    "call it without them, or in evaluation"
                )
            return _one_by_one(differentiable.apply, info, in_dims, inputs)

    Differentiable.forward.__signature__ = _AnyArguments()
    differentiable = type(op, (Differentiable,), {})  # whose backward has a name of its own in profiles
    library = BelowAutograd(in_torch)
    torch.library.register_autograd(f"frnet::{op}", gradients, setup_context=setup_context, lib=library)
    register_vmap(op)
    _ops[op] = _Op(compute, on_dual_numbers, differentiable, library)


def register_vmap(op: str) -> None:
    """Gives torch.ops.frnet.<op> a way through ``torch.func.vmap``: one call after the other."""
    overload = getattr(torch.ops.frnet, op).default
    torch.library.register_vmap(f"frnet::{op}", lambda *args: _one_by_one(overload, args[0], args[1], args[2:]))


def refuse_second_derivative(op: str) -> None:
    """Makes the derivatives of torch.ops.frnet.<op>_backward an error; torch itself would only warn."""

    def backward(ctx, *gradients):
        raise _no_second_derivative(op)

    register_gradient(f"{op}_backward", backward, lambda ctx, inputs, output: None)


def last_derivative(op: str, gradient: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """The gradient as it is, where it is made of numbers that depend on ``of`` unknown to torch: its own derivatives,
    which would lack what comes through them, are errors."""
    if torch.is_grad_enabled() or is_forward_mode():
        return _LastDerivative.apply(gradient, of, op)
    return gradient


class _LastDerivative(torch.autograd.Function):
    @staticmethod
    def forward(gradient, of, op):
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.op = inputs[2]

    @staticmethod
    def backward(ctx, _):
        raise _no_second_derivative(ctx.op)

    @staticmethod
    def jvp(ctx, *_):
        raise _no_second_derivative(ctx.op)

    @staticmethod
    def vmap(info, in_dims, *inputs):
        return _one_by_one(_LastDerivative.apply, info, in_dims, inputs)


def only_wanted(gradients: Sequence[torch.Tensor], wanted: Sequence[bool]) -> list[torch.Tensor | None]:
    """None for the gradients that nobody asked for: a backward op returns empty tensors in their places."""
    return [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]


def without_autocast(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """For a formula that computes a result again: in the dtypes it was computed in, wherever backward() is called."""
    return torch.autocast(x.device.type, enabled=False) if autocast_is_on(x.device) else contextlib.nullcontext()


class _AnyArguments(Signature):
    """Takes arguments as they are: torch binds those of a forward at every call, in 20 us, for the sake of defaults."""

    def bind(self, *args, **kwargs) -> _Bound:
        return _Bound(args, kwargs)


class _Bound:
    __slots__ = ("args", "kwargs")

    def __init__(self, args: tuple, kwargs: dict) -> None:
        self.args, self.kwargs = args, kwargs

    def apply_defaults(self) -> None:
        """There are none."""


def _one_by_one(function: Callable, info: Any, in_dims: Sequence[int | None], inputs: Sequence) -> tuple:
    """function, for torch.func.vmap."""
    results = [
        function(*(value if dim is None else value.select(dim, i) for value, dim in zip(inputs, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    if isinstance(results[0], tuple):
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])
    return torch.stack(results), 0


def _no_derivative(op: str, argument: str, others: str) -> NotImplementedError:
    return NotImplementedError(f"{op}: differentiable in {argument} alone, not in {others}")


def _no_second_derivative(op: str) -> NotImplementedError:
    return NotImplementedError(
        f"{op}: there is no second derivative; frnet.ops.reference.{op}, the same in plain torch, has one"
    )
