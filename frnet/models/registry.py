"""Names of networks, and how each is built."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import nn

from .damdnet import DAMDNet, DAMDNetConfig
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
    """Names that :func:`frnet.create_model` knows, sorted."""
    return sorted(_VARIANTS)


def network_settings(name: str, num_params: int = 62, **config) -> Any:
    """The config of a network by its name: what the name fixes, then what is given, then the defaults.

    Args:
        name: one of :func:`list_models`.
        num_params: outputs of the network: the parameter count of the morphable model.
        **config: fields of the architecture's config dataclass, such as ``width``.

    Raises:
        ValueError: an unknown name (the message has the nearest one), or a value out of range.
        TypeError: a field that the architecture does not have, or that the name already fixes.
    """
    variant = _find(name)
    known = {entry.name for entry in fields(variant.config)}
    for key, value in config.items():
        if key not in known:
            raise TypeError(f"create_model: {name} has no setting {key!r}; it has {', '.join(sorted(known))}")
        if key in variant.fixed and value != variant.fixed[key]:
            raise TypeError(f"create_model: {name} means {key}={variant.fixed[key]}, got {key}={value}")
    return variant.config(num_params=num_params, **{**variant.fixed, **config})


def fixed_settings(name: str) -> dict[str, Any]:
    """The fields of the config that a name fixes: ``{"width": 0.5}`` of ``mobilenet_v1_050``.

    Raises:
        ValueError: an unknown name (the message has the nearest one).
    """
    return dict(_find(name).fixed)


def architecture_of(name: str) -> str:
    """The architecture behind a name: ``mobilenet_v1`` of ``mobilenet_v1_050``.

    Raises:
        ValueError: an unknown name (the message has the nearest one).
    """
    return _find(name).model.architecture


def build_network(name: str, settings: Any, *, device=None, dtype=None) -> nn.Module:
    """A network with random weights, in training mode.

    Args:
        name: one of :func:`list_models`.
        settings: what :func:`network_settings` gave for it.
        device: where the parameters live.
        dtype: type of the parameters.
    """
    return _find(name).model(settings, device=device, dtype=dtype)


def build_from_config(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Build a network from a name and every field of its config, as a checkpoint stores them.

    Raises:
        ValueError, TypeError: see :func:`network_settings`.
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
