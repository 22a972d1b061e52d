"""Autocast for the ops."""

from __future__ import annotations

import torch

_library = torch.library.Library("frnet", "IMPL")


def register_autocast(op: str, *, lower: bool) -> None:
    """Under autocast, runs torch.ops.frnet.<op> in the autocast dtype (lower) or in float32.

    float64 tensors are left alone, as torch's own autocast leaves them.
    """
    overload = getattr(torch.ops.frnet, op).default

    for device in ("cpu", "cuda"):

        def run(*args, device=device):
            dtype = torch.get_autocast_dtype(device) if lower else torch.float32
            with torch.autocast(device, enabled=False):
                return overload(*(_cast(arg, dtype) for arg in args))

        _library.impl(op, run, f"Autocast{device.upper()}")


def _cast(value: object, dtype: torch.dtype) -> object:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.to(dtype)
    return value
