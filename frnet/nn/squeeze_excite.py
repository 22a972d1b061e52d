"""Squeeze and excitation as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frnet import ops
from frnet.ops.activations import ACTIVATIONS, GATES

from .arguments import check_channels, check_name

__all__ = ["SqueezeExcite"]

# Who names the two layers how.
_LAYERS = {
    "timm": ("conv_reduce", "conv_expand"),
    "torchvision": ("fc1", "fc2"),
    "senet": ("fc.0", "fc.2"),
}


class SqueezeExcite(nn.Module):
    r"""Scales every channel by a gate computed from the means of all channels.

    .. math:: y_c = x_c\; g\big(W_2\, a(W_1 \bar x + b_1) + b_2\big)_c

    It stands in for timm's and torchvision's modules: same state-dict names and shapes, same start (drawn in the same
    order from the same generator), same result. A state dict in any of the namings loads into any other. The layers
    are modules that hold parameters; :func:`frnet.ops.se_gate` computes with them.

    Args:
        channels: of the input and the output.
        rd_ratio: channels between the two layers, as a share of ``channels`` ...
        rd_channels: ... or, where given, their number.
        rd_divisor: with rd_ratio, they are rounded to a multiple of it, at least one: timm's rule.
        bias: whether the layers have biases.
        activation: between the layers: "none", "relu", "relu6", "hardswish" or "silu".
        gate: "sigmoid" or "hardsigmoid".
        names: "timm": 1x1 convolutions ``conv_reduce`` and ``conv_expand``, as in timm's EfficientNet and MobileNetV3;
            "torchvision": 1x1 convolutions ``fc1`` and ``fc2``, as in ``torchvision.ops.SqueezeExcitation`` and
            ``timm.layers.SqueezeExcite``; "senet": linear layers ``fc.0`` and ``fc.2``, as in many ports of SENet
            (DAMDNet's is one, with ``bias=False``).
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a size or a name is not one of those above.

    Source: Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.

    Example:
        >>> import torch
        >>> gate = SqueezeExcite(32, rd_ratio=0.25, activation="silu")
        >>> list(gate.state_dict())
        ['conv_reduce.weight', 'conv_reduce.bias', 'conv_expand.weight', 'conv_expand.bias']
        >>> gate(torch.zeros(2, 32, 7, 7)).shape
        torch.Size([2, 32, 7, 7])
    """

    def __init__(
        self,
        channels: int,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        bias: bool = True,
        activation: str = "relu",
        gate: str = "sigmoid",
        names: str = "timm",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "SqueezeExcite"
        self.channels = check_channels(name, channels)
        self.squeezed = _squeezed(channels, rd_ratio, rd_channels, rd_divisor)
        self.activation = check_name(name, "activation", ACTIVATIONS, activation)
        self.gate = check_name(name, "gate", GATES, gate)
        self.names = check_name(name, "names", _LAYERS, names)
        factory = {"bias": bias, "device": device, "dtype": dtype}
        first, second = (channels, self.squeezed), (self.squeezed, channels)
        if names == "senet":
            self.fc = nn.ModuleDict({"0": nn.Linear(*first, **factory), "2": nn.Linear(*second, **factory)})
        else:
            for layer, sizes in zip(_LAYERS[names], (first, second), strict=True):
                self.add_module(layer, nn.Conv2d(*sizes, 1, **factory))

    def check_channels(self, module: str, channels: int) -> None:
        """Raises where the gate cannot stand behind ``channels`` channels; ``module`` is who asks."""
        if channels != self.channels:
            raise ValueError(f"{module}: gate must be for the {channels} channels, got one for {self.channels}")

    fused = staticmethod(ops.depthwise_conv2d_se)
    fused_with_norm = staticmethod(ops.depthwise_conv2d_bn_act_se)

    def arguments(self) -> dict[str, Any]:
        """What ``fused`` and ``fused_with_norm``, the ops of a convolution with this gate behind it, take beside it."""
        first, second = (self.get_submodule(layer) for layer in _LAYERS[self.names])
        layers = {"w1": first.weight.flatten(1), "b1": first.bias, "w2": second.weight.flatten(1), "b2": second.bias}
        return {**layers, "se_activation": self.activation, "gate": self.gate}

    def forward(self, x: Tensor) -> Tensor:
        """Gate ``x`` [batch, channels, height, width]."""
        return ops.se_gate(x, *self.arguments().values())

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"{self.channels}, rd_channels={self.squeezed}, activation={self.activation}, gate={self.gate}"

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Another naming becomes ours; the layers below read their parameters from the same dictionary afterwards.
        for others in _LAYERS.values():
            for other, ours in zip(others, _LAYERS[self.names], strict=True):
                for kind in ("weight", "bias"):
                    key, our_key = f"{prefix}{other}.{kind}", f"{prefix}{ours}.{kind}"
                    if key in state_dict and our_key not in state_dict:
                        value = state_dict.pop(key)
                        shape = () if self.names == "senet" else (1, 1)
                        state_dict[our_key] = value.reshape(*value.shape[:2], *shape) if kind == "weight" else value
        super()._load_from_state_dict(state_dict, prefix, *args)


def _squeezed(channels: int, rd_ratio: float, rd_channels: int | None, rd_divisor: int) -> int:
    if rd_channels is not None:
        if not isinstance(rd_channels, int) or rd_channels < 1:
            raise ValueError(f"SqueezeExcite: rd_channels must be an int >= 1 or None, got {rd_channels!r}")
        return rd_channels
    if not isinstance(rd_divisor, int) or rd_divisor < 1:
        raise ValueError(f"SqueezeExcite: rd_divisor must be an int >= 1, got {rd_divisor!r}")
    if not rd_ratio > 0:
        raise ValueError(f"SqueezeExcite: rd_ratio must be above 0, got {rd_ratio!r}")
    return max(rd_divisor, int(channels * rd_ratio + rd_divisor / 2) // rd_divisor * rd_divisor)
