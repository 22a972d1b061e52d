"""The parts of a model card that follow from files: between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["fill", "recipe_lines"]


def fill(card: Path, name: str, text: str) -> None:
    """Puts a text between the marks of this name, in place of what is there.

    Raises:
        ValueError: the card has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, first, rest = card.read_text("utf-8").partition(begin)
    _, last, tail = rest.partition(end)
    if not first or not last:
        raise ValueError(f"{card} has no {begin.strip()} followed by {end}")
    card.write_text(f"{head}{first}\n{text.strip()}\n\n{last}{tail}", "utf-8")


def recipe_lines(recipe: dict[str, Any]) -> str:
    """A recipe (:func:`shipped_weights.recipe.training_recipe`) in sentences, one item a run."""
    lines = []
    for run in recipe["runs"]:
        config, faces = run["config"], run.get("faces", {}).get("store", {})
        settings, schedule = config["model"]["settings"], config["schedule"]
        shape = f"{settings.get('input_size', 120)} px, width {settings.get('width', 1.0):g}"
        begun = ", from the weights of the run before" if config["model"].get("pretrained") else ""
        made = f"{faces['faces']:,} faces of seed {faces['seed']}" if faces else "faces"
        share = f", {faces['ingredients']['portraits']:.0%} of them turned portraits" if faces else ""
        versions = ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
        error = run.get("validation_nme_percent")
        came_to = "" if error is None else f", {error:.2f} % on rendered faces of another seed"
        lines.append(
            f"- {shape}{begun}: {config['epochs']} epochs in batches of {config['batch_size']}, "
            f"{run.get('samples_seen', 0):,} samples seen; a store of {made}{share}; "
            f"{config['optimizer']['kind']} with a rate of {config['optimizer']['lr']:g} ({schedule['kind']}), "
            f"seed {run['seed']}; {versions}, {run.get('device', 'cpu')}{came_to}"
        )
    lines.append(f"- In all {recipe['samples_seen']:,} samples seen.")
    return "\n".join(lines)
