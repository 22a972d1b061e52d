"""Errors for arguments that do not fit, named after the op and the argument."""

from __future__ import annotations

import torch

__all__ = [
    "ACCUMULATION",
    "FLOATING",
    "accumulation_dtype",
    "check_accumulated",
    "check_device",
    "check_divides",
    "check_dtype",
    "check_image",
    "check_int",
    "check_pair",
    "check_tensor",
    "dtype_names",
    "image_layout",
]

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
ACCUMULATION = (torch.float32, torch.float64)


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


def check_int(op: str, name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{op}: {name} must be an int, got {value!r}")
    if value < minimum:
        raise ValueError(f"{op}: {name} must be at least {minimum}, got {value}")


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


def check_divides(op: str, name: str, value: object, channels: int) -> None:
    check_int(op, name, value, 1)
    if channels % value:
        raise ValueError(f"{op}: {name} must divide the {channels} channels of x, got {value}")


def check_image(op: str, x: object) -> None:
    check_tensor(op, "x", x, "[batch, channels, height, width]")
    check_dtype(op, "x", x, FLOATING)


def check_accumulated(op: str, name: str, value: object, x: torch.Tensor, shape: tuple[int, ...], layout: str) -> None:
    """Raises unless value has the shape, x's device and the dtype that x's values are accumulated in.

    layout says the shape in words: "[channels]".
    """
    check_tensor(op, name, value, layout)
    if value.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {list(shape)}, {layout}, got {list(value.shape)}")
    check_dtype(op, name, value, (accumulation_dtype(x),))
    check_device(op, name, value, "x", x)


def accumulation_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype in which the ops compute on x, and of what they take or return beside tensors of x's dtype."""
    return torch.float64 if x.dtype is torch.float64 else torch.float32


def image_layout(x: torch.Tensor) -> torch.memory_format:
    """The layout the kernels choose: channels_last where x is dense in that order alone."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
