"""The device a caller asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["check_device"]


def check_device(device: torch.device | str | None) -> str:
    """The device as text; torch is loaded to look for a GPU alone.

    Raises:
        ValueError: a device of another kind.
        RuntimeError: there is no such GPU here.
    """
    text = str(device or "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise ValueError(
            f"FaceAligner: device={text} is none that frnet runs on: give cpu, cuda or, of several, cuda:1"
        )
    if text != "cpu":
        import torch

        if (torch.device(text).index or 0) >= torch.cuda.device_count():
            there = f"{torch.cuda.device_count()} of them" if torch.cuda.is_available() else "no CUDA device"
            raise RuntimeError(f"FaceAligner: device {text} was asked for, and torch sees {there}")
    return text
