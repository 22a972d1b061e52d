"""Stopping a run between two steps, when asked to."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType

from frnet.datasets import init_worker

__all__ = ["StopRequest", "init_training_worker"]

_SIGNALS = signal.SIGINT, signal.SIGTERM


class StopRequest(AbstractContextManager):
    """Whether SIGINT (Ctrl-C) or SIGTERM came while this was entered. The second one interrupts at once, as always.

    Args:
        enabled: False: signals do what they did. (Of several processes, all would have to stop at the same step.)
    """

    def __init__(self, enabled: bool = True) -> None:
        self.requested = False
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._before = {}

    def __enter__(self) -> StopRequest:
        if self._enabled:
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()


def init_training_worker(worker: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: Ctrl-C in a terminal and a scheduler's SIGTERM go to all processes.

    The worker leaves them to the one that trains, which needs it up to the step's end and shuts it down itself.
    """
    init_worker(worker)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
