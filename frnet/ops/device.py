"""Which devices this build can serve."""

from __future__ import annotations

from functools import lru_cache

import torch

from frnet import _core


def autocast_is_on(device: torch.device) -> bool:
    """Whether tensors on the device are cast on their way into an op."""
    return device.type in ("cpu", "cuda") and torch.is_autocast_enabled(device.type)


@lru_cache(maxsize=1)
def _has_cuda() -> bool:
    return bool(_core.build_info()["cuda"])


def check_built_for(op: str, device: torch.device) -> None:
    """Raises unless the kernels for the device are in this build."""
    if device.type == "cpu" or device.type == "meta" or (device.type == "cuda" and _has_cuda()):
        return
    if device.type == "cuda":
        raise RuntimeError(
            f"{op}: got a CUDA tensor, but this frnet was built without CUDA. Install the CUDA toolkit (nvcc) and "
            "rebuild with FRNET_CUDA=1 pip install --force-reinstall --no-deps ."
        )
    raise RuntimeError(f"{op}: there are kernels for cpu and cuda tensors, got one on {device}")
