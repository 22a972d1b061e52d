"""Batch normalisation by the batches of all processes of data-parallel training together."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from frnet.ops.batch_norm import fold_statistics

from .batch_norm import batch_statistics_arguments
from .processes import several_processes, sum_over_processes

__all__ = [
    "BatchStatistics",
    "SyncBatchNorm2d",
    "batch_statistics",
    "statistics_over_processes",
    "synchronise_batch_norm",
    "synchronised_scale_and_shift",
    "synchronises",
    "track_statistics",
]


class SyncBatchNorm2d(nn.BatchNorm2d):
    r"""``BatchNorm2d`` whose statistics in training are those of the batches of all processes together.

    .. math::
        \mu = \frac{1}{N} \sum_p n_p \mu_p, \qquad
        \sigma^2 = \frac{1}{N} \sum_p n_p \big(\sigma_p^2 + (\mu_p - \mu)^2\big), \qquad N = \sum_p n_p

    over the processes p with :math:`n_p` values per channel, in float32 or, for float64 inputs, in float64. The batches
    may differ in size; a process with an empty one takes part all the same. The running variance takes
    :math:`\sigma^2 N / (N - 1)` in. Gradients flow through the statistics of all processes, so data-parallel training
    takes the steps of one process with the whole batch. Any device and any backend of ``torch.distributed`` will do.
    In evaluation, and where the group has one process or ``torch.distributed`` is not initialised, it is a
    ``BatchNorm2d``. Parameters, buffers and state dict are those of ``BatchNorm2d``.

    Every process must call its forward, and its backward, equally often: both exchange two vectors of the channels.
    The stages of :mod:`frnet.nn` read such a ``norm`` and synchronise themselves; :func:`synchronise_batch_norm` puts
    it into a model.

    Args:
        num_features: channels of the input.
        eps: added to the variance.
        momentum: share of a batch in the new running statistics; None: the mean over all batches.
        affine: whether there is a weight and a bias.
        track_running_stats: whether there are running statistics; else evaluation takes the batch's own.
        process_group: the processes that belong together; None for all.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: an input of the forward is not [batch, channels, height, width].

    Source: Peng et al., MegDet, CVPR 2018, section 3.3; the variance as in Chan, Golub and LeVeque, 1979, equation 1.4.

    Example:
        >>> import torch
        >>> x = torch.randn(4, 8, 5, 5)
        >>> torch.equal(SyncBatchNorm2d(8)(x), nn.BatchNorm2d(8)(x))  # one process
        True
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: ProcessGroup | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same."""
        if not synchronises(self):
            return super().forward(x)
        self._check_input_dim(x)
        scale, shift = synchronised_scale_and_shift(self, batch_statistics(x))
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(x.dtype)

    def __deepcopy__(self, memo: dict) -> SyncBatchNorm2d:
        """A copy in the same process group, which itself cannot be copied."""
        memo[id(self.process_group)] = self.process_group
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        return twin


def synchronise_batch_norm(module: nn.Module, process_group: ProcessGroup | None = None) -> nn.Module:
    """Makes a SyncBatchNorm2d of every ``nn.BatchNorm2d`` and ``nn.SyncBatchNorm`` of a module, in place.

    They stay the same objects with the same parameters, buffers, settings, training mode and hooks, so an optimiser or
    a chain of :func:`replace_depthwise` that holds one goes on doing so. Left alone: classes derived from these
    (frozen normalisations, timm's with an activation inside) and normalisations of other dimensions. Do it before
    ``DistributedDataParallel`` wraps the model.

    Args:
        module: any module.
        process_group: the processes that belong together; None for all.

    Returns:
        The module.

    Example:
        >>> import frnet
        >>> model = synchronise_batch_norm(frnet.create_model("mobile_frnet", width=0.25))
        >>> type(model.get_submodule("stem.norm")).__name__
        'SyncBatchNorm2d'
    """
    for part in module.modules():
        if type(part) in (nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm2d):
            part.__class__ = SyncBatchNorm2d
            part.process_group = process_group
    return module


def synchronises(norm: nn.Module) -> bool:
    """Whether a normalisation, ours or torch's, takes its statistics from more than one process as it stands."""
    return (
        isinstance(norm, (SyncBatchNorm2d, nn.SyncBatchNorm))
        and norm.training
        and several_processes(norm.process_group)
    )


class BatchStatistics(NamedTuple):
    """Of some values per channel."""

    mean: Tensor  # [channels], at least float32
    variance: Tensor  # [channels], biased
    count: int | Tensor  # how many values each channel has; a tensor where only the processes together know


def batch_statistics(x: Tensor) -> BatchStatistics:
    """Of this process' batch [batch, channels, height, width], which may be empty: then all is 0."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    count = x.shape[0] * x.shape[2] * x.shape[3]
    if count == 0:  # zeros that have a gradient, since the backward pass waits for all processes as well
        zeros = x.sum((0, 2, 3))
        return BatchStatistics(zeros, zeros, 0)
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return BatchStatistics(mean, variance, count)


def statistics_over_processes(local: BatchStatistics, group: ProcessGroup | None) -> BatchStatistics:
    """Of the batches of all processes together."""
    count = local.mean.new_full((1,), local.count)
    sums = sum_over_processes(torch.cat([local.mean * count, count]), group)
    total = sums[-1].detach()
    mean = sums[:-1] / total
    # (Deviations from the common mean add up to zero, so their squares do not change with it to first order.)
    squares = count * (local.variance + (local.mean - mean.detach()).square())
    return BatchStatistics(mean, sum_over_processes(squares, group) / total, total)


@torch.no_grad()
def track_statistics(norm: nn.Module, batch: BatchStatistics) -> None:
    """Counts the batch of all processes and takes its statistics into the running ones, as a forward of torch does."""
    rules = batch_statistics_arguments(norm)
    unbiased = batch.variance * (batch.count / (batch.count - 1).clamp(min=1))
    for running, value in ((rules["running_mean"], batch.mean), (rules["running_var"], unbiased)):
        if running is not None:
            running.copy_(torch.lerp(running.to(value.dtype), value, rules["momentum"]))


def synchronised_scale_and_shift(norm: nn.Module, local: BatchStatistics) -> tuple[Tensor, Tensor]:
    """What a normalisation makes of its channels, [channels] each, given this process' statistics; counts the batch."""
    batch = statistics_over_processes(local, norm.process_group)
    track_statistics(norm, batch)
    return fold_statistics(batch.mean, batch.variance, norm.weight, norm.bias, norm.eps)
