"""One function of many things, in several processes, in their order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

__all__ = ["Progress", "map_in_order"]

_CHUNK = 64

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


def map_in_order(
    function: Callable[[Any], Any], things: Sequence[Any], workers: int = 0, progress: Progress | None = None
) -> Iterator[Any]:
    """Yields ``function`` of every thing.

    Args:
        function: picklable if there are workers; each of them is sent it once.
        things: what it is called with, each picklable too.
        workers: processes; 0: this one alone. They are started afresh, so a script that asks for some needs the usual
            ``if __name__ == "__main__":``.
        progress: called after every 64.

    Example:
        >>> list(map_in_order(abs, [-1, 2]))
        [1, 2]
    """
    parts = [things[first : first + _CHUNK] for first in range(0, len(things), _CHUNK)]
    done = 0
    for results in _parts(function, parts, workers):
        yield from results
        done += len(results)
        if progress is not None:
            progress(done, len(things))


def _parts(function: Callable[[Any], Any], parts: list[Sequence[Any]], workers: int) -> Iterator[list[Any]]:
    if workers <= 0 or len(parts) < 2:
        yield from ([function(thing) for thing in part] for part in parts)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(parts)), context, _keep, (function,)) as pool:
        yield from pool.map(_call_kept, parts)


_kept: list[Callable[[Any], Any]] = []  # in a worker process: the function it was sent


def _keep(function: Callable[[Any], Any]) -> None:
    _kept.append(function)


def _call_kept(things: Sequence[Any]) -> list[Any]:
    return [_kept[0](thing) for thing in things]
