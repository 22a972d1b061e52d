"""How many threads a piece of work is worth.

Torch's threads wait for one another at the end of every layer. Where one of them has lost its core to another program,
all of them stand still until it is back, which on a busy machine costs more than a small batch itself. So few crops run
on the calling thread alone, and more of them on as many threads as they can keep busy.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import cache

import torch

__all__ = ["MACS_PER_THREAD", "limited_threads"]

MACS_PER_THREAD = 2e8  # multiply-adds: about 5 ms, beside which the waits between layers are small


@contextlib.contextmanager
def limited_threads(macs: float) -> Iterator[int]:
    """Inside it torch runs on the threads that so much work is worth: between one and those it has anyway.

    The count of the calling thread alone is changed, and restored at the end: OpenMP keeps one for every thread. So
    callers in several threads do not disturb one another, nor whatever else uses torch meanwhile.

    Args:
        macs: multiply-adds of the work.

    Yields:
        The number of threads.
    """
    usual = torch.get_num_threads()
    wanted = int(min(max(macs // MACS_PER_THREAD, 1), usual))
    if wanted == usual:
        yield usual
        return
    set_threads = _setter()
    set_threads(wanted)
    try:
        yield wanted
    finally:
        set_threads(usual)


@cache
def _setter() -> Callable[[int], object]:
    """OpenMP's own function, where torch heeds it: torch's also sets what threads that start meanwhile begin with."""
    usual = torch.get_num_threads()
    openmp = getattr(ctypes.CDLL(None), "omp_set_num_threads", None)
    if openmp is not None:
        openmp(usual + 1)
        heeded = torch.get_num_threads() == usual + 1
        openmp(usual)
        if heeded:
            return openmp
    return torch.set_num_threads
