"""The checkpoints of 3DDFA and 3DDFA_V2.

Both hold a MobileNetV1 whose width the file does not state. 3DDFA ends it in a layer ``fc``; 3DDFA_V2 trains
two heads, ``fc_param`` (the parameters) and ``fc_lm`` (68 landmarks, used in training only).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from frnet.models.mobilenet_v1 import STEM_CHANNELS, MobileNetV1, MobileNetV1Config

from .errors import CheckpointError

# How the networks that people have in such files betray themselves: a name of one of their tensors.
_OTHERS = {
    "layer1.0.conv1.weight": "a ResNet",
    "features.0.0.weight": "torchvision's MobileNetV2",
    "features.conv0.weight": "torchvision's DenseNet",
    "features.0.weight": "a VGG-like network",
    "I2P.backbone.features.0.0.weight": "SynergyNet",
    "backbone.features.0.0.weight": "a network around torchvision's MobileNetV2",
}


def network_from_3ddfa(state: Mapping[str, Tensor], path: Path) -> tuple[MobileNetV1, dict[str, Tensor], str]:
    """Build the network that a state dict of 3DDFA or 3DDFA_V2 fits.

    Args:
        state: names without the ``module.`` prefix.
        path: the file, for messages.

    Returns:
        The network (random weights), the state dict under its names, ``"3ddfa"`` or ``"3ddfa_v2"``.

    Raises:
        CheckpointError: the weights are those of another architecture.
    """
    stem = state.get("conv1.weight")
    head = state.get("fc_param.weight", state.get("fc.weight"))
    if stem is None or "dw2_1.conv_dw.weight" not in state or head is None:
        other = next((kind for name, kind in _OTHERS.items() if name in state), None)
        if other is None and any(name.startswith("dw2_1.") for name in state):
            lacking = "conv1.weight" if stem is None else "fc.weight or fc_param.weight"
            raise CheckpointError(f"checkpoint {path} looks like a mobilenet_v1, but has no {lacking}")
        kind = other or f"another network (its first tensor is {next(iter(state))})"
        raise CheckpointError(
            f"checkpoint {path} is not a mobilenet_v1 of 3DDFA or 3DDFA_V2: "
            f"it has no dw2_1.conv_dw.weight and looks like {kind}"
        )
    if stem.dim() != 4 or head.dim() != 2:
        raise CheckpointError(
            f"checkpoint {path}: conv1.weight is {list(stem.shape)} and the last layer {list(head.shape)}, "
            "wanted 4 and 2 dimensions"
        )
    config = MobileNetV1Config(num_params=head.shape[0], width=stem.shape[0] / STEM_CHANNELS)
    if "fc_param.weight" not in state:
        return MobileNetV1(config), dict(state), "3ddfa"
    renamed = {
        name.replace("fc_param.", "fc."): value for name, value in state.items() if not name.startswith("fc_lm.")
    }
    return MobileNetV1(config), renamed, "3ddfa_v2"
