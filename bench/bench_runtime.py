"""Networks at inference on a CPU: frnet.runtime against eager torch, torch.compile, ONNX Runtime and OpenVINO.

    python bench/bench_runtime.py [--networks mobile_frnet ..] [--threads 1 2] [--batches 1 32] [--runs 3]
        [--out bench/results/runtime.json]

One process, the same weights and crops, outputs compared before anything is timed. The contenders take turns, call by
call; a run's figure is the median of its turns, and what is printed the median of the runs. Ratios are the peer's time
over frnet's: above 1 frnet is faster. Peers that are not installed are left out and said so. torch is run as its users
run it (fused network, and the plain one under torch.compile with max-autotune and freezing); the others read the file
that frnet exports.

Also: the share of the machine's peak that each step of the network reaches, the cold start of the command line, and
what a session adds to a process's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

import frnet
from frnet.export import to_onnx

NETWORKS = {
    "mobile_frnet": {"pretrained": "builtin"},
    "mobile_frnet small": {"pretrained": "small"},
    "mobilenet_v1 x0.5": {"width": 0.5},
    "mobilenet_v2": {},
    "damdnet": {},
}
ROOT = Path(__file__).parents[1]
Run = Callable[[np.ndarray], np.ndarray]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return frnet.create_model(name.split()[0], **NETWORKS[name]).eval()


def contenders(model: nn.Module, onnx: Path, threads: int, batch: int, wanted: list[str]) -> Iterator[tuple[str, Run]]:
    """Each with its name; what cannot be had is reported."""
    session = model.to_session(num_threads=threads)
    yield "frnet", session.run
    fused = model.fuse()
    yield "eager", lambda x: fused(torch.from_numpy(x)).numpy()
    if "compile" in wanted:
        import torch._inductor.config as inductor

        inductor.freezing = True
        compiled = torch.compile(network_in_plain_layers(model), mode="max-autotune")
        yield "compile", lambda x: compiled(torch.from_numpy(x)).numpy()
    with contextlib.suppress(ImportError):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        runtime = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        yield "onnxruntime", lambda x: runtime.run(None, {"crops": x})[0]
    with contextlib.suppress(ImportError):
        import openvino

        core = openvino.Core()
        graph = core.read_model(str(onnx))
        size = model.config.input_size
        graph.reshape([batch, 3, size, size])
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(graph, "CPU", settings).create_infer_request()
        yield "openvino", lambda x: request.infer({0: x})[0]


def network_in_plain_layers(model: nn.Module) -> nn.Module:
    """For torch.compile, which does best where it can see every layer."""
    if model.architecture != "mobile_frnet" or model.config.width != 1:
        return model
    from plain_network import PlainMobileFRNet

    return PlainMobileFRNet().load_from(model).eval()


def medians(runs: dict[str, Run], crops: np.ndarray, seconds: float) -> dict[str, float]:
    """Of turns that last so long altogether, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(crops)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["frnet"]) < 5:
        for name, run in runs.items():
            begin = time.perf_counter()
            run(crops)
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(name: str, model: nn.Module, onnx: Path, threads: int, batch: int, arguments: argparse.Namespace) -> dict:
    torch.set_num_threads(threads)
    size = model.config.input_size
    crops = np.random.default_rng(0).normal(0, 0.5, (batch, 3, size, size)).astype(np.float32)
    peers = dict(contenders(model, onnx, threads, batch, arguments.peers))
    expected = peers["eager"](crops)
    for peer, run in peers.items():
        error = np.abs(run(crops) - expected).max() / np.abs(expected).max()
        if not error < 1e-3:
            raise SystemExit(f"{name}: {peer} gives another result than torch, off by {error:.1e} of the largest value")
    each = [medians(peers, crops, arguments.seconds) for _ in range(arguments.runs)]
    seconds = {peer: statistics.median(run[peer] for run in each) for peer in peers}
    best = min((peer for peer in peers if peer != "frnet"), key=seconds.get)
    row = {"network": name, "threads": threads, "batch": batch, "seconds": seconds, "best": best}
    row["ratio"] = seconds[best] / seconds["frnet"]
    row["ratios_of_runs"] = [run[best] / run["frnet"] for run in each]
    shown = ", ".join(f"{peer} {value * 1e3:.2f}" for peer, value in seconds.items())
    print(f"{name}, {threads} thread(s), batch {batch}: {shown} ms; {best} / frnet {row['ratio']:.2f}", flush=True)
    return row


PEAK = """
#include <chrono>
#include <cstdio>
typedef float V __attribute__((vector_size(BYTES)));
__attribute__((noinline)) void work(V* values) {
  V a[COUNT], m = values[0], c = values[1];
  for (int i = 0; i < COUNT; ++i) a[i] = values[i];
  for (int k = 0; k < 200000; ++k) {
#pragma GCC unroll 24
    for (int i = 0; i < COUNT; ++i) a[i] = a[i] * m + c;
  }
  for (int i = 0; i < COUNT; ++i) values[i] = a[i];
}
int main() {
  V values[COUNT];
  for (auto& value : values) value = V{} + 0.9f;
  double best = 0;
  for (int r = 0; r < 40; ++r) {
    auto begin = std::chrono::steady_clock::now();
    work(values);
    double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    double rate = 2.0 * COUNT * (BYTES / 4) * 200000 / s * 1e-9;
    if (rate > best) best = rate;
  }
  std::printf("%.1f", best);
}
"""


def peak_gflops(instruction_set: str) -> float:
    """Multiply-adds that one core can do at most, measured with nothing but them."""
    flags, width, count = {
        "avx512": (["-mavx512f", "-mavx512vl", "-mprefer-vector-width=512"], 64, 24),
        "avx2": (["-mavx2", "-mfma"], 32, 12),
        "baseline": ([], 16, 12),
    }[instruction_set]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "peak.cpp"), Path(folder, "peak")
        source.write_text(PEAK)
        command = ["g++", "-O3", *flags, f"-DBYTES={width}", f"-DCOUNT={count}", str(source), "-o", str(program)]
        subprocess.run(command, check=True)
        return float(subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout)


def profile(name: str, batch: int) -> dict:
    """Where the time of one thread goes, by kind of step, beside the machine's peak."""
    session = network(name).to_session(num_threads=1)
    peak = peak_gflops(session.instruction_set)
    steps = session.profile(batch, 50)
    kinds: dict[str, list] = {}
    for step in steps:
        kind = step.name.split(".")[-1]
        total = kinds.setdefault("gates" if kind.isdigit() else kind, [0, 0.0])
        total[0] += step.macs
        total[1] += step.seconds
    seconds, macs = sum(step.seconds for step in steps), sum(step.macs for step in steps)
    rows = [[kind, *values] for kind, values in sorted(kinds.items(), key=lambda item: -item[1][1])]
    share = 2e-9 * macs / seconds / peak
    print(f"{name}, batch {batch}: {seconds / batch * 1e3:.2f} ms a face, {share:.0%} of a peak of {peak:.0f} GFLOP/s")
    return {"network": name, "batch": batch, "peak_gflops": peak, "steps": rows, "seconds": seconds, "share": share}


MEMORY = """
import resource, sys, numpy
from frnet.runtime import Session
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
session = Session(sys.argv[1], num_threads=1)
session.run(numpy.zeros((1, 3, session.input_size, session.input_size), numpy.float32))
print(resident() - before)
"""


def cold_start() -> dict:
    """Of ``frnet align`` from the shell, in new processes: seconds until it has ended, and its peak memory."""
    code = "import resource, subprocess, sys, time; b = time.perf_counter(); subprocess.run(sys.argv[1:], check=True, "
    code += (
        "capture_output=True); print(time.perf_counter() - b, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        picture = ROOT / "docs" / "assets" / "portrait.jpg"
        command = [sys.executable, "-m", "frnet", "align", str(picture), "--out", folder, "--json"]
        runs = [
            subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
            for _ in range(6)
        ]
    seconds, kilobytes = zip(*(map(float, run.stdout.split()) for run in runs[1:]), strict=True)
    weights = ROOT / "frnet" / "weights" / "data" / "mobile_frnet.safetensors"
    added = int(subprocess.check_output([sys.executable, "-c", MEMORY, str(weights)], text=True))
    result = {"seconds": statistics.median(seconds), "peak_bytes": 1024 * max(kilobytes), "session_bytes": added}
    print(
        f"frnet align: {result['seconds']:.2f} s, {result['peak_bytes'] / 1e6:.0f} MB at the most; "
        f"a session at batch 1 adds {added / 1e6:.0f} MB to a process"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS)[:3], metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="of a run")
    parser.add_argument(
        "--peers", nargs="*", default=["compile"], help="compile: torch.compile too, minutes of compiling"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            model, onnx = network(name), Path(folder, "network.onnx")
            to_onnx(model, onnx)
            for threads in arguments.threads:
                for batch in arguments.batches:
                    rows.append(measure(name, model, onnx, threads, batch, arguments))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = {
        "commit": commit.strip(),
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "frnet": frnet.__version__,
        "instruction_set": network("mobilenet_v1 x0.5").to_session().instruction_set,
        "runtime": rows,
        "profiles": [profile(name, batch) for name in arguments.networks for batch in (1, 32)],
        "cold_start": cold_start(),
    }
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
