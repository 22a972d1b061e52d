"""Autocast for the ops."""

from __future__ import annotations

import torch

__all__ = ["register_autocast"]

_library = torch.library.Library("frnet", "IMPL")


def register_autocast(op: str, *, lower: tuple[str, ...] = (), to_float32: tuple[str, ...] = ()) -> None:
    """Under autocast, torch.ops.frnet.<op> gets the arguments named in lower in the autocast dtype, those in to_float32
    in float32, and all others as they are.

    float64 tensors are left alone, as torch's own autocast leaves them.
    """
    overload = getattr(torch.ops.frnet, op).default
    positions = {argument.name: i for i, argument in enumerate(overload._schema.arguments)}
    lowered = [positions[name] for name in lower]
    widened = [positions[name] for name in to_float32]

    for device in ("cpu", "cuda"):

        def run(*args, device=device):
            dtype = torch.get_autocast_dtype(device)
            args = list(args)
            for i in lowered:
                args[i] = _cast(args[i], dtype)
            for i in widened:
                args[i] = _cast(args[i], torch.float32)
            with torch.autocast(device, enabled=False):
                return overload(*args)

        _library.impl(op, run, f"Autocast{device.upper()}")


def _cast(value: object, dtype: torch.dtype) -> object:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value
