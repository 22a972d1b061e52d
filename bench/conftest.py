"""What every benchmark shares: the peers, the measured peak, and the closing table of ratios.

Rows of one group run the same work on the same tensors: frnet, torch in eager mode and torch.compile, in one process.
What is timed has been checked to agree first.
"""

from __future__ import annotations

import statistics
import sys
import time
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


def pytest_benchmark_update_json(output_json):
    """Leaves out the name of the machine and every single duration: the files are kept in git."""
    output_json["machine_info"].pop("node", None)
    for row in output_json["benchmarks"]:
        row["stats"].pop("data", None)


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
    """contend(contender, ours, theirs, arguments, bytes_moved): checks that both agree, then times one of them.

    The row of frnet also times all three in turn, round by round: medians of that are what the ratios come from, since
    a machine whose speed drifts drifts for all of them.
    """

    def run(contender, ours, theirs, arguments, bytes_moved, rtol=1e-4):
        for a, e in zip(_tuple(ours(*arguments)), _tuple(theirs(*arguments)), strict=True):
            assert float((a - e).norm() / e.norm()) < rtol
        functions = {"frnet": ours, "eager": theirs}
        if contender != "eager":
            torch._dynamo.reset()
            functions["compile"] = torch.compile(theirs, dynamic=False)
        for function in functions.values():
            function(*arguments)
        benchmark(functions[contender], *arguments)
        benchmark.extra_info.update(contender=contender, torch=torch.__version__, threads=torch.get_num_threads())
        if contender == "frnet":
            medians = _in_turn(functions, arguments)
            rate = bytes_moved / medians["frnet"]
            benchmark.extra_info.update(
                interleaved_medians=medians,
                gigabytes_per_second=rate / 1e9,
                share_of_copy_bandwidth=rate / copy_bandwidth,
            )

    return run


def _in_turn(functions, arguments, seconds=1.5, fewest=9, most=300) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    start = time.perf_counter()
    for round_ in range(most):
        if round_ >= fewest and time.perf_counter() - start > seconds:
            break
        for name, function in functions.items():
            begin = time.perf_counter()
            function(*arguments)
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def pytest_terminal_summary(terminalreporter, config):
    """How much faster frnet was than both peers, group by group, and where it was not."""
    session = getattr(config, "_benchmarksession", None)
    groups = {
        row.group: row.extra_info["interleaved_medians"]
        for row in (session.benchmarks if session else [])
        if "interleaved_medians" in row.extra_info
    }
    if not groups:
        return
    terminalreporter.section("time of a peer / time of frnet, medians of runs in turn (above 1: frnet is faster)")
    width = max(map(len, groups))
    for name, times in groups.items():
        eager, compiled = (times[peer] / times["frnet"] for peer in ("eager", "compile"))
        slower = "" if min(eager, compiled) >= 1 else "   slower than the best peer"
        terminalreporter.write_line(
            f"{name:{width}}  frnet {times['frnet'] * 1e6:10.1f} us   eager {eager:6.2f}x   "
            f"compile {compiled:6.2f}x{slower}"
        )
    for peer in ("eager", "compile"):
        ratio = statistics.geometric_mean(times[peer] / times["frnet"] for times in groups.values())
        terminalreporter.write_line(f"geometric mean over {len(groups)} groups against {peer}: {ratio:.2f}x")
