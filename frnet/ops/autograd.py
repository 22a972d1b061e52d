"""What the ops' gradients share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch

from frnet.ops.device import autocast_is_on

__all__ = ["only_wanted", "refuse_second_derivative", "register_gradient", "without_autocast"]

_library = torch.library.Library("frnet", "IMPL")


def register_gradient(op: str, backward: Callable, setup_context: Callable) -> None:
    """Gives torch.ops.frnet.<op> its gradient: ``setup_context(ctx, inputs, output)`` and ``backward(ctx, *gradients)``
    as for ``torch.library.register_autograd``.

    That one goes through the op's whole schema, argument by argument, at every call, for defaults and lists of tensors
    that these ops do not have.
    """
    overload = getattr(torch.ops.frnet, op).default

    def below(keyset, inputs):
        with torch._C._AutoDispatchBelowAutograd():
            return overload.redispatch(keyset & torch._C._after_autograd_keyset, *inputs)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs_and_keyset):
            *inputs, keyset = inputs_and_keyset
            output = below(keyset, inputs)
            setup_context(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx, *gradients):
            return *backward(ctx, *gradients), None

    def run(keyset, *inputs):
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*inputs):
            return Gradient.apply(*inputs, keyset)
        return below(keyset, inputs)

    Gradient.__name__ = Gradient.__qualname__ = f"{op}_gradient"
    _library.impl(op, run, "Autograd", with_keyset=True)


def refuse_second_derivative(op: str) -> None:
    """Makes the gradient of torch.ops.frnet.<op>_backward an error; torch itself would only warn."""

    def backward(ctx, *gradients):
        raise NotImplementedError(f"{op}: there is no second derivative; it is differentiable once")

    register_gradient(f"{op}_backward", backward, lambda ctx, inputs, output: None)


def only_wanted(gradients: Sequence[torch.Tensor], wanted: Sequence[bool]) -> list[torch.Tensor | None]:
    """None for the gradients that nobody asked for: a backward op returns empty tensors in their places."""
    return [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]


def without_autocast(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """For a formula that computes a result again: in the dtypes it was computed in, wherever backward() is called."""
    return torch.autocast(x.device.type, enabled=False) if autocast_is_on(x.device) else contextlib.nullcontext()
