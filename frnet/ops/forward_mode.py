"""Forward-mode derivatives of the ops: tangents are those of an op's decomposition into torch's ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.autograd import forward_ad

from frnet.ops.decompositions import DECOMPOSITIONS

__all__ = ["BelowAutograd", "decomposed", "is_forward_mode", "of_dual_numbers", "tangents_of"]

_probe = torch.empty(0)


def is_forward_mode() -> bool:
    """Whether there are dual numbers about: only then is a tensor not simply handed back."""
    try:
        return forward_ad.unpack_dual(_probe).primal is not _probe
    except RuntimeError:  # where a compiler looks at what will happen, with stand-ins for tensors
        return True


def of_dual_numbers(in_torch: Callable, op: Callable, *inputs: Any) -> Any:
    """``in_torch(moved, inputs)`` where some inputs have a tangent, as ``moved`` says; else ``op(*inputs)``."""
    moved = [_is_float(value) and _has_tangent(value) for value in inputs]
    return in_torch(moved, inputs) if any(moved) else op(*inputs)


def tangents_of(in_torch: Callable, inputs: Sequence, tangents: Sequence[torch.Tensor | None]) -> tuple:
    """Tangents of the results of ``in_torch(moved, inputs)``, in the jvp of a ``torch.autograd.Function``.

    The way is J t = d/du <J^T u, t>, two reverse passes, since dual numbers do not nest. (They do within torch.func,
    where those of the levels outside have to pass through here: they are off in a jvp, and inference_mode(False), the
    opposite of what switches them off, is what switches them on.)
    """
    moved = [tangent is not None for tangent in tangents]

    def of_moved(*values):
        values = iter(values)
        results = in_torch(moved, [next(values) if m else value for value, m in zip(inputs, moved, strict=True)])
        return results if isinstance(results, tuple) else (results,)

    with torch.inference_mode(False):
        inputs = [forward_ad.unpack_dual(value).primal if _is_float(value) else value for value in inputs]
        results, pull = torch.func.vjp(of_moved, *(value for value, m in zip(inputs, moved, strict=True) if m))
        _, push = torch.func.vjp(pull, tuple(torch.zeros_like(result) for result in results))
        (found,) = push(tuple(tangent for tangent in tangents if tangent is not None))
    return found


def decomposed(op: str, inputs: Sequence) -> Any:
    """What torch.ops.frnet.<op> gives, in torch's ops. As the op it rounds to 16 bits at the end, and images alone."""
    dtype = inputs[0].dtype
    results = DECOMPOSITIONS[op](
        *(value.to(torch.promote_types(value.dtype, torch.float32)) if _is_float(value) else value for value in inputs)
    )
    if isinstance(results, tuple):
        return tuple(result.to(dtype) if result.dim() == 4 else result for result in results)
    return results.to(dtype)


class BelowAutograd(torch.library.Library):
    """Where ``torch.library.register_autograd`` registers a gradient, for those that find an op in a graph.

    What it makes of an op knows nothing of dual numbers, whose tangents would silently be zero.
    """

    def __init__(self, in_torch: Callable) -> None:
        super().__init__("frnet", "IMPL")
        self.in_torch = in_torch

    def impl(self, op_name: str, fn: Callable, dispatch_key: str = "", **options) -> None:
        """As ``Library.impl``, with dual numbers taken to ``of_dual_numbers``."""

        def by_mode(keyset, *inputs):
            if is_forward_mode():
                return of_dual_numbers(self.in_torch, partial(fn, keyset), *inputs)
            return fn(keyset, *inputs)

        super().impl(op_name, by_mode, dispatch_key, **options)


def _has_tangent(value: torch.Tensor) -> bool:
    try:
        return forward_ad.unpack_dual(value).tangent is not None
    except RuntimeError:
        if type(value) in (torch.Tensor, torch.nn.Parameter):
            raise
        return False  # a stand-in; the graph that is made will be given dual numbers


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
