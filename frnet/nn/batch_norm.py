"""What a ``torch.nn.BatchNorm2d`` tells the ops that compute in its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frnet.ops.batch_norm import fold_statistics

__all__ = [
    "batch_statistics_arguments",
    "fold_batch_norm",
    "fold_into_convolution",
    "normalises_by_batch",
    "refuse_fusing",
]


def normalises_by_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether the module's forward would take the batch's statistics, as torch decides it."""
    return norm.training or (norm.running_mean is None and norm.running_var is None)


def batch_statistics_arguments(norm: nn.BatchNorm2d) -> dict[str, Any]:
    """Arguments of ``ops.depthwise_conv2d_bn_act`` in place of a forward of ``norm``; counts the batch as it does."""
    momentum = 0.0 if norm.momentum is None else norm.momentum
    tracked = norm.training and norm.track_running_stats
    if tracked and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the mean of all batches so far
            momentum = 1.0 / float(norm.num_batches_tracked)
    return {
        "bn_weight": norm.weight,
        "bn_bias": norm.bias,
        "running_mean": norm.running_mean if tracked else None,
        "running_var": norm.running_var if tracked else None,
        "training": True,
        "momentum": momentum,
        "eps": norm.eps,
    }


def fold_batch_norm(norm: nn.BatchNorm2d, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scale and shift [channels] of a normalisation by running statistics, at least float32; differentiable.

    bias: of the convolution in front of it, which goes into the shift.
    """
    dtype = torch.promote_types(norm.running_var.dtype, torch.float32)
    mean, variance = norm.running_mean.to(dtype), norm.running_var.to(dtype)
    scale, shift = fold_statistics(mean, variance, norm.weight, norm.bias, norm.eps)
    return scale, shift if bias is None else torch.addcmul(shift, scale, bias.to(dtype))


def fold_into_convolution(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with a normalisation by running statistics in it, of the weight's dtype."""
    scale, shift = (value.to(conv.weight.dtype) for value in fold_batch_norm(norm, conv.bias))
    return conv.weight * scale[:, None, None, None], shift


def refuse_fusing(module: nn.Module, *norms: nn.BatchNorm2d) -> None:
    """Raises where there is nothing that stays the same to fold."""
    name = type(module).__name__
    if module.training or any(norm.training for norm in norms):
        raise RuntimeError(f"{name}: fuse() folds the running statistics, which training changes: call eval() first")
    if any(norm.running_mean is None or norm.running_var is None for norm in norms):
        raise RuntimeError(f"{name}: fuse() needs running statistics; this one has track_running_stats=False")
