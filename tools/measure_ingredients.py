"""What each ingredient of the training faces is worth: trains a small network without it, at equal budget.

    python tools/measure_ingredients.py --ict FaceXModel --assets DIR --validation STORE --output DIR

For every row faces are made without one ingredient, a network is trained on them from the same seed for as many
samples, and its last weights are measured on rendered faces that have everything (``--validation``) and on photographs
that mb05 labels (``--shared``). What is done stays in ``--output``, so that it goes on where it was stopped; the faces
themselves are removed when a row is done. How far networks of other seeds part, which a row's difference has to be held
against, ``--seeds 2`` tells: it trains each row twice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from shipped_weights.measure import open_labeller, photo_errors, rendered_errors  # noqa: E402

from frnet.align import FaceAligner  # noqa: E402
from frnet.train import load_config, train  # noqa: E402

# What a row leaves out. Portraits make place for rendered faces, so that every row sees as many samples.
ROWS = {
    "everything": {},
    "no turned portraits": {"portraits": 0.0},
    "no colours of photographs": {"photo_colours": False},
    "no portraits, no colours of photographs": {"portraits": 0.0, "photo_colours": False},
    "no mixed colours": {"mixed_colours": False},
    "no paint": {"brows_and_lips": False, "beard": False, "make_up": False, "wrinkles": False},
    "no gaze": {"gaze": False},
    "no hair, no hats": {"hair": False, "hats": False},
    "no glasses": {"glasses": False},
    "nothing in front": {"glasses": False, "things": False, "patches": False},
    "no shadows": {"shadows": False},
    "no photographs behind": {"photo_backgrounds": False},
    "no degradation": {"degradation": False},
    "narrow pitch and roll": {"poses": {"pitch": 25.0, "roll": 20.0}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument(
        "--validation", type=Path, required=True, help="store of faces with everything, of another seed"
    )
    parser.add_argument("--shared", type=Path, default=os.environ.get("FRNET_SHARED", "../shared/data"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--faces", type=int, default=20_000, help="that are made for a row")
    parser.add_argument("--samples", type=int, default=160_000, help="that a network sees")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that make faces")
    parser.add_argument("--train-workers", type=int, default=1, help="processes that read them")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = {name: [_row(arguments, name, seed) for seed in range(arguments.seeds)] for name in arguments.rows}
    print(table(results))
    (arguments.output / "ingredients.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _row(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, dict]:
    """Errors on rendered faces and on photographs, from the file of a run that is done, or of a new one."""
    folder = arguments.output / f"{name.replace(',', '').replace(' ', '_')}-{seed}"
    figures = folder / "errors.json"
    if figures.is_file():
        return json.loads(figures.read_text("utf-8"))
    store = folder / "faces"
    making = {"ict": arguments.ict, "assets": arguments.assets, "output": store, "faces": arguments.faces}
    making |= {"seed": 1 + seed, "workers": arguments.workers, "ingredients": json.dumps(ROWS[name])}
    words = [word for option, value in making.items() for word in (f"--{option}", str(value))]
    subprocess.run([sys.executable, str(ROOT / "tools" / "render_faces.py"), *words], check=True)
    settings = {
        "data.store": store,
        "data.validation_store": arguments.validation,
        "model.settings.input_size": arguments.size,
        "model.settings.width": arguments.width,
        "epochs": max(1, round(arguments.samples / arguments.faces)),
        "seed": seed,
        "hardware.workers": arguments.train_workers,
    }
    config = load_config("builtin", [f"{setting}={value}" for setting, value in settings.items()])
    run = train(config, folder / "run", resume=True)
    if not run.finished:
        sys.exit(130)
    aligner = FaceAligner(run.folder.last, detector=None)
    errors = {
        "rendered": rendered_errors(aligner.checkpoint, aligner.morphable, arguments.validation).summary(),
        "photographs": photo_errors(aligner, open_labeller(arguments.shared), arguments.shared / "photos").summary(),
    }
    figures.write_text(json.dumps(errors, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(store)
    return errors


def table(results: dict[str, list[dict[str, dict]]]) -> str:
    """NME in percent of each row, as Markdown, means over the seeds; with the difference from the first row."""
    first = next(iter(results))
    means = {
        name: [np.mean([run[kind]["mean"] for run in runs]) for kind in ("rendered", "photographs")]
        for name, runs in results.items()
    }
    lines = [
        f"| NME, % | rendered | photographs | worse than {first}: rendered | photographs |",
        "|---|---|---|---|---|",
    ]
    for name, values in means.items():
        differences = (
            ["", ""] if name == first else [f"{v - w:+.2f}" for v, w in zip(values, means[first], strict=True)]
        )
        lines.append(f"| {name} | {' | '.join([*(f'{value:.2f}' for value in values), *differences])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
