"""What a checkpoint file of ours says, its network aside; read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors

from frnet.morphable.whitening import Whitening, load_whitening
from frnet.runtime import CHECKPOINT_FORMAT

from .basis import BasisIdentity
from .errors import CheckpointError

__all__ = ["FORMAT", "Normalisation", "StoredCheckpoint", "read_stored"]

FORMAT = CHECKPOINT_FORMAT


@dataclass(frozen=True)
class Normalisation:
    """What the network expects of a pixel: ``(pixel - mean) / scale``, channels in ``channel_order``."""

    mean: float = 127.5
    scale: float = 128.0
    channel_order: str = "BGR"


@dataclass(frozen=True)
class StoredCheckpoint:
    """A :class:`frnet.weights.Checkpoint` whose network stays in the file.

    Attributes:
        path: the file.
        architecture: name of the network.
        config: every field of its config.
        whitening, source_format, normalisation, licence, basis, recipe: see :class:`frnet.weights.Checkpoint`.
    """

    path: Path
    architecture: str
    config: Mapping[str, Any]
    whitening: Whitening | None
    source_format: str
    normalisation: Normalisation
    licence: str
    basis: BasisIdentity | None
    recipe: Mapping[str, Any] = field(repr=False)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"checkpoint {self.path}"

    @property
    def input_size(self) -> int:
        """Side of the crop the network takes, in pixels."""
        return self.config["input_size"]

    @property
    def num_params(self) -> int:
        """Outputs of the network."""
        return self.config["num_params"]


def read_stored(path: Path) -> StoredCheckpoint:
    """What a ``.safetensors`` checkpoint says.

    Raises:
        CheckpointError: it is none, or says it badly; the message names the file.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = [name for name in file.keys() if name.startswith(("whitening.", "basis."))]  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"checkpoint {path} is not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} is safetensors, but not an frnet checkpoint: its metadata says "
            f"format={metadata.get('format')!r}, wanted {FORMAT!r}"
        )
    whitening = None
    if "whitening.mean" in arrays and "whitening.std" in arrays:
        try:
            whitening = load_whitening((arrays["whitening.mean"], arrays["whitening.std"]))
        except ValueError as error:
            raise CheckpointError(f"checkpoint {path}: {error}") from error
    try:
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise TypeError(f"config is {config!r}")
        basis = BasisIdentity.from_file(metadata["basis"], arrays) if "basis" in metadata else None
        if basis is not None and basis.num_params != config["num_params"]:
            raise ValueError(f"the basis is {basis}, the network gives {config['num_params']} parameters")
        return StoredCheckpoint(
            path,
            metadata["architecture"],
            config,
            whitening,
            metadata["source_format"],
            Normalisation(**json.loads(metadata["normalisation"])),
            metadata["licence"],
            basis,
            json.loads(metadata.get("recipe", "{}")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} has unusable metadata: {error}") from error
