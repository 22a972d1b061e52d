"""What every benchmark shares: the peers, the clock, the measured peak, and the closing table of ratios.

Rows of one group run the same work on the same tensors: frnet, torch in eager mode and torch.compile, in one process,
on the CPU or, with --device cuda, on a GPU. What is timed has been checked to agree first.

``pytest bench --benchmark-disable`` checks and times nothing: every benchmark, on a sample of its cases.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from groups import means

CONTENDERS = ["frnet", "eager", "compile"]
SAMPLE = 7  # where nothing is timed, every so manieth case of a benchmark; prime, so as to meet all layouts and kinds


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", choices=["cpu", "cuda"], help="where the benchmarks run")


def pytest_configure(config):
    if config.getoption("benchmark_group_by") == "group":
        config.option.benchmark_columns = ["min", "median", "iqr", "rounds"]
    config.option.benchmark_warmup = True
    # Compiled peers are compiled shape by shape, as a user with fixed shapes would; the cache is shared between rows.
    torch._dynamo.config.cache_size_limit = 512


def pytest_generate_tests(metafunc):
    if "contender" in metafunc.fixturenames:
        disabled = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("contender", CONTENDERS[:1] if disabled else CONTENDERS)


def pytest_collection_modifyitems(config, items):
    """Benchmarks made for the other device are left out."""
    device = config.getoption("device")
    other = {"cpu": "cuda_only", "cuda": "cpu_only"}[device]
    dropped = [item for item in items if item.get_closest_marker(other)]
    if config.getoption("benchmark_disable"):
        cases: dict[str, list[pytest.Item]] = {}
        for item in items:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
        dropped += [item for same in cases.values() for index, item in enumerate(same) if index % SAMPLE]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        left_out = set(dropped)
        items[:] = [item for item in items if item not in left_out]


def pytest_benchmark_update_json(output_json):
    """Leaves out the name of the machine and every single duration: the files are kept in git."""
    output_json["machine_info"].pop("node", None)
    if torch.cuda.is_available():
        output_json["machine_info"]["gpu"] = torch.cuda.get_device_name()
    for row in output_json["benchmarks"]:
        row["stats"].pop("data", None)


@pytest.fixture(scope="session")
def device(request) -> str:
    return request.config.getoption("device")


class Clock:
    """Seconds that a call takes: by the wall on the CPU; by events on a GPU, with its second-level cache flushed."""

    def __init__(self, device: str):
        self.cuda = device == "cuda"
        self.flush = torch.empty(256 * 2**20, dtype=torch.int8, device=device) if self.cuda else None

    def __call__(self, function, *arguments) -> float:
        if not self.cuda:
            begin = time.perf_counter()
            function(*arguments)
            return time.perf_counter() - begin
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.flush.zero_()
        begin.record()
        function(*arguments)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def finished(self, function):
        """The function as something that has ended when it returns."""
        if not self.cuda:
            return function

        def run(*arguments):
            result = function(*arguments)
            torch.cuda.synchronize()
            return result

        return run


@pytest.fixture(scope="session")
def clock(device) -> Clock:
    return Clock(device)


@pytest.fixture(scope="session")
def copy_bandwidth(device, clock) -> float:
    """Bytes per second of a large copy, read plus written: the ceiling of a memory-bound kernel."""
    source = torch.ones((256 if device == "cuda" else 64) * 2**20, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = statistics.median(clock(target.copy_, source) for _ in range(9))
    return 2 * source.numel() * source.element_size() / seconds


@pytest.fixture
def contend(benchmark, copy_bandwidth, clock):
    """contend(contender, ours, theirs, arguments, bytes_moved, call): checks that both agree, then times one of them.

    call(function, *arguments) is what is timed: the function itself, or a step with it; torch.compile is given the
    function alone. The row of frnet also times all three in turn, round by round: medians of that are what the ratios
    come from, since a machine whose speed drifts drifts for all of them.
    """

    def run(contender, ours, theirs, arguments, bytes_moved, call=None, rtol=1e-4):
        call = call or (lambda function, *args: function(*args))
        functions = {"frnet": ours, "eager": theirs}
        got = benchmark(call, ours, *arguments) if benchmark.disabled else call(ours, *arguments)
        for a, e in zip(_tuple(got), _tuple(call(theirs, *arguments)), strict=True):
            assert float((a - e).float().norm() / e.float().norm()) < rtol
        if benchmark.disabled:
            return
        if contender != "eager":
            torch._dynamo.reset()
            functions["compile"] = torch.compile(theirs, dynamic=False)
        timed = {name: lambda *args, f=function: call(f, *args) for name, function in functions.items()}
        for function in timed.values():
            for _ in range(3):
                function(*arguments)
        benchmark(clock.finished(timed[contender]), *arguments)
        benchmark.extra_info.update(contender=contender, torch=torch.__version__, threads=torch.get_num_threads())
        if contender == "frnet":
            medians = _in_turn(clock, timed, arguments)
            rate = bytes_moved / medians["frnet"]
            benchmark.extra_info.update(
                interleaved_medians=medians,
                gigabytes_per_second=rate / 1e9,
                share_of_copy_bandwidth=rate / copy_bandwidth,
            )

    return run


def _in_turn(clock, functions, arguments, seconds=1.0, fewest=9, most=300) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    start = time.perf_counter()
    for round_ in range(most):
        if round_ >= fewest and time.perf_counter() - start > seconds:
            break
        for name, function in functions.items():
            times[name].append(clock(function, *arguments))
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
    for name, count, eager, compiled, worst in means(groups):
        terminalreporter.write_line(
            f"geometric mean over {count:2} of {name}: {eager:.2f}x eager (worst {worst:.2f}x), {compiled:.2f}x compile"
        )
