"""Writes docs/benchmarks.md from saved runs of pytest-benchmark: python bench/table.py RUN.json [RUN.json ...]"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from groups import PEERS, means

HEADER = """# Benchmarks

Medians of runs in turn: frnet, eager torch and torch.compile on the same tensors in the same process, round by round.
Ratios above 1 mean that frnet is faster; those below are printed in bold. Share: bytes that have to be moved, over the
median, over the measured bandwidth of a large copy (above 100 % the tensors lie in a cache). In the memory table, bold
is more than half.

This page is written by `python bench/table.py`; the runs are in `bench/results/`.
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


# What a saved run has in it tells who wrote it.
SECTIONS = {
    "data_rates": data_section,
    "rows": memory_section,
    "by_vertices": scaling_section,
    "overfitting": overfitting_section,
    "throughput": throughput_section,
    "benchmarks": section,
}


def main(paths: list[str]) -> None:
    page = HEADER
    for path in map(Path, paths):
        run = json.loads(path.read_text())
        page += next(write for key, write in SECTIONS.items() if key in run)(path)
    Path(__file__).parents[1].joinpath("docs", "benchmarks.md").write_text(page)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
