"""Peak memory of a training step of the depthwise stage, frnet's modules beside plain torch layers.

    python bench/memory.py [--batch 32] [--out bench/results/memory.json]

What torch's allocator hands out is counted, above what is there before the step: the input, the parameters and the
gradient from above are not; results, saved activations and gradients are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "python_tests"))

from support.depthwise_samples import NETWORK_SHAPES
from test_depthwise_stage import STAGES, draw, make_stages
from torch.profiler import ProfilerActivity, profile


def peak_bytes(step) -> int:
    """The highest sum of allocations minus releases during step, by torch's own record of its allocator."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()
    now = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def training_step(module, x, upstream):
    parameters = [x, *module.parameters()]

    def step():
        torch.autograd.grad(module(x), parameters, upstream)

    return step


def measure(kind: str, batch: int, channels: int, size: int, stride: int) -> dict:
    ours, plain = (module.train() for module in make_stages(kind, channels, stride, "cpu"))
    x = draw("nchw", batch, channels, size, "cpu").requires_grad_()
    upstream = torch.randn_like(plain(x))
    frnet, eager = (peak_bytes(training_step(module, x, upstream)) for module in (ours, plain))
    shape = f"{channels}x{size}x{size} stride {stride}"
    return {"stage": kind, "batch": batch, "shape": shape, "frnet": frnet, "eager": eager, "ratio": frnet / eager}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [measure(kind, options.batch, *shape) for kind in STAGES for shape in NETWORK_SHAPES]
    for row in rows:
        print(
            f"{row['stage']:20} batch {row['batch']} {row['shape']:20} frnet {row['frnet'] / 2**20:7.1f} MiB   "
            f"eager {row['eager'] / 2**20:7.1f} MiB   {row['ratio']:.2f}"
        )
    for kind in STAGES:
        ratios = [row["ratio"] for row in rows if row["stage"] == kind]
        print(f"{kind:20} {min(ratios):.2f} to {max(ratios):.2f} of eager's")
    if options.out:
        options.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
