"""What all training sets do: the same sample from every process, bad ones replaced, splits."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from frnet import geometry
from frnet.datasets import (
    AugmentationConfig,
    EpochSampler,
    Flip,
    ProceduralFaces,
    Sample,
    ThreeHundredWLP,
    init_worker,
    network_input,
)
from frnet.io.images import ImageError

AUGMENTATION = AugmentationConfig()


@pytest.fixture
def data(wlp, model, tmp_path):
    return ThreeHundredWLP(wlp, model, cache=tmp_path / "cache", augmentation=AUGMENTATION, seed=3)


def equal(a: Sample, b: Sample) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def epoch_of(data, epoch, **options) -> list[Sample]:
    sampler = EpochSampler(data, seed=1)
    loader = DataLoader(data, batch_size=4, sampler=sampler, worker_init_fn=init_worker, **options)
    sampler.set_epoch(epoch)
    return list(loader)


def test_a_sample_is_what_it_says(data):
    sample = data[0]
    assert sample.image.shape == (120, 120, 3)
    assert sample.image.dtype == torch.uint8
    assert sample.params.shape == (62,)
    assert sample.params.dtype == sample.landmarks.dtype == torch.float32
    assert sample.landmarks.shape == (68, 2)
    assert sample.index.dtype == torch.int64
    assert sample.replaced.dtype == torch.bool
    assert equal(data[-1], data[8])
    with pytest.raises(IndexError):
        _ = data[9]


def test_a_sample_depends_on_seed_epoch_and_index_alone(data, wlp, model, tmp_path):
    first = [data[2, index] for index in range(9)]
    for index in (7, 0, 3):
        assert equal(data[2, index], first[index])
        assert not torch.equal(data[1, index].image, first[index].image)
        assert not torch.equal(data[1, index].params, first[index].params)
    assert equal(data[4], data[0, 4])
    assert equal(pickle.loads(pickle.dumps(data))[2, 5], first[5])
    other = ThreeHundredWLP(wlp, model, cache=tmp_path / "cache", augmentation=AUGMENTATION, seed=4)
    assert not torch.equal(other[2, 5].image, first[5].image)
    # In a subset a face keeps its augmentation, though not its number; only what hides it may come from the others.
    part = data.with_augmentation(replace(AUGMENTATION, occlusion=None)).subset([5, 2])
    assert torch.equal(part[2, 0].image, data.with_augmentation(part.augmentation)[2, 5].image)
    assert int(part[2, 0].index) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 1},
        {"num_workers": 2, "multiprocessing_context": "fork"},
        {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
    ],
    ids=["one", "fork", "spawn"],
)
def test_workers_change_nothing(data, options):
    sampler = EpochSampler(data, seed=1)
    loader = DataLoader(data, batch_size=4, sampler=sampler, worker_init_fn=init_worker, **options)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        got, wanted = list(loader), epoch_of(data, epoch)
        assert [len(batch.image) for batch in got] == [4, 4, 1]
        assert all(equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_pickles_are_small(data, tmp_path):
    assert len(pickle.dumps(data)) < 8000


def test_without_augmentation_epochs_are_alike(data):
    plain = data.with_augmentation(None)
    assert equal(plain[0, 3], plain[9, 3])
    assert equal(plain[3], data.with_augmentation(AugmentationConfig.none())[3])
    assert data.augmentation is AUGMENTATION


def test_a_bad_sample_is_replaced_and_counted(data, wlp, caplog):
    bad = [index for index in range(9) if data.name(index) in ("AFW/image00475.jpg", "AFW/image00514.jpg")]
    assert bad == [2, 3]
    (wlp / data.name(2)).unlink()
    (wlp / data.name(3)).write_bytes(b"\xff\xd8broken")
    sample = data[1, 2]
    assert bool(sample.replaced)
    assert int(sample.index) == 4
    assert torch.equal(sample.params, data[1, 4].params)
    assert torch.equal(sample.image, data[1, 4].image)
    for _ in range(3):
        _ = data[0, 3]
    lines = [record.message for record in caplog.records if "replaced by the next one" in record.message]
    assert len(lines) == 2  # each file once
    assert any("image00475.jpg: no such file" in line for line in lines)
    assert any("image00514.jpg is truncated" in line for line in lines)
    batches = epoch_of(data, 0)
    assert sum(int(batch.replaced.sum()) for batch in batches) == 2
    assert [len(batch.image) for batch in batches] == [4, 4, 1]


def test_the_last_sample_is_followed_by_the_first(data, wlp):
    (wlp / data.name(8)).unlink()
    assert int(data[8].index) == 0


def test_nothing_can_be_read(data, wlp):
    for index in range(9):
        (wlp / data.name(index)).unlink()
    with pytest.raises(ImageError, match=r"not one of 9 samples in a row .*, the first of them AFW/image00514\.jpg"):
        _ = data[3]


def test_subsets(data):
    part = data.subset([8, 0, 0])
    assert len(part) == 3
    assert [part.name(index) for index in range(3)] == [data.name(8), data.name(0), data.name(0)]
    mask = np.arange(9) % 2 == 0
    assert [data.subset(mask).name(index) for index in range(5)] == [data.name(index) for index in range(0, 9, 2)]
    assert part.subset([1]).name(0) == data.name(0)
    assert len(data) == 9
    with pytest.raises(ValueError, match="at least one sample of 9"):
        data.subset([])
    with pytest.raises(IndexError):
        data.subset([9])


def test_a_split_keeps_groups_together_and_is_stable():
    faces = ProceduralFaces(400)
    faces.row_group = lambda row: f"person {row // 5}"
    train, held_out = faces.split(0.25)
    rows = [set(part._rows.tolist()) for part in (train, held_out)]
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == 400
    assert not {row // 5 for row in rows[0]} & {row // 5 for row in rows[1]}
    assert 50 < len(held_out) < 150
    assert held_out.augmentation is None
    # A sample's side does not depend on which others there are.
    few = faces.subset(range(0, 400, 2)).split(0.25)[1]
    assert set(few._rows.tolist()) == {row for row in rows[1] if row % 2 == 0}
    assert faces.split(0.25, seed=1)[1]._rows.tolist() != held_out._rows.tolist()


@pytest.mark.parametrize("share", [0, 1, -0.2, float("nan")])
def test_a_split_needs_two_sides(data, share):
    with pytest.raises(ValueError, match="share must be above 0 and below 1"):
        data.split(share)


def test_an_empty_side_is_refused(data):
    with pytest.raises(ValueError, match=r"1 samples in 1 groups leave one side empty at a share of 0\.1"):
        data.subset([0]).split(0.1)


def test_flips_are_refused_where_labels_cannot_follow(data):
    flips = replace(AugmentationConfig.none(), flip=Flip())
    with pytest.raises(ValueError, match=r"flips need labels that can follow.*\*_Flip"):
        data.with_augmentation(flips)
    data.with_augmentation(replace(flips, flip=Flip(probability=0)))
    assert ProceduralFaces(1, augmentation=flips).mirror is not None  # the procedural face mirrors


def test_network_input_is_normalize(data):
    batch = next(iter(DataLoader(data, batch_size=4)))
    got = network_input(batch.image)
    np.testing.assert_array_equal(got, geometry.normalize(batch.image.numpy()))
    assert got.is_contiguous()
    assert network_input(batch.image, torch.float16).dtype == torch.float16
    with pytest.raises(ValueError, match=r"must be uint8 .* got \[4, 3, 120, 120\] torch.float32"):
        network_input(got)
    with pytest.raises(ValueError, match=r"got \[120, 120, 3\] torch.uint8"):
        network_input(batch.image[0])
