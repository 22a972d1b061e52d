"""Reading and writing trained networks.

Two kinds of file are read. Our own are safetensors: weights under ``model.``, whitening under ``whitening.``, what
identifies the morphable model under ``basis.``, and the rest (architecture, its config, normalisation, input size,
licence, recipe, where the weights came from, the morphable model's name and sizes) as text metadata. The others are the
``.pth`` and ``.pth.tar`` files of 3DDFA and 3DDFA_V2, read with ``torch.load(weights_only=True)``, which admits tensors
and plain containers alone: nothing in a file is run.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from frnet.io.tensors import write_in_order
from frnet.models.registry import build_from_config
from frnet.morphable import MorphableModel

from .builtin import find_weights
from .checkpoint_3ddfa import network_from_3ddfa
from .contents import Checkpoint
from .errors import CheckpointError
from .stored import FORMAT, read_stored
from .whitening import check_whitening, choose_whitening
from .wrappers import plain_names

__all__ = ["Checkpoint", "convert", "load_checkpoint", "save_checkpoint"]


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read the weights that come with frnet, or a checkpoint of ours, of 3DDFA or of 3DDFA_V2.

    Weights are float32 in the result, whatever the file holds. The width of a 3DDFA network is taken from its
    first convolution.

    Args:
        path: a ``.safetensors`` file that :func:`save_checkpoint` wrote, or a ``.pth`` / ``.pth.tar`` file; or a name
            of :func:`frnet.weights.builtin_weights`.

    Raises:
        FileNotFoundError: there is no such file, and no weights of that name.
        CheckpointError: not a readable checkpoint, another architecture, or weights of the wrong shape. The
            message names the file and says what differs.
    """
    path = find_weights(path)
    return _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)


def save_checkpoint(
    path: str | os.PathLike,
    checkpoint: Checkpoint,
    morphable: MorphableModel | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a checkpoint as safetensors, complete or not at all; the same checkpoint gives the same bytes.

    What ``torch.compile`` or data parallelism wrapped around the network is left out.

    Args:
        path: ends in ``.safetensors``.
        checkpoint: what to write.
        morphable: the model the weights were trained for; what identifies it is written too (see
            :class:`frnet.weights.basis.BasisIdentity`). By default what ``checkpoint`` says of it, if anything.
        half: whether kernels and matrices are written as float16, which halves the file. Vectors, among them the
            scales, shifts and running statistics of normalisations, stay as they are: they are small, and rounding
            them moves whole channels.

    Raises:
        CheckpointError: ``morphable`` is not the model that ``checkpoint`` belongs to; a weight that float16 cannot
            hold.
        ValueError: the name does not end in ``.safetensors``, by which readers recognise the format.
        OSError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save_checkpoint: {path} must end in .safetensors")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save_checkpoint: there is no folder {path.parent} to write {path.name} in")
    if morphable is not None:
        checkpoint = checkpoint.trained_for(morphable)
    state = plain_names(checkpoint.network.state_dict())
    if half:
        state = {name: _halved(name, value) if value.dim() > 1 else value for name, value in state.items()}
    tensors = {f"model.{name}": value.contiguous() for name, value in state.items()}
    if checkpoint.whitening is not None:
        mean, std = checkpoint.whitening
        tensors |= {"whitening.mean": torch.as_tensor(mean), "whitening.std": torch.as_tensor(std)}
    metadata = {
        "format": FORMAT,
        "architecture": checkpoint.architecture,
        "config": json.dumps(asdict(checkpoint.network.config)),
        "normalisation": json.dumps(asdict(checkpoint.normalisation)),
        "input_size": str(checkpoint.input_size),
        "licence": checkpoint.licence,
        "source_format": checkpoint.source_format,
    }
    if checkpoint.recipe:
        metadata["recipe"] = json.dumps(checkpoint.recipe, sort_keys=True)
    if checkpoint.basis is not None:
        tensors |= {name: torch.tensor(value) for name, value in checkpoint.basis.arrays().items()}
        metadata["basis"] = checkpoint.basis.metadata()
    write_in_order(path, safetensors.torch.save(tensors, metadata))


def convert(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    whitening: Any = None,
    licence: str | None = None,
    morphable: MorphableModel | None = None,
) -> Checkpoint:
    """Turn a checkpoint of 3DDFA or 3DDFA_V2 into safetensors, whitening included.

    Args:
        src: the file to read.
        dst: the ``.safetensors`` file to write; replaced if it exists.
        whitening: as :func:`frnet.morphable.load_whitening` takes it, a file or a pair (mean, std); by default
            what ``src`` holds or what lies near it (see :func:`frnet.weights.choose_whitening`). Without any the
            result holds none.
        licence: what the weights may be used for; by default what ``src`` says.
        morphable: the model the weights were trained for, to be remembered; by default what ``src`` says.

    Returns:
        What was written.

    Raises:
        CheckpointError: ``src`` is not readable, or belongs to another whitening or morphable model than the given one.
        ValueError, OSError: see :func:`save_checkpoint`.
    """
    checkpoint = load_checkpoint(src)
    chosen = choose_whitening(checkpoint, whitening)
    if chosen is not None:
        checkpoint.whitening = chosen.whitening
    if licence is not None:
        checkpoint.licence = licence
    if morphable is not None:
        checkpoint = checkpoint.trained_for(morphable)
    save_checkpoint(dst, checkpoint)
    return checkpoint


def _load_safetensors(path: Path) -> Checkpoint:
    stored = read_stored(path)
    try:
        model = build_from_config(stored.architecture, stored.config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} has unusable metadata: {error}") from error
    with safetensors.safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118 (not a dict)
        state = {name[6:]: file.get_tensor(name) for name in names}
    load_weights(model, _plain_names(state, path), path)
    checkpoint = Checkpoint(
        model.eval(),
        stored.whitening,
        stored.source_format,
        stored.normalisation,
        stored.licence,
        path,
        stored.basis,
        stored.recipe,
    )
    if stored.whitening is not None:
        check_whitening(checkpoint, stored.whitening, "in its metadata")
    return checkpoint


def _load_torch(path: Path) -> Checkpoint:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols; what matters comes as an error
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        raise CheckpointError(f"checkpoint {path} cannot be read safely: {_load_failure(error)}") from error
    state = data.get("state_dict", data) if isinstance(data, Mapping) else data
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"checkpoint {path} holds no state dict (names mapped to tensors)")
    model, state, source_format = network_from_3ddfa(_plain_names(state, path), path)
    load_weights(model, state, path)
    return Checkpoint(model.eval(), source_format=source_format, path=path)


def _plain_names(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    try:
        return plain_names(state)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None


def _load_failure(error: Exception) -> str:
    """Torch's reason without its advice to load the file unsafely."""
    text = str(error).strip()
    foreign = re.search(r"GLOBAL (\S+)", text)
    if foreign:
        return f"it refers to {foreign[1]}, and nothing but tensors and plain containers is admitted"
    if isinstance(error, pickle.UnpicklingError) or not text:
        return "it is damaged, or no file that torch.save wrote"
    return text.splitlines()[0]


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy ``state`` into ``model``; every name and shape must fit. BN's batch counters may be absent.

    Raises:
        CheckpointError: a name is missing or unknown, a shape differs, or a value is not finite.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in wanted]
    shapes = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    problem = None
    if missing:
        problem = f"it lacks {_some(missing)}"
    elif unknown:
        problem = f"it also holds {_some(unknown)}"
    elif shapes:
        name = shapes[0]
        problem = f"{name} is {list(state[name].shape)}, wanted {list(wanted[name].shape)}"
    if problem:
        raise CheckpointError(f"checkpoint {path} does not fit {model.architecture} {model.config}: {problem}")
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"checkpoint {path}: {name} holds values that are not finite")
    model.load_state_dict(state)


def _halved(name: str, value: Tensor) -> Tensor:
    half = value.half()
    if not torch.isfinite(half).all():
        raise CheckpointError(f"save_checkpoint: {name} holds values that float16 cannot: up to {value.abs().max():g}")
    return half


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
