"""Sums over the processes of data-parallel training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["several_processes", "sum_over_processes"]


def several_processes(group: dist.ProcessGroup | None = None) -> bool:
    """Whether this process belongs to a group of more than one. group: None for all processes there are."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1


def sum_over_processes(value: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The sum of all processes' tensors, which have one shape and dtype, in each of the processes.

    Every process of the group must come here, in the forward pass and, where ``value`` has a gradient, in the backward
    pass. The gradient is that of the sum of all processes' losses.
    """
    return _Sum.apply(value, group)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient, ctx.group), None
