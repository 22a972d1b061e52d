"""Errors of trained networks: on rendered faces, on photographs that mb05 labels, and, once it counts, on AFLW2000-3D.

    python tools/measure_builtin_weights.py builtin small --store STORE --shared ../shared/data

Rendered faces (a validation store of tools/render_faces.py) and photographs are for choosing; the samples of
AFLW2000-3D are looked at with ``--final`` alone, for networks that are done. Tables are printed as Markdown, as a model
card has them. ``--model`` is for weights of another face, such as mb05's landmark basis.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from shipped_weights.card import fill  # noqa: E402
from shipped_weights.measure import Errors, aflw2000_errors, open_labeller, photo_errors, rendered_errors  # noqa: E402

from frnet.align import FaceAligner  # noqa: E402
from frnet.evaluate import YAW_BINS  # noqa: E402
from frnet.morphable import open_morphable  # noqa: E402
from frnet.weights import builtin_weights  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="a file, builtin or small")
    parser.add_argument("--model", help="of the checkpoints; default: the built-in face")
    parser.add_argument("--store", type=Path, help="rendered faces that were not learned from")
    parser.add_argument("--faces", type=int, default=2000, help="of the store")
    parser.add_argument("--shared", type=Path, default=os.environ.get("FRNET_SHARED", "../shared/data"))
    parser.add_argument(
        "--final", action="store_true", help="also look at the samples of AFLW2000-3D: every look counts"
    )
    parser.add_argument("--detector", default="builtin", help="for whole pictures, with --final")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--cards", action="store_true", help="put the tables of builtin and small into their cards")
    arguments = parser.parse_args()
    morphable = None if arguments.model is None else open_morphable(arguments.model)
    labeller = open_labeller(arguments.shared)
    figures = {}
    for name in arguments.checkpoints:
        aligner = FaceAligner(name, morphable, detector=arguments.detector if arguments.final else None)
        measured: list[Errors] = []
        if arguments.store is not None:
            measured.append(rendered_errors(aligner.checkpoint, aligner.morphable, arguments.store, arguments.faces))
        measured.append(photo_errors(aligner, labeller, arguments.shared / "photos"))
        if arguments.final:
            measured += aflw2000_errors(aligner, arguments.shared / "aflw2000-3d-sample")
        figures[name] = [errors.summary() for errors in measured]
        if arguments.cards and name in builtin_weights():
            fill(builtin_weights()[name].with_suffix(".md"), "measured", table(figures[name]))
        print(f"{name}: {aligner.checkpoint.architecture}, {aligner.input_size} px\n\n{table(figures[name])}\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def table(summaries: list[dict]) -> str:
    """NME in percent, a row for each set, and under it the faces that have names."""
    lines = [
        f"| NME, % | found | mean | inner 51 | jaw 17 | {' | '.join(YAW_BINS)} | worst |",
        f"|---|{'---|' * (5 + len(YAW_BINS))}",
    ]
    for each in summaries:
        cells = [each["mean"], each["inner_51"], each["jaw_17"], *each["bins"], each["worst"]]
        text = " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {each['title']} | {each['found']} of {each['faces']} | {text} |")
    for each in summaries:
        if each["each"]:
            named = (f"{name} {'none' if value is None else f'{value:.2f}'}" for name, value in each["each"].items())
            lines += ["", f"{each['title']}, one by one: {', '.join(named)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
