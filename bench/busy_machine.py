"""Milliseconds that a tracked face takes while other programs keep the processors busy.

    python bench/busy_machine.py [--loops 8] [--turns 25] [--frames 8] [--out bench/results/busy_machine.json]

A face that is followed through a video: one crop, one pass of MobileNetV1 x0.5, a dense mesh. The same work is done by
two processes, in turns of some frames: with the threads that frnet's runtime takes, and with one. First alone, then
beside busy loops.

What counts is the 90th percentile of frnet's frames beside the loops, over that of one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CONTENDERS = {"frnet": "threads frnet takes", "one": "one thread"}
BUSY_LOOP = "while True: pass"


def work(contender: str) -> None:
    """The process of one contender: for every line on standard input, that many frames; their times as JSON."""
    import numpy as np
    import torch

    from frnet.align import FaceAligner, Regions, aligner
    from frnet.models import create_model
    from frnet.morphable.procedural import procedural_face

    if contender == "one":
        aligner.open_session = lambda network: network.to_session(num_threads=1)
    torch.manual_seed(0)
    face = procedural_face()
    mean = np.zeros(62)
    mean[[0, 5, 10, 3, 7]] = 5e-4, 5e-4, 5e-4, 60, 60  # whatever the network says, the face looks at the camera
    follow = FaceAligner(create_model("mobilenet_v1_050"), face, (mean, np.full(62, 1e-6)))
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    regions = Regions(np.array([[400.0, 200.0, 640.0, 440.0]]))
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            follow.fit([image], [regions])
            times.append(1e3 * (time.perf_counter() - begin))
        print(json.dumps({"times": times}), flush=True)


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing, as fast as they can."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(workers: dict[str, subprocess.Popen], turns: int, frames: int) -> dict[str, list[float]]:
    """Times of all frames of each; they take turns, and begin in turn."""
    found: dict[str, list[float]] = {name: [] for name in workers}

    def take_turn(name: str, frames: int, counts: bool) -> None:
        workers[name].stdin.write(f"{frames}\n")
        workers[name].stdin.flush()
        times = json.loads(workers[name].stdout.readline())["times"]
        found[name] += times if counts else []

    for turn in range(turns + 1):
        for name in ("frnet", "one") if turn % 2 else ("one", "frnet"):
            take_turn(name, frames, counts=turn > 0)  # the first one warms up
    return found


def summary(times: list[float]) -> dict[str, float]:
    return {
        "median_ms": statistics.median(times),
        "p90_ms": statistics.quantiles(times, n=10)[-1],
        "frames": len(times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, default=8, help="busy loops beside the work")
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--frames", type=int, default=8, help="of a turn")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    parser.add_argument("--work", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--work", name]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers[name] = stack.enter_context(subprocess.Popen(command, **pipes))
            stack.callback(workers[name].stdin.close)
        load = os.getloadavg()[0]
        alone = measure(workers, options.turns, options.frames)
        with busy(options.loops):
            beside = measure(workers, options.turns, options.frames)
    rows = []
    for place, times in (("alone", alone), (f"beside {options.loops} busy loops", beside)):
        for name, title in CONTENDERS.items():
            row = {"where": place, "contender": title, **summary(times[name])}
            rows.append(row)
            print(f"{place:22} {title:24} median {row['median_ms']:7.1f} ms, p90 {row['p90_ms']:7.1f} ms")
    ratio = rows[2]["p90_ms"] / rows[3]["p90_ms"]
    print(f"p90 of frnet over that of one thread, beside busy loops: {ratio:.2f}")
    if options.out:
        facts = {"cores": os.cpu_count(), "load_before": load, "p90_ratio": ratio}
        options.out.write_text(json.dumps({**facts, "busy_machine": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
