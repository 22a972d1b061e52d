"""Optimisers, and the learning rate as a function of the step alone, so that nothing of it has to be restored."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .config import SGD, Milestones, Optimizer, Schedule

__all__ = ["averaged", "build_optimizer", "learning_rate"]


def build_optimizer(section: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a configuration, for all parameters of a network.

    What has one dimension (normalisations and biases) makes a group of its own, which decays only if the section says
    so.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    vector_decay = section.weight_decay if section.weight_decay_of_vectors else 0.0
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": vector_decay},
    ]
    arguments = section.model_dump(exclude={"kind", "weight_decay", "weight_decay_of_vectors"})
    optimizer = torch.optim.SGD if isinstance(section, SGD) else torch.optim.AdamW
    return optimizer([group for group in groups if group["params"]], **arguments)


def learning_rate(schedule: Schedule, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The rate of a step.

    Args:
        schedule: of the configuration.
        base: the optimiser's ``lr``.
        step: from 0.
        steps_per_epoch: of them.
        epochs: of the run.

    Example:
        >>> rule = Milestones(kind="milestones", milestones=[30, 40], factor=0.2, warmup_epochs=5)
        >>> [round(learning_rate(rule, 0.02, epoch - 1, 1, 50), 6) for epoch in (1, 5, 6, 30, 31, 40, 41)]
        [0.004, 0.004, 0.02, 0.02, 0.004, 0.004, 0.0008]
    """
    if isinstance(schedule, Milestones):
        epoch = step // steps_per_epoch + 1
        if epoch <= schedule.warmup_epochs:
            return base * schedule.factor
        return base * schedule.factor ** sum(milestone < epoch for milestone in schedule.milestones)
    warmup, total = schedule.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    if step < warmup:
        return base * (step + 1) / (warmup + 1)
    fraction = (step - warmup) / max(1.0, total - 1 - warmup)
    return base * (schedule.final_factor + (1 - schedule.final_factor) * 0.5 * (1 + math.cos(math.pi * fraction)))


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights and running statistics, in evaluation mode.

    The n-th update has the decay ``min(decay, (1 + n) / (10 + n))``, so that the random start is soon forgotten.
    """
    average = AveragedModel(network, multi_avg_fn=partial(_average, decay), use_buffers=True)
    return average.eval().requires_grad_(False)


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], values: list[Tensor], updates: Tensor) -> None:
    if not averages[0].is_floating_point():  # numbers of batches
        torch._foreach_copy_(averages, values)
        return
    # (As tensors of their device: a number would have to be waited for.)
    share = 1 - torch.clamp((1 + updates) / (10 + updates), max=decay)
    differences = torch._foreach_sub(values, averages)
    torch._foreach_mul_(differences, share)
    torch._foreach_add_(averages, differences)
