"""Makes the weights that ship of a training run's checkpoint: kernels as float16, and how they were trained.

    python tools/ship_weights.py RUN/best.safetensors mobile_frnet

writes ``frnet/weights/data/mobile_frnet.safetensors`` and says how large it is and what rounding changes, on faces of
the store that the run validated with. Scales, shifts and running statistics stay float32. The card beside the file gets
the recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from shipped_weights.card import fill, recipe_lines  # noqa: E402
from shipped_weights.measure import open_store, predict_store  # noqa: E402
from shipped_weights.recipe import store_of, training_recipe  # noqa: E402

from frnet.evaluate import nme_percent  # noqa: E402
from frnet.weights import Checkpoint, builtin_weights, find_morphable, load_checkpoint, save_checkpoint  # noqa: E402

_LARGEST = 0.02  # percent of the face's size: what rounding may move the landmarks of a face by, on average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="best.safetensors or last.safetensors in the folder of a run")
    parser.add_argument("name", choices=[path.stem for path in builtin_weights().values()])
    parser.add_argument("--output", type=Path, default=ROOT / "frnet/weights/data", help="folder")
    parser.add_argument("--store", type=Path, help="faces to compare on; default: those of the run")
    parser.add_argument("--faces", type=int, default=512)
    arguments = parser.parse_args()
    store = arguments.store or store_of(arguments.checkpoint)
    if store is None:
        parser.error("the faces that the run learned from are gone: give --store")
    checkpoint = load_checkpoint(arguments.checkpoint)
    if find_morphable(checkpoint) is None:
        parser.error(f"{arguments.checkpoint} was not trained for the built-in face")
    recipe = training_recipe(arguments.checkpoint)
    path = arguments.output / f"{arguments.name}.safetensors"
    save_checkpoint(path, dataclasses.replace(checkpoint, recipe=recipe), half=True)
    config = checkpoint.network.config
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, from {arguments.checkpoint.stat().st_size / 1e6:.2f} MB")
    print(f"{checkpoint.architecture}, {config.input_size} px, width {config.width:g}, licence {checkpoint.licence}")
    moved = compare(checkpoint, load_checkpoint(path), store, arguments.faces)
    card = path.with_suffix(".md")
    if card.is_file():
        fill(card, "recipe", recipe_lines(recipe))
    print(recipe_lines(recipe))
    if moved > _LARGEST:
        sys.exit(f"rounding moves landmarks by {moved:.3f} % of a face, more than {_LARGEST} %: not fit to ship")


def compare(before: Checkpoint, after: Checkpoint, store: Path, count: int) -> float:
    """Prints what rounding changes; returns the mean distance of landmarks, in percent of the face's size."""
    faces, morphable = open_store(store, before.input_size, count), find_morphable(before)
    truth = np.stack([faces[index].landmarks.numpy() for index in range(len(faces))]).astype(np.float64)
    old, new = (predict_store(checkpoint, faces, morphable)[..., :2] for checkpoint in (before, after))
    distance = np.linalg.norm(new - old, axis=2)
    moved = float(nme_percent(new, old, box=truth).mean())
    print(
        f"rounding moves the landmarks of {len(faces)} faces by {distance.mean():.4f} crop pixels on average, at most "
        f"{distance.max():.4f}, or {moved:.4f} % of the face; NME {nme_percent(old, truth).mean():.4f} % before, "
        f"{nme_percent(new, truth).mean():.4f} % after"
    )
    return moved


if __name__ == "__main__":
    main()
