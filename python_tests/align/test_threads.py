"""Threads by the work: one for few crops, all for many, and nobody else notices."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from frnet.align import FaceAligner
from frnet.align.threads import MACS_PER_THREAD, limited_threads

ROI = [80.0, 90.0, 380.0, 390.0]


@pytest.fixture(autouse=True)
def four_threads():
    """As if the machine had them."""
    usual = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(usual)


@pytest.mark.parametrize(("share", "threads"), [(0, 1), (0.5, 1), (1.9, 1), (2, 2), (3.5, 3), (4, 4), (1000, 4)])
def test_threads_by_the_work(share, threads):
    with limited_threads(share * MACS_PER_THREAD) as given:
        assert given == torch.get_num_threads() == threads
    assert torch.get_num_threads() == 4


def test_the_count_is_restored_after_an_error():
    with pytest.raises(RuntimeError, match="in between"), limited_threads(0):
        raise RuntimeError("in between")
    assert torch.get_num_threads() == 4


def test_other_threads_keep_theirs():
    """Those that run already, and those that start meanwhile."""
    seen = {}

    def look(name):
        torch.ones(3).sum()
        seen[name] = torch.get_num_threads()

    with limited_threads(0):
        worker = threading.Thread(target=look, args=("started meanwhile",))
        worker.start()
        worker.join()
        assert torch.get_num_threads() == 1
    worker = threading.Thread(target=look, args=("started after",))
    worker.start()
    worker.join()
    assert seen == {"started meanwhile": 4, "started after": 4}


def test_calls_at_the_same_time_do_not_disturb_one_another():
    both, counts = threading.Barrier(2, timeout=60), []

    def work():
        with limited_threads(0):
            both.wait()  # both are inside
            counts.append(torch.get_num_threads())
        both.wait()
        counts.append(torch.get_num_threads())

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(counts) == [1, 1, 4, 4]
    assert torch.get_num_threads() == 4


def test_with_torch_a_face_runs_on_one_thread_and_many_on_all(checkpoint, grid, files, rng, monkeypatch):
    monkeypatch.setattr("frnet.align.aligner.open_session", lambda network: None)
    aligner = FaceAligner(checkpoint, grid, files.whitening_v2)
    counts = []
    handle = aligner.model.register_forward_pre_hook(lambda *_: counts.append(torch.get_num_threads()))
    image = rng.integers(0, 256, (450, 450, 3), dtype=np.uint8)
    aligner(image, rois=[ROI])
    aligner(image, rois=[ROI] * 64)
    handle.remove()
    assert counts == [1, 4]
    assert torch.get_num_threads() == 4
