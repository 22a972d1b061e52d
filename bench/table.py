"""Writes docs/benchmarks.md from saved runs of pytest-benchmark: python bench/table.py RUN.json [RUN.json ...]"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

HEADER = """# Benchmarks

Medians of runs in turn: frnet, eager torch and torch.compile on the same tensors in the same process, round by round.
Ratios above 1 mean that frnet is faster; those below are printed in bold. Share: bytes that have to be moved, over the
median, over the measured bandwidth of a large copy (above 100 % the tensors lie in a cache).

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
    ratios: dict[str, list[float]] = {"eager": [], "compile": []}
    for row in rows:
        medians = row["extra_info"]["interleaved_medians"]
        cells = []
        for peer, collected in ratios.items():
            ratio = medians[peer] / medians["frnet"]
            collected.append(ratio)
            cells.append(f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**")
        share = row["extra_info"]["share_of_copy_bandwidth"]
        lines.append(f"| {row['group']} | {medians['frnet'] * 1e6:.0f} | {cells[0]} | {cells[1]} | {share:.0%} |")
    means = {peer: statistics.geometric_mean(collected) for peer, collected in ratios.items()}
    lines.append(f"| geometric mean | | {means['eager']:.2f} | {means['compile']:.2f} | |")
    return "\n".join(lines) + "\n"


def main(paths: list[str]) -> None:
    page = HEADER + "".join(section(Path(path)) for path in paths)
    Path(__file__).parents[1].joinpath("docs", "benchmarks.md").write_text(page)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
