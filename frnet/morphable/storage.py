"""One file per model: tensors and text in safetensors, written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frnet.io.tensors import write_in_order

if TYPE_CHECKING:
    import torch

__all__ = ["read", "write"]

_FORMAT = "frnet.morphable/1"


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor | None], metadata: Mapping[str, str]
) -> None:
    """Writes the file, complete or not at all; the same content is the same bytes.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full.
    """
    from safetensors.torch import save

    held = {name: value.detach().cpu().clone() for name, value in tensors.items() if value is not None}
    write_in_order(Path(path), save(held, {"format": _FORMAT, **metadata}))


def read(path: str | os.PathLike[str], framework: str = "pt") -> tuple[dict[str, Any], dict[str, str]]:
    """What :func:`write` wrote.

    Args:
        path: the file.
        framework: ``"pt"`` for tensors, ``"numpy"`` for arrays.

    Raises:
        ValueError: not such a file, or one that is damaged; names the file.
        OSError: the file cannot be opened.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with path.open("rb"):
        pass  # a missing or unreadable file is an OSError that names it
    try:
        with safe_open(path, framework=framework) as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    num_shape = metadata.get("num_shape", "")
    if metadata.get("format") != _FORMAT or not {"mean", "basis"} <= tensors.keys() or not num_shape.isdecimal():
        raise ValueError(
            f"{path}: expected a morphable model of format {_FORMAT}, got "
            f"{metadata.get('format', 'another format')} with the tensors {sorted(tensors)}"
        )
    if tensors["basis"].ndim != 2 or int(num_shape) > tensors["basis"].shape[1]:
        raise ValueError(f"{path}: basis {list(tensors['basis'].shape)} cannot hold {num_shape} shape components")
    return tensors, metadata
