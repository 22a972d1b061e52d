"""The order of an epoch."""

from __future__ import annotations

import pytest
from torch.utils.data import BatchSampler

from frnet.datasets import EpochSampler


def order(sampler):
    return [index for _, index in sampler]


def test_every_sample_once_in_another_order_each_epoch():
    sampler = EpochSampler(range(50), seed=5)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert {each for each, _ in sampler} == {epoch}
        orders.append(order(sampler))
        assert sorted(orders[-1]) == list(range(50))
        assert order(sampler) == orders[-1]  # iterating draws nothing
    assert len({tuple(each) for each in orders}) == 3
    assert order(EpochSampler(range(50), seed=6)) != orders[0]
    assert order(EpochSampler(range(50), shuffle=False)) == list(range(50))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_together_take_the_batches_of_one(world):
    """Each global batch of world * 4 is the same set of samples, so gradients averaged over processes are too."""
    length = 50 // world * world
    parts = [
        list(BatchSampler(EpochSampler(range(50), seed=2, rank=rank, world=world), 4, drop_last=True))
        for rank in range(world)
    ]
    whole = list(BatchSampler(EpochSampler(range(50), seed=2), 4 * world, drop_last=True))
    assert len({len(part) for part in parts}) == 1
    for step, batches in enumerate(zip(*parts, strict=True)):
        assert sorted(index for batch in batches for index in batch) == sorted(whole[step])
    assert sum(len(EpochSampler(range(50), rank=rank, world=world)) for rank in range(world)) == length


def test_an_epoch_goes_on_where_it_was_left():
    sampler = EpochSampler(range(31), seed=9, rank=1, world=2, epoch=4)
    whole = list(sampler)
    assert len(sampler) == len(whole) == 15
    sampler.set_epoch(4, start=6)
    assert list(sampler) == whole[6:]
    assert len(sampler) == 9
    sampler.set_epoch(5)
    assert len(sampler) == 15


def test_ranks_that_do_not_exist():
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="rank must be at least 0 and below world"):
            EpochSampler(range(4), rank=rank, world=world)
