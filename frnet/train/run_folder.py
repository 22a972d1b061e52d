"""The folder of a run: its configuration, the state it goes on from, its weights and its figures."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from frnet.io.files import write_whole

from .config import TrainConfig
from .config_files import ConfigError, dump_config

__all__ = ["RunFolder", "RunState", "TrainingError"]

_FORMAT = "frnet-training-2"
# What may be another when a run goes on: it changes where and how it runs, not what comes out.
_FREE = (
    "hardware.accelerator",
    "hardware.devices",
    "hardware.nodes",
    "hardware.workers",
    "checkpoint",
    "logging",
    "data.cache",
)


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message says why, and what is left."""


@dataclass
class RunState:
    """What a run needs to go on as if it had never stopped. Order and augmentation follow from seed and step.

    Attributes:
        step: steps taken.
        tensors: state dicts of network, optimiser, average and gradient scaler.
        best_nme_percent: of the weights in ``best.safetensors``.
        history: a row of figures for each validation.
    """

    step: int = 0
    tensors: dict[str, Any] = field(default_factory=dict)
    best_nme_percent: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


class RunFolder:
    """Names of the files of a run, and how they are read and written.

    Attributes:
        path: the folder.
        config: ``config.yaml``, every setting.
        environment: ``environment.json``, versions, device and processes.
        state: ``state.ckpt``, what the run goes on from.
        best: ``best.safetensors``, the weights with the lowest validation error.
        last: ``last.safetensors``, the newest ones.
        metrics: ``metrics.csv``, a row for each validation.
        tensorboard: the folder of event files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        self.config, self.environment = self.path / "config.yaml", self.path / "environment.json"
        self.state = self.path / "state.ckpt"
        self.best, self.last = self.path / "best.safetensors", self.path / "last.safetensors"
        self.metrics, self.tensorboard = self.path / "metrics.csv", self.path / "tensorboard"

    def open(self, config: TrainConfig, resume: bool) -> RunState | None:
        """Look whether a run may begin or go on here; changes nothing.

        Returns:
            The state to go on from, or None for a run that begins.

        Raises:
            TrainingError: there is a run and it is not to go on, or its state cannot be read.
            ConfigError: it is a run of another configuration; names what differs.
        """
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path} is a file, wanted a folder for the run")
        if not self.state.exists():
            return None
        if not resume:
            raise TrainingError(f"{self.path} holds a run: --resume goes on with it, another --out begins a new one")
        stored = self._read_state()
        differing = _differences(stored["config"], config.model_dump(mode="json"))
        if differing:
            raise ConfigError(f"{self.path} is a run of another configuration: " + "; ".join(differing))
        return RunState(**{name: stored[name] for name in ("step", "tensors", "best_nme_percent", "history")})

    def create(self, config: TrainConfig, environment: dict[str, Any]) -> None:
        """Make the folder, and write into it what the run depends on."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.config, dump_config(config).encode())
        write_whole(self.environment, json.dumps(environment, indent=1).encode())

    def save(self, config: TrainConfig, state: RunState) -> None:
        """Write the state. The one before stays until all of the new one is on the disk.

        Raises:
            OSError: the disk is full, say.
        """
        stored = {"format": _FORMAT, "config": config.model_dump(mode="json"), **vars(state)}
        content = io.BytesIO()
        torch.save(stored, content)
        write_whole(self.state, content.getbuffer())

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """Write the table of figures anew."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[-1]))
        writer.writeheader()
        writer.writerows(history)
        write_whole(self.metrics, text.getvalue().encode())

    def _read_state(self) -> dict[str, Any]:
        try:
            stored = torch.load(self.state, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrainingError(
                f"the state {self.state} is damaged or no such file ({reason}); without it the run begins anew"
            ) from None
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise TrainingError(f"{self.state} is no state of a training run of this version of frnet")
        return stored


def _differences(stored: dict[str, Any], given: dict[str, Any]) -> list[str]:
    mine, theirs = _flat(stored), _flat(given)
    names = [name for name in {**mine, **theirs} if not name.startswith(_FREE)]
    return [
        f"{name} is {mine.get(name)!r} there and {theirs.get(name)!r} here"
        for name in names
        if mine.get(name) != theirs.get(name)
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return flat
