"""What the ops' gradients share."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from frnet.ops.device import autocast_is_on

__all__ = ["only_wanted", "refuse_second_derivative", "without_autocast"]


def only_wanted(gradients: Sequence[torch.Tensor], wanted: Sequence[bool]) -> list[torch.Tensor | None]:
    """None for the gradients that nobody asked for: a backward op returns empty tensors in their places."""
    return [gradient if want else None for gradient, want in zip(gradients, wanted, strict=True)]


def refuse_second_derivative(op: str) -> None:
    """Makes the gradient of torch.ops.frnet.<op>_backward an error; torch itself would only warn."""

    def backward(ctx, *gradients):
        raise NotImplementedError(f"{op}: there is no second derivative; it is differentiable once")

    torch.library.register_autograd(f"frnet::{op}_backward", backward)


def without_autocast(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """For a formula that computes a result again: in the dtypes it was computed in, wherever backward() is called."""
    return torch.autocast(x.device.type, enabled=False) if autocast_is_on(x.device) else contextlib.nullcontext()
