"""Checks of what a model is made of; every message names the argument, its file, the wanted and the given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["as_float_tensor", "as_index_tensor", "described"]


def described(name: str, sources: Mapping[str, str]) -> str:
    """The argument, and the file it was read from where there is one."""
    return f"{name} (from {sources[name]})" if name in sources else name


def as_float_tensor(
    value: Any, name: str, sources: Mapping[str, str], *, device: Any = None, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """A tensor of real, finite numbers; whole numbers become float32."""
    tensor = _tensor(value, name, sources)
    if tensor.is_complex():
        raise ValueError(f"{described(name, sources)}: expected real numbers, got {tensor.dtype}")
    if dtype is None and not tensor.is_floating_point():
        dtype = torch.float32
    tensor = tensor.to(device=device, dtype=dtype)
    if not torch.isfinite(tensor).all():
        count = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{described(name, sources)}: expected finite numbers, got {count} that are NaN or infinite")
    return tensor


def as_index_tensor(
    value: Any, name: str, sources: Mapping[str, str], *, count: int, device: Any = None
) -> torch.Tensor:
    """An int64 tensor of vertex indices, each in [0, count)."""
    tensor = _tensor(value, name, sources)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{described(name, sources)}: expected vertex indices (whole numbers), got {tensor.dtype}")
    tensor = tensor.to(device=device, dtype=torch.int64)
    if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= count):
        raise ValueError(
            f"{described(name, sources)}: expected vertex indices from 0 to {count - 1}, "
            f"got {int(tensor.min())} to {int(tensor.max())}"
        )
    return tensor


def _tensor(value: Any, name: str, sources: Mapping[str, str]) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach()
    try:
        array = np.asarray(value)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)  # torch has few operations on the wider unsigned types
        # Writable and in this machine's byte order, which is what torch takes.
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{described(name, sources)}: expected an array of numbers, got {type(value).__name__} ({error})"
        ) from None
