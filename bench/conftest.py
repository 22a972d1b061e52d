"""What every benchmark shares: the peers, the measured peak, and the closing table of ratios.

Rows of one group run the same work on the same tensors: frnet, torch in eager mode and torch.compile, one after the
other in one process. What is timed has been checked to agree first.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "python_tests"))

CONTENDERS = ["frnet", "eager", "compile"]


def pytest_configure(config):
    if config.getoption("benchmark_group_by") == "group":
        config.option.benchmark_columns = ["min", "median", "iqr", "rounds"]
    config.option.benchmark_warmup = True


def pytest_generate_tests(metafunc):
    if "contender" in metafunc.fixturenames:
        metafunc.parametrize("contender", CONTENDERS)


@pytest.fixture(scope="session")
def copy_bandwidth() -> float:
    """Bytes per second of a large copy, read plus written: the ceiling of a memory-bound kernel."""
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.numel() * source.element_size() / statistics.median(times)


@pytest.fixture
def contend(benchmark, copy_bandwidth):
    """contend(contender, ours, theirs, arguments, bytes_moved): checks that both agree, then times one of them."""

    def run(contender, ours, theirs, arguments, bytes_moved, rtol=1e-4):
        expected = theirs(*arguments)
        actual = ours(*arguments)
        for a, e in zip(_tuple(actual), _tuple(expected), strict=True):
            assert float((a - e).norm() / e.norm()) < rtol
        if contender == "frnet":
            function = ours
        elif contender == "eager":
            function = theirs
        else:
            torch._dynamo.reset()
            function = torch.compile(theirs, dynamic=False)
            function(*arguments)
        benchmark(function, *arguments)
        rate = bytes_moved / benchmark.stats.stats.median
        benchmark.extra_info.update(
            contender=contender,
            gigabytes_per_second=rate / 1e9,
            share_of_copy_bandwidth=rate / copy_bandwidth,
            torch=torch.__version__,
            threads=torch.get_num_threads(),
        )

    return run


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def pytest_terminal_summary(terminalreporter, config):
    """How much faster frnet was than the best peer, group by group, and where it was not."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for row in session.benchmarks if session else []:
        if row.stats.rounds:
            groups[row.group][row.extra_info.get("contender")] = row.stats.median
    complete = {name: times for name, times in groups.items() if set(CONTENDERS) <= set(times)}
    if not complete:
        return
    terminalreporter.section("median time of a peer / median time of frnet (above 1: frnet is faster)")
    width = max(map(len, complete))
    for name, times in complete.items():
        eager, compiled = (times[peer] / times["frnet"] for peer in ("eager", "compile"))
        slower = "" if min(eager, compiled) >= 1 else "   slower than the best peer"
        terminalreporter.write_line(
            f"{name:{width}}  frnet {times['frnet'] * 1e6:10.1f} us   eager {eager:6.2f}x   "
            f"compile {compiled:6.2f}x{slower}"
        )
    for peer in ("eager", "compile"):
        ratio = statistics.geometric_mean(times[peer] / times["frnet"] for times in complete.values())
        terminalreporter.write_line(f"geometric mean over {len(complete)} groups against {peer}: {ratio:.2f}x")
