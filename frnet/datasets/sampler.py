"""The order of an epoch: the same for every number of processes and workers, and resumable at any batch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler

__all__ = ["EpochSampler", "seed_of"]


def seed_of(seed: int, number: int) -> int:
    """A seed for torch's generators, from that of a run and the number of an epoch or a step."""
    return (seed * 0x9E3779B97F4A7C15 + number) % 2**63  # odd: the numbers of different seeds do not meet


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a data set needs no state to draw an augmentation anew in every epoch.

    The permutation depends on ``seed`` and the epoch alone. Of ``world`` processes, the one of rank r takes its
    elements r, r + world, ...: with batches of b each, the processes' n-th batches are together the n-th batch of
    ``b * world`` of one process. What does not divide by ``world`` is left out at the end.

    Args:
        data: whatever has a length.
        seed: of the permutation.
        shuffle: whether there is one.
        rank: of this process, from 0.
        world: processes.

    Raises:
        ValueError: a rank outside ``0 <= rank < world``.

    Example:
        >>> sampler = EpochSampler(range(4), seed=1)
        >>> sampler.set_epoch(7)
        >>> sorted(sampler)
        [(7, 0), (7, 1), (7, 2), (7, 3)]
        >>> first = list(sampler)[:2]
        >>> sampler.set_epoch(7, start=2)
        >>> first + list(sampler) == list(EpochSampler(range(4), seed=1, epoch=7))
        True
    """

    def __init__(
        self, data: Sized, *, seed: int = 0, shuffle: bool = True, rank: int = 0, world: int = 1, epoch: int = 0
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"EpochSampler: rank must be at least 0 and below world, got {rank} of {world}")
        self._length = len(data)
        self._seed, self._shuffle, self._rank, self._world = seed, shuffle, rank, world
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """What the next iteration yields.

        Args:
            epoch: from 0.
            start: samples of this process to leave out at the front: those that a run took before it was stopped.
        """
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = torch.arange(self._length)
        if self._shuffle:
            generator = torch.Generator().manual_seed(seed_of(self._seed, self.epoch))
            order = torch.randperm(self._length, generator=generator)
        epoch, count = self.epoch, self._length // self._world
        mine = order[self._rank :: self._world][self.start : count]
        return ((epoch, index) for index in mine.tolist())

    def __len__(self) -> int:
        return max(0, self._length // self._world - self.start)
