"""How the time of a wpdc_wing step grows with vertices and batch, and what memory it takes beside eager torch.

    python bench/losses_scaling.py [--out bench/results/losses_scaling.json]

A step is forward and backward. Memory is what torch's allocator hands out at once, above what is there before the
step: the model, the predictions and the targets are not in it; losses, gradients and all scratch are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from memory import peak_bytes
from plain_losses import PlainWpdcWing
from test_wpdc_wing import VERTICES, make_model

from frnet import ops

VERTEX_CURVE = [(128, vertices) for vertices in (68, 1_000, 10_000, VERTICES, 200_000)]
BATCH_CURVE = [(batch, VERTICES) for batch in (1, 4, 16, 64, 256, 1024, 4096)]
MEMORY_AT = [(16, VERTICES), (128, VERTICES)]


def make_step(function, batch: int):
    pred, target = torch.randn(batch, 62, requires_grad=True), torch.randn(batch, 62)

    def step():
        wpdc, wing = function(pred, target)
        torch.autograd.grad(0.5 * wpdc.mean() + wing.mean(), pred)

    return step


def median_seconds(step, seconds: float = 2.0, fewest: int = 5) -> float:
    step()
    times = []
    start = time.perf_counter()
    while len(times) < fewest or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def time_of(batch: int, vertices: int) -> dict:
    model = make_model(vertices, "cpu")
    seconds = median_seconds(make_step(lambda p, t: ops.wpdc_wing(p, t, model), batch))
    return {"batch": batch, "vertices": vertices, "seconds": seconds}


def memory_of(batch: int, vertices: int) -> dict:
    model = make_model(vertices, "cpu")
    ours = peak_bytes(make_step(lambda p, t: ops.wpdc_wing(p, t, model), batch))
    eager = peak_bytes(make_step(PlainWpdcWing(model), batch))
    return {"batch": batch, "vertices": vertices, "frnet": ours, "eager": eager, "ratio": ours / eager}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args()
    torch.manual_seed(0)
    results = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    for name, curve in (("by_vertices", VERTEX_CURVE), ("by_batch", BATCH_CURVE)):
        results[name] = []
        for batch, vertices in curve:
            row = time_of(batch, vertices)
            results[name].append(row)
            each = row["seconds"] * 1e9 / (batch * vertices)
            print(f"batch {batch:5} vertices {vertices:7} {row['seconds'] * 1e3:10.2f} ms   {each:7.2f} ns per vertex")
    results["memory"] = [memory_of(batch, vertices) for batch, vertices in MEMORY_AT]
    for row in results["memory"]:
        print(
            f"batch {row['batch']:5} vertices {row['vertices']:7} frnet {row['frnet'] / 2**20:8.1f} MiB   "
            f"eager {row['eager'] / 2**20:8.1f} MiB   {row['ratio']:.3f}"
        )
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
