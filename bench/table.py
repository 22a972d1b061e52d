"""Writes docs/benchmarks.md, and the README's table, from saved runs: python bench/table.py RUN.json [RUN.json ...]

The published ones: python bench/table.py bench/results/*.json
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from groups import PEERS, family, means

ROOT = Path(__file__).parents[1]

HEADER = """# Benchmarks

Medians of runs in turn: frnet, eager torch and torch.compile on the same tensors in the same process, round by round.
Ratios above 1 mean that frnet is faster; those below are printed in bold. Share: bytes that have to be moved, over the
median, over the measured bandwidth of a large copy (above 100 % the tensors lie in a cache). In the memory table, bold
is more than half.

This page is written by `python bench/table.py`; the runs are in `bench/results/`, each with the commit it measured.

## Measure it yourself

```sh
pytest bench --benchmark-autosave                 # every op against eager torch and torch.compile, in one run
pytest bench --benchmark-compare                  # the same, beside the last saved run
python bench/table.py bench/results/*.json        # this page, and the README's table
python bench/bench_runtime.py                     # frnet.runtime against torch, ONNX Runtime and OpenVINO
python bench/overfit.py                           # every network learns eight photographs by heart
python bench/memory.py                            # peak memory of a training step
python bench/training_throughput.py               # images a second of a training run, against plain torch
python bench/losses_scaling.py                    # time of the losses by batch and vertices, and their memory
python bench/data_rates.py                        # training samples a second
bash bench/gpu_check.sh                           # everything that needs a GPU, into one JSON; stops after nine minutes
```

pytest-benchmark keeps the runs, with commit and machine, under `.benchmarks/`. The closing lines of a run give the
ratios to both peers, shape by shape, and say where frnet is the slower one. Machines are noisy: compare ratios within
one run, on an idle machine.
"""


def section(path: Path) -> str:
    run = json.loads(path.read_text())
    rows = [row for row in run["benchmarks"] if "interleaved_medians" in row["extra_info"]]
    info = run["machine_info"]["cpu"]
    extra = run["benchmarks"][0]["extra_info"]
    lines = [
        f"\n## {path.stem}: {info['brand_raw']}, {extra['threads']} threads, torch {extra['torch']}\n",
        f"Commit {run['commit_info']['id'][:12]}, {run['datetime'][:10]}.\n",
        "| case | frnet, us | against eager | against torch.compile | share of copy bandwidth |",
        "|---|---|---|---|---|",
    ]
    groups = {row["group"]: row["extra_info"]["interleaved_medians"] for row in rows}
    for row in rows:
        medians = row["extra_info"]["interleaved_medians"]
        cells = [ratio(medians[peer] / medians["frnet"]) for peer in PEERS]
        share = row["extra_info"]["share_of_copy_bandwidth"]
        lines.append(f"| {row['group']} | {medians['frnet'] * 1e6:.0f} | {cells[0]} | {cells[1]} | {share:.0%} |")
    lines += ["", "| geometric means | rows | against eager | against torch.compile | worst row against eager |"]
    lines.append("|---|---|---|---|---|")
    for name, count, eager, compiled, worst in means(groups):
        lines.append(f"| {name} | {count} | {ratio(eager)} | {ratio(compiled)} | {ratio(worst)} |")
    return "\n".join(lines) + "\n"


def ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"**{value:.2f}**"


def memory_section(path: Path) -> str:
    rows = json.loads(path.read_text())["rows"]
    lines = [
        "\n## Peak memory of a training step\n",
        "MiB that torch's allocator hands out at once, above what is there before the step (`bench/memory.py`).\n",
        "| stage | shape | frnet | eager | frnet / eager |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ours, eager = (f"{row[name] / 2**20:.1f}" for name in ("frnet", "eager"))
        share = f"{row['ratio']:.2f}" if row["ratio"] <= 0.5 else f"**{row['ratio']:.2f}**"
        lines.append(f"| {row['stage']} | batch {row['batch']} {row['shape']} | {ours} | {eager} | {share} |")
    return "\n".join(lines) + "\n"


def scaling_section(path: Path) -> str:
    run = json.loads(path.read_text())
    lines = [
        f"\n## wpdc_wing by vertices and batch: {run['threads']} threads, torch {run['torch']}\n",
        "Forward and backward (`bench/losses_scaling.py`).\n",
        "| batch | vertices | frnet, ms | ns per vertex of a sample |",
        "|---|---|---|---|",
    ]
    for row in run["by_vertices"] + run["by_batch"]:
        each = row["seconds"] * 1e9 / (row["batch"] * row["vertices"])
        lines.append(f"| {row['batch']} | {row['vertices']} | {row['seconds'] * 1e3:.2f} | {each:.1f} |")
    lines += ["", "| batch | vertices | frnet, MiB | eager, MiB | frnet / eager |", "|---|---|---|---|---|"]
    for row in run["memory"]:
        ours, eager = (f"{row[name] / 2**20:.1f}" for name in ("frnet", "eager"))
        lines.append(f"| {row['batch']} | {row['vertices']} | {ours} | {eager} | {row['ratio']:.3f} |")
    return "\n".join(lines) + "\n"


def data_section(path: Path) -> str:
    run = json.loads(path.read_text())
    lines = [
        f"\n## Training samples from one worker: OpenCV {run['opencv']}, torch {run['torch']}\n",
        f"Per second of processor time. Mobile-FRNet trains on {run['network_per_second']:.0f} crops a second at the "
        f"most with {run['cores']} cores (`bench/data_rates.py`).\n",
        "| data | samples a second | times the network |",
        "|---|---|---|",
    ]
    for row in run["data_rates"]:
        lines.append(f"| {row['data']} | {row['per_second']:.0f} | {ratio(row['ratio'])} |")
    return "\n".join(lines) + "\n"


def overfitting_section(path: Path) -> str:
    run = json.loads(path.read_text())
    lines = [
        f"\n## Eight photographs by heart: {run['device']}, {run['threads']} thread(s), torch {run['torch']}\n",
        f"Commit {run['commit'][:12]}, `bench/overfit.py`. FRNetLoss before the first and after the last step, in",
        "training mode; Wing alone; the last loss in evaluation. The last is larger because running variances are kept",
        "without bias: in the last layers eight crops are 128 values a channel, a difference of 0.8 %.\n",
        "| network | first loss | last loss | first / last | Wing, first | last | evaluated | steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in run["overfitting"]:
        losses = f"{row['first_loss']:.1f} | {row['last_loss']:.3f} | {row['ratio']:.0f}"
        wing = f"{row['first_wing']:.1f} | {row['last_wing']:.3f}"
        rest = f"{row['last_loss_in_evaluation']:.1f} | {row['steps']}"
        lines.append(f"| {row['network']} | {losses} | {wing} | {rest} |")
    return "\n".join(lines) + "\n"


def throughput_section(path: Path) -> str:
    run = json.loads(path.read_text())
    lines = [
        f"\n## A training run of Mobile-FRNet: {run['device']}, {run['threads']} threads, torch {run['torch']}\n",
        f"Commit {run['commit'][:12]}, `bench/training_throughput.py`: reading, augmentation, network, WPDC + Wing on",
        "all vertices, SGD; the same run in plain torch layers and losses beside it.\n",
        "| batch | vertices | contender | images a second | frnet against it |",
        "|---|---|---|---|---|",
    ]
    for row in run["throughput"]:
        name = row["contender"]
        against = "" if name == "frnet" else ratio(row["frnet_times_faster"])
        lines.append(f"| {row['batch']} | {row['vertices']} | {name} | {row['images_per_second']:.1f} | {against} |")
    return "\n".join(lines) + "\n"


# The README's six figures: what it says of them, the run, and whose rows are averaged, families or single groups.
SPEED = (
    ("Mobile-FRNet, one face", "cpu_network", ("fused network inference batch 1",)),
    ("Mobile-FRNet, a batch of 32 faces", "cpu_network", ("fused network inference batch 32",)),
    (
        "its multi-scale stage with the spatial gate, inference",
        "cpu_stage_inference",
        ("hierarchical_sge inference nchw",),
    ),
    (
        "depthwise convolution + batch norm + ReLU6 + gate, a training step",
        "cpu_stage_training",
        ("conv_bn_relu6_se training nchw", "conv_bn_relu6_sge training nchw"),
    ),
    (
        "WPDC + Wing loss on 53,215 vertices of 128 faces, with gradients",
        "cpu_losses",
        ("wpdc_wing forward+backward batch 128 53215 vertices",),
    ),
    (
        "a depthwise convolution alone, channels_last, forward and backward",
        "cpu",
        ("depthwise_conv2d forward+backward channels_last",),
    ),
)
SPEED_MARKS = ("<!-- speed: written by bench/table.py -->\n", "<!-- end of speed -->\n")


def speed_table(runs: dict[str, dict]) -> str | None:
    """How many times as fast as the faster of the two peers, shape by shape; None where a run is not given."""
    if not {name for _, name, _ in SPEED} <= runs.keys():
        return None
    run = runs["cpu_network"]
    machine, extra = run["machine_info"]["cpu"]["brand_raw"], run["benchmarks"][0]["extra_info"]
    lines = [f"| {machine}, {extra['threads']} threads, torch {extra['torch']} | times as fast |", "|---|---|"]
    for text, name, wanted in SPEED:
        medians = [
            row["extra_info"]["interleaved_medians"]
            for row in runs[name]["benchmarks"]
            if "interleaved_medians" in row["extra_info"] and {row["group"], family(row["group"])} & set(wanted)
        ]
        best = statistics.geometric_mean(min(each[peer] for peer in PEERS) / each["frnet"] for each in medians)
        lines.append(f"| {text} | {ratio(best)} |")
    return "\n".join(lines) + "\n"


def with_speed(readme: str, table: str) -> str:
    """The README with the table between its marks."""
    first, last = map(re.escape, SPEED_MARKS)
    return re.sub(f"(?<={first}).*?(?={last})", lambda _: f"\n{table}\n", readme, flags=re.DOTALL)


# What a saved run has in it tells who wrote it.
def detection_section(path: Path) -> str:
    run = json.loads(path.read_text())
    detectors = run["detectors"]
    lines = [
        "\n## Face detectors\n",
        f"Faces found where all show equally many false boxes on {run['faceless']} pictures without faces, and the "
        "time of such a picture (`bench/face_detection.py`). `YuNetDetector` is YuNet as frnet runs it, "
        "`FaceDetectorYN` one pass.\n",
        f"| false boxes | faces | {' | '.join(detectors)} |",
        "|---" * (2 + len(detectors)) + "|",
    ]
    for rows in zip(*(detector["points"] for detector in detectors.values()), strict=True):
        for kind in rows[0]["recall"]:
            found = " | ".join("{} of {}".format(*row["recall"][kind]) for row in rows)
            lines.append(f"| {rows[0]['false_boxes']} | {kind} | {found} |")
    times = " | ".join(f"{detector['milliseconds']['faceless']:.0f} ms" for detector in detectors.values())
    return "\n".join([*lines, f"| | time | {times} |"]) + "\n"


def runtime_section(path: Path) -> str:
    run = json.loads(path.read_text())
    peers = list(dict.fromkeys(peer for row in run["runtime"] for peer in row["seconds"]))
    lines = [
        f"\n## Networks without torch: {run['instruction_set']}, torch {run['torch']}\n",
        f"Commit {run['commit'][:12]}. "
        "Milliseconds of a call, medians of three runs of calls in turn (`bench/bench_runtime.py`); float32. The ratio "
        "is the best peer's time over frnet's. In one process, other runtimes' threads may still spin while frnet's "
        "begin.\n",
        f"| network | threads | batch | {' | '.join(peers)} | best peer / frnet |",
        "|---" * (4 + len(peers)) + "|",
    ]
    for row in run["runtime"]:
        times = " | ".join(f"{row['seconds'][peer] * 1e3:.2f}" if peer in row["seconds"] else "" for peer in peers)
        lines.append(f"| {row['network']} | {row['threads']} | {row['batch']} | {times} | {ratio(row['ratio'])} |")
    for profile in run["profiles"]:
        lines += [
            f"\n{profile['network']}, one thread, batch {profile['batch']}: {profile['share']:.0%} of the "
            f"{profile['peak_gflops']:.0f} GFLOP/s that this core reaches with nothing but multiply-adds.\n",
            "| step | us of a face | GFLOP/s | of the peak |",
            "|---|---|---|---|",
        ]
        for kind, macs, seconds in profile["steps"]:
            rate = 2e-9 * macs / seconds if seconds else 0.0
            share = rate / profile["peak_gflops"]
            lines.append(f"| {kind} | {seconds / profile['batch'] * 1e6:.0f} | {rate:.0f} | {share:.0%} |")
    start = run["cold_start"]
    lines.append(
        f"\n`frnet align photo.jpg` from the shell to its end: {start['seconds']:.2f} s, "
        f"{start['peak_bytes'] / 1e6:.0f} MB at the most. "
        f"A session at batch 1 takes {start['session_bytes'] / 1e6:.0f} MB, weights included."
    )
    return "\n".join(lines) + "\n"


SECTIONS = {
    "runtime": runtime_section,
    "detectors": detection_section,
    "data_rates": data_section,
    "rows": memory_section,
    "by_vertices": scaling_section,
    "overfitting": overfitting_section,
    "throughput": throughput_section,
    "benchmarks": section,
}


def page(paths: Sequence[Path]) -> str:
    """docs/benchmarks.md."""
    text = HEADER
    for path in paths:
        run = json.loads(path.read_text())
        text += next(write for key, write in SECTIONS.items() if key in run)(path)
    return text


def main(paths: Sequence[Path]) -> None:
    (ROOT / "docs" / "benchmarks.md").write_text(page(paths))
    table = speed_table({path.stem: json.loads(path.read_text()) for path in paths})
    if table is not None:
        readme = ROOT / "README.md"
        readme.write_text(with_speed(readme.read_text(), table))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(argument) for argument in sys.argv[1:]])
