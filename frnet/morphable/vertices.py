"""Choosing some of a model's vertices."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["first_positions", "vertex_index"]


def vertex_index(vertices: Any, count: int, device: torch.device) -> torch.Tensor:
    """Which vertices are meant, as int64 [M] from 0; arguments and errors as for ``MorphableModel.subset``."""
    if isinstance(vertices, slice):
        index = torch.tensor(range(count)[vertices], dtype=torch.int64, device=device)
    else:
        index = torch.as_tensor(vertices, device=device)
        if index.dtype == torch.bool:
            if tuple(index.shape) != (count,):
                raise ValueError(f"subset: a mask must be [{count}], got {list(index.shape)}")
            index = index.nonzero()[:, 0]
    if index.ndim != 1 or index.numel() == 0 or index.is_floating_point():
        raise ValueError(
            f"subset: expected at least one vertex index, as [M] whole numbers, got {list(index.shape)} "
            f"of {index.dtype}"
        )
    index = index.to(torch.int64)
    if int(index.min()) < -count or int(index.max()) >= count:
        raise ValueError(
            f"subset: vertex indices go from 0 to {count - 1}, got {int(index.min())} to {int(index.max())}"
        )
    return torch.where(index < 0, index + count, index)


def first_positions(index: torch.Tensor, count: int) -> torch.Tensor:
    """Where each of ``count`` vertices stands first in an index [M]; -1 where it does not. int64 [count]."""
    positions = torch.arange(index.numel(), device=index.device)
    first = torch.full((count,), index.numel(), device=index.device).scatter_reduce(0, index, positions, "amin")
    first[first == index.numel()] = -1
    return first
