"""Errors for arguments that do not fit, named after the op and the argument."""

from __future__ import annotations

import torch

__all__ = ["check_device", "check_dtype", "check_pair", "check_tensor", "dtype_names"]


def dtype_names(dtypes: tuple[torch.dtype, ...]) -> str:
    """'float32, float64 or bfloat16'."""
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" or {names[-1]}"


def check_tensor(op: str, name: str, value: object, layout: str) -> None:
    """Raises unless value is a strided tensor with one dimension for each word of layout ("[n, c, h, w]")."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a torch.Tensor {layout}, got {type(value).__name__}")
    if value.layout is not torch.strided:
        raise TypeError(f"{op}: {name} must be a dense tensor, got layout {value.layout}")
    if value.dim() != layout.count(",") + 1:
        raise ValueError(f"{op}: {name} must have shape {layout}, got {list(value.shape)}")


def check_dtype(op: str, name: str, value: torch.Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if value.dtype not in dtypes:
        raise TypeError(f"{op}: {name} must be {dtype_names(dtypes)}, got {dtype_names((value.dtype,))}")


def check_device(op: str, name: str, value: torch.Tensor, reference_name: str, reference: torch.Tensor) -> None:
    if value.device != reference.device:
        raise ValueError(f"{op}: {name} must be on {reference_name}'s device {reference.device}, got {value.device}")


def check_pair(op: str, name: str, value: object, minimum: int) -> tuple[int, int]:
    """An int or a pair of ints, as (vertical, horizontal)."""
    if isinstance(value, int):
        pair = (value, value)
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, int) for v in value):
        pair = (value[0], value[1])
    else:
        raise TypeError(f"{op}: {name} must be an int or a pair of ints, got {value!r}")
    if min(pair) < minimum:
        raise ValueError(f"{op}: {name} must be at least {minimum}, got {value}")
    return pair
