"""What every op with a depthwise convolution in it shares: its arguments, their checks, its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from frnet.ops.autograd import only_wanted
from frnet.ops.checks import (
    FLOATING,
    accumulation_dtype,
    check_accumulated,
    check_device,
    check_dtype,
    check_image,
    check_pair,
    check_tensor,
    image_layout,
)
from frnet.ops.device import autocast_is_on, check_built_for

__all__ = [
    "accumulated",
    "check_convolution",
    "convolution_options",
    "empty_result",
    "fake_convolution_gradients",
    "in_argument_places",
    "result_size",
    "wanted_gradients",
]


def convolution_options(op: str, stride: object, padding: object, dilation: object) -> tuple[int, ...]:
    """Stride, padding and dilation as the six integers of the ops. Integers are left to the op to judge."""
    return (*_pair(op, "stride", stride, 1), *_pair(op, "padding", padding, 0), *_pair(op, "dilation", dilation, 1))


def _pair(op: str, name: str, value: object, least: int) -> tuple[int, int]:
    if type(value) is int:
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        return value
    return check_pair(op, name, value, least)


def accumulated(x: object, *parameters: object) -> list:
    """The floating tensors among the parameters in the dtype that x's values are accumulated in."""
    dtype = torch.float64 if getattr(x, "dtype", None) is torch.float64 else torch.float32
    return [
        value
        if value is None or getattr(value, "dtype", None) is dtype
        else value.to(dtype)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for value in parameters
    ]


def result_size(x: torch.Tensor, weight: torch.Tensor, options: tuple[int, ...]) -> tuple[int, int]:
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w = options
    return (
        (x.shape[2] + 2 * padding_h - dilation_h * (weight.shape[2] - 1) - 1) // stride_h + 1,
        (x.shape[3] + 2 * padding_w - dilation_w * (weight.shape[3] - 1) - 1) // stride_w + 1,
    )


def check_convolution(op: str, x, weight, bias, options: tuple[int, ...], **per_channel) -> None:
    """Raises where the convolution's arguments, or what else has one value per channel, do not fit."""
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w = options
    check_pair(op, "stride", (stride_h, stride_w), 1)
    check_pair(op, "padding", (padding_h, padding_w), 0)
    check_pair(op, "dilation", (dilation_h, dilation_w), 1)
    check_image(op, x)
    check_tensor(op, "weight", weight, "[channels, 1, kernel_h, kernel_w]")
    channels = x.shape[1]
    if weight.shape[0] != channels or weight.shape[1] != 1:
        raise ValueError(
            f"{op}: weight must have shape [channels, 1, kernel_h, kernel_w] with the {channels} channels of x, "
            f"got {list(weight.shape)}"
        )
    dtypes = (x.dtype,)
    if autocast_is_on(x.device) and x.dtype != torch.float64:  # the dtypes are brought together on the way
        dtypes = tuple(dtype for dtype in FLOATING if dtype != torch.float64)
    check_dtype(op, "weight", weight, dtypes)
    check_device(op, "weight", weight, "x", x)
    if bias is not None:
        check_tensor(op, "bias", bias, "[channels]")
        if bias.shape[0] != channels:
            raise ValueError(f"{op}: bias must have shape [{channels}], the channels of x, got {list(bias.shape)}")
        check_dtype(op, "bias", bias, dtypes)
        check_device(op, "bias", bias, "x", x)
    if min(weight.shape[2:]) < 1 or min(result_size(x, weight, options)) < 1:
        raise ValueError(
            f"{op}: weight's kernel {weight.shape[2]}x{weight.shape[3]} with dilation ({dilation_h}, {dilation_w}) "
            f"must be at least 1x1 and fit the padded input {x.shape[2] + 2 * padding_h}x{x.shape[3] + 2 * padding_w}"
        )
    for name, value in per_channel.items():
        if value is not None:
            check_accumulated(op, name, value, x, (channels,), "[channels]")
    check_built_for(op, x.device)


def empty_result(x: torch.Tensor, weight: torch.Tensor, options: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(
        (x.shape[0], x.shape[1], *result_size(x, weight, options)),
        dtype=x.dtype,
        device=x.device,
        memory_format=image_layout(x),
    )


def wanted_gradients(needs: tuple[bool, ...]) -> tuple[bool, ...]:
    """What an op's backward is asked for, of the arguments x, weight, bias, six integers and two values per channel."""
    return (*needs[:3], *needs[9:11])


def in_argument_places(gradients: Sequence[torch.Tensor], wanted: tuple[bool, ...]) -> list[torch.Tensor | None]:
    """The inverse: the gradients as those of the eleven arguments."""
    gradients = only_wanted(gradients, wanted)
    return [*gradients[:3], *[None] * 6, *gradients[3:]]


def fake_convolution_gradients(x, weight, *needs) -> tuple[torch.Tensor, ...]:
    """What every backward op of a convolution returns: gradients of x, weight, bias and two more per channel."""
    channels = x.shape[1]
    accumulation = accumulation_dtype(x)
    sizes = (x.shape, weight.shape, (channels,), (channels,), (channels,))
    dtypes = (x.dtype, x.dtype, x.dtype, accumulation, accumulation)
    layouts = (image_layout(x), *[torch.contiguous_format] * 4)
    return tuple(
        torch.empty(size, dtype=dtype, device=x.device, memory_format=layout)
        if needed
        else torch.empty(0, dtype=accumulation, device=x.device)
        for size, dtype, layout, needed in zip(sizes, dtypes, layouts, needs, strict=True)
    )
