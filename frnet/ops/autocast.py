"""Autocast for the ops."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["as_autocast_does", "register_autocast"]

_library = torch.library.Library("frnet", "IMPL")
_lowered: dict[str, list[int]] = {}  # positions of an op's arguments
_widened: dict[str, list[int]] = {}


def register_autocast(op: str, *, lower: tuple[str, ...] = (), to_float32: tuple[str, ...] = ()) -> None:
    """Under autocast, torch.ops.frnet.<op> gets the arguments named in lower in the autocast dtype, those in to_float32
    in float32, and all others as they are.

    float64 tensors are left alone, as torch's own autocast leaves them.
    """
    overload = getattr(torch.ops.frnet, op).default
    positions = {argument.name: i for i, argument in enumerate(overload._schema.arguments)}
    _lowered[op] = [positions[name] for name in lower]
    _widened[op] = [positions[name] for name in to_float32]

    for device in ("cpu", "cuda"):

        def run(*args, device=device):
            args = as_autocast_does(op, args, device)
            with torch.autocast(device, enabled=False):
                return overload(*args)

        _library.impl(op, run, f"Autocast{device.upper()}")


def as_autocast_does(op: str, args: Sequence, device: str) -> list:
    """An op's arguments, and what may stand behind them, in the dtypes that it gets under autocast."""
    args, dtype = list(args), torch.get_autocast_dtype(device)
    for i in _lowered.get(op, ()):
        args[i] = _cast(args[i], dtype)
    for i in _widened.get(op, ()):
        args[i] = _cast(args[i], torch.float32)
    return args


def _cast(value: object, dtype: torch.dtype) -> object:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value
