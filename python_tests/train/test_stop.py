"""What asks a run to stop, and how processes share a step."""

from __future__ import annotations

import signal
import threading

import cv2
import pytest

from frnet.train import ConfigError
from frnet.train.hardware import process_batch_size
from frnet.train.stop import StopRequest, init_training_worker

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers():
    """Those of before, afterwards; and OpenCV's threads, which a worker takes away."""
    before, threads = {number: signal.getsignal(number) for number in SIGNALS}, cv2.getNumThreads()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    cv2.setNumThreads(threads)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request_and_the_second_one_acts_at_once(number):
    acted = []
    for each in SIGNALS:
        signal.signal(each, lambda *_: acted.append(1))
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        assert not acted
        signal.raise_signal(number)
        assert acted == [1]
    signal.raise_signal(number)
    assert acted == [1, 1]


def test_signals_do_what_they_did_where_it_is_not_enabled():
    acted = []
    signal.signal(signal.SIGTERM, lambda *_: acted.append(1))
    with StopRequest(enabled=False) as stop:
        signal.raise_signal(signal.SIGTERM)
    assert acted == [1]
    assert not stop.requested
    entered = []
    thread = threading.Thread(target=lambda: entered.append(StopRequest().__enter__()))  # only the main thread may
    thread.start()
    thread.join()
    assert len(entered) == 1


def test_workers_leave_signals_to_the_process_that_trains():
    init_training_worker(0)
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN, signal.SIG_IGN]


def test_a_batch_that_cannot_be_shared():
    assert process_batch_size(16, 2) == 8
    with pytest.raises(ConfigError, match="batch_size: 15 cannot be shared equally by 2 processes"):
        process_batch_size(15, 2)
