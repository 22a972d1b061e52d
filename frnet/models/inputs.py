"""What every network here expects of its input, checked in one place."""

from __future__ import annotations

import torch
from torch import Tensor


def check_crops(x: Tensor, size: int, weight: Tensor, model: str) -> None:
    """Refuse a batch that the network would misread.

    Args:
        x: [batch, 3, size, size], BGR, normalised to about [-1, 1]; batch may be 0.
        size: side of the crop the network was built for, in pixels.
        weight: a parameter of the network; gives the wanted dtype and device.
        model: name of the network, for the message.

    Raises:
        TypeError: ``x`` is not a tensor, or of another dtype than the weights outside autocast.
        ValueError: another shape, or another device than the weights.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{model}: x must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(
            f"{model}: x must be normalised crops in {weight.dtype}, got {x.dtype}; "
            "frnet.geometry.normalize turns uint8 crops into what the network expects"
        )
    if x.dim() != 4 or tuple(x.shape[1:]) != (3, size, size):
        raise ValueError(f"{model}: x must be [batch, 3, {size}, {size}], got {list(x.shape)}")
    if x.device != weight.device:
        raise ValueError(f"{model}: x is on {x.device}, the weights are on {weight.device}")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(f"{model}: x is {x.dtype}, the weights are {weight.dtype}")
