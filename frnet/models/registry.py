"""Names of networks, and how each is built."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn

from frnet.morphable import MorphableModel

from .basis import check_basis
from .damdnet import DAMDNet, DAMDNetConfig
from .errors import CheckpointError
from .mobile_frnet import MobileFRNet, MobileFRNetConfig
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .mobilenet_v2 import MobileNetV2, MobileNetV2Config
from .torchvision_networks import DenseNet121, ResNeXt50, TorchvisionConfig


@dataclass(frozen=True)
class Variant:
    """A name in the registry: a module class built from a config, some of whose fields the name fixes."""

    model: Callable[..., nn.Module]
    config: type
    fixed: dict[str, Any] = field(default_factory=dict)


_VARIANTS: dict[str, Variant] = {
    "damdnet": Variant(DAMDNet, DAMDNetConfig),
    "densenet121": Variant(DenseNet121, TorchvisionConfig),
    "mobile_frnet": Variant(MobileFRNet, MobileFRNetConfig),
    "mobile_frnet_noattention": Variant(MobileFRNet, MobileFRNetConfig, {"attention": False}),
    "mobilenet_v1": Variant(MobileNetV1, MobileNetV1Config),
    "mobilenet_v1_050": Variant(MobileNetV1, MobileNetV1Config, {"width": 0.5}),
    "mobilenet_v2": Variant(MobileNetV2, MobileNetV2Config),
    "resnext50_32x4d": Variant(ResNeXt50, TorchvisionConfig),
}


def list_models() -> list[str]:
    """Names that :func:`create_model` knows, sorted."""
    return sorted(_VARIANTS)


def create_model(
    name: str,
    num_params: int = 62,
    *,
    pretrained: str | os.PathLike[str] | None = None,
    morphable: MorphableModel | None = None,
    device=None,
    dtype=None,
    **config,
) -> nn.Module:
    """Build a network, with random weights or with those of a file.

    Args:
        name: one of :func:`list_models`.
        num_params: outputs of the network: the parameter count of the morphable model.
        pretrained: a checkpoint (see :func:`frnet.models.load_checkpoint`) of this very network. Its whitening and
            licence come with ``load_checkpoint`` alone.
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
        CheckpointError: ``pretrained`` is not readable, a network with other settings, or trained for another morphable
            model.

    Example:
        >>> create_model("mobilenet_v1_050").config.width
        0.5
    """
    variant = _find(name)
    known = {entry.name for entry in fields(variant.config)}
    for key, value in config.items():
        if key not in known:
            raise TypeError(f"create_model: {name} has no setting {key!r}; it has {', '.join(sorted(known))}")
        if key in variant.fixed and value != variant.fixed[key]:
            raise TypeError(f"create_model: {name} means {key}={variant.fixed[key]}, got {key}={value}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"create_model: dtype must be a floating type of torch, got {dtype!r}")
    settings = variant.config(num_params=num_params, **{**variant.fixed, **config})
    if pretrained is not None:
        return _from_file(name, variant, settings, pretrained, morphable).to(device=device, dtype=dtype)
    if morphable is not None and morphable.num_params != num_params:
        raise ValueError(
            f"create_model: {name} is to give {num_params} parameters, the morphable model {morphable.name!r} takes "
            f"{morphable.num_params}"
        )
    return variant.model(settings, device=device, dtype=dtype)


def _from_file(
    name: str,
    variant: Variant,
    settings: Any,
    path: str | os.PathLike[str],
    morphable: MorphableModel | None,
) -> nn.Module:
    from .checkpoint import load_checkpoint  # which itself builds networks by their names

    checkpoint = load_checkpoint(path)
    model = checkpoint.model
    if model.architecture != variant.model.architecture:
        raise CheckpointError(f"create_model: {path} holds a {model.architecture}, wanted {name}")
    stored, wanted = asdict(model.config), asdict(settings)
    differing = [key for key in wanted if stored[key] != wanted[key]]
    if differing:
        given = ", ".join(f"{key}={stored[key]!r}" for key in differing)
        asked = ", ".join(f"{key}={wanted[key]!r}" for key in differing)
        raise CheckpointError(f"create_model: {path} holds a {model.architecture} with {given}, wanted {asked}")
    if morphable is not None:
        check_basis(checkpoint, morphable)
    return model.train()


def build_from_config(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Build a network from what :func:`frnet.models.save_checkpoint` stores: a name and every config field.

    Raises:
        ValueError, TypeError: see :func:`create_model`.
    """
    variant = _find(architecture)
    return variant.model(variant.config(**config))


def _find(name: str) -> Variant:
    variant = _VARIANTS.get(name)
    if variant is None:
        near = difflib.get_close_matches(str(name).lower(), _VARIANTS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(list_models())}"
        raise ValueError(f"there is no model {name!r}; {hint}")
    return variant
