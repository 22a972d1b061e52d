"""A network by its name, with random weights, with those that come with frnet or with those of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from frnet.models.registry import architecture_of, build_network, fixed_settings, network_settings
from frnet.morphable import MorphableModel

from .builtin import builtin_weights
from .checkpoint import load_checkpoint
from .contents import check_basis
from .errors import CheckpointError

__all__ = ["create_model"]


def create_model(
    name: str,
    num_params: int = 62,
    *,
    pretrained: str | os.PathLike[str] | None = None,
    morphable: MorphableModel | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **config: Any,
) -> nn.Module:
    """Build a network, with random weights, with those that come with frnet, or with those of a file.

    Args:
        name: one of :func:`list_models`.
        num_params: outputs of the network: the parameter count of the morphable model.
        pretrained: ``"builtin"`` or ``"small"`` (see :func:`frnet.weights.builtin_weights`): settings that are not
            given are then those of the weights. Or a checkpoint of this very network. Whitening and licence come with
            :func:`frnet.models.load_checkpoint` alone.
        morphable: the morphable model whose parameters the network is to give, to be checked against the others.
        device: where the parameters live.
        dtype: type of the parameters.
        **config: fields of the architecture's config dataclass, such as ``width``.

    Returns:
        The network in training mode, as torch builds it.

    Raises:
        ValueError: an unknown name (the message has the nearest one), a value out of range, or a morphable model with
            another number of parameters.
        TypeError: a field that the architecture does not have, or that the name already fixes; a dtype that is not a
            floating type.
        FileNotFoundError: ``pretrained`` is no file, and no name of weights that come with frnet.
        CheckpointError: ``pretrained`` is not readable, a network with other settings, or trained for another morphable
            model.

    Example:
        >>> create_model("mobilenet_v1_050").config.width
        0.5
        >>> create_model("mobile_frnet", pretrained="small").config.input_size
        64
    """
    settings = network_settings(name, num_params, **config)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"create_model: dtype must be a floating type of torch, got {dtype!r}")
    if pretrained is not None:
        if isinstance(pretrained, str) and pretrained in builtin_weights():
            wanted = {"num_params": num_params, **fixed_settings(name), **config}
        else:
            wanted = asdict(settings)
        return _from_file(name, wanted, pretrained, morphable).to(device=device, dtype=dtype)
    if morphable is not None and morphable.num_params != num_params:
        raise ValueError(
            f"create_model: {name} is to give {num_params} parameters, the morphable model {morphable.name!r} takes "
            f"{morphable.num_params}"
        )
    return build_network(name, settings, device=device, dtype=dtype)


def _from_file(
    name: str,
    wanted: Mapping[str, Any],
    path: str | os.PathLike[str],
    morphable: MorphableModel | None,
) -> nn.Module:
    checkpoint = load_checkpoint(path)
    model = checkpoint.model
    if model.architecture != architecture_of(name):
        raise CheckpointError(f"create_model: {path} holds a {model.architecture}, wanted {name}")
    stored = asdict(model.config)
    differing = [key for key in wanted if stored[key] != wanted[key]]
    if differing:
        given = ", ".join(f"{key}={stored[key]!r}" for key in differing)
        asked = ", ".join(f"{key}={wanted[key]!r}" for key in differing)
        raise CheckpointError(f"create_model: {path} holds a {model.architecture} with {given}, wanted {asked}")
    if morphable is not None:
        check_basis(checkpoint, morphable)
    return model.train()
