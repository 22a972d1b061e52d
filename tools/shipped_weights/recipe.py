"""What the files of a training run say of how its weights came about."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from frnet.datasets.faces.factory import BLOCK

__all__ = ["store_of", "training_recipe"]

_PLACES = ("data.store", "data.validation_store", "model.pretrained")  # settings that are paths of one machine


def training_recipe(checkpoint: Path) -> dict[str, Any]:
    """The runs that a checkpoint comes from, the first one first, without paths of the machine they ran on.

    Args:
        checkpoint: ``best.safetensors`` or ``last.safetensors`` in a run's folder.

    Returns:
        ``runs``, each with its whole configuration, versions, seeds, faces seen and validation error; and the faces
        seen in all. What a run's folder does not say is left out, and so is a run that began the others and is gone.

    Raises:
        OSError, ValueError: the folder is that of no run.
    """
    runs = list(_runs(checkpoint))
    return {"runs": runs, "samples_seen": sum(run.get("samples_seen", 0) for run in runs)}


def store_of(checkpoint: Path) -> Path | None:
    """Faces to look at: those that the run validated with, else those it learned from; None where they are gone."""
    data = _config(checkpoint.parent)["data"]
    known = (data.get(name) for name in ("validation_store", "store"))
    return next((Path(path) for path in known if path and Path(path).is_dir()), None)


def _runs(checkpoint: Path) -> Iterator[dict[str, Any]]:
    folder = checkpoint.parent
    config = _config(folder)
    earlier = config["model"].get("pretrained")
    if earlier and Path(earlier).with_name("config.yaml").is_file():
        yield from _runs(Path(earlier))
    run: dict[str, Any] = {"config": _without_places(config), "seed": config["seed"], "weights": checkpoint.name}
    environment = folder / "environment.json"
    if environment.is_file():
        facts = json.loads(environment.read_text("utf-8"))
        run["versions"] = {name: facts[name].split()[0] for name in ("frnet", "torch", "python") if name in facts}
        run["device"] = facts.get("device")
    row = _row(folder, checkpoint.name)
    if row is not None:
        run["samples_seen"] = int(row["step"]) * config["batch_size"]
        run["validation_nme_percent"] = round(float(row["nme_percent"]), 3)
    stores = {name: _described(config["data"].get(name)) for name in ("store", "validation_store")}
    run["faces"] = {name: described for name, described in stores.items() if described is not None}
    yield run


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the checkpoint has to lie in the folder of its run")
    return yaml.safe_load(path.read_text("utf-8"))


def _row(folder: Path, name: str) -> dict[str, str] | None:
    """The validation that the weights had: the best one or the last one."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return min(rows, key=lambda row: float(row["nme_percent"])) if name.startswith("best") else rows[-1]


def _described(store: str | None) -> dict[str, Any] | None:
    """What a store of faces was made of."""
    if store is None or not Path(store, "store.json").is_file():
        return None
    stored = json.loads(Path(store, "store.json").read_text("utf-8"))
    return {"size": stored["size"], "faces": BLOCK * stored["slots"], **stored["settings"]}


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    copied = json.loads(json.dumps(config))
    for place in _PLACES:
        section, name = place.split(".")
        if copied[section].get(name):
            copied[section][name] = Path(copied[section][name]).name
    return copied
