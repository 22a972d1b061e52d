"""Which modules of torch, torchvision and timm do what ours do. Known by name: neither library is imported."""

from __future__ import annotations

from torch import nn

from .squeeze_excite import SqueezeExcite

__all__ = ["activation_name", "has_hooks", "is_watched", "same_padding", "squeeze_excite_like", "why_not_depthwise"]

_ACTIVATIONS = {
    "Identity": "none",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "Hardswish": "hardswish",
    "HardSwish": "hardswish",  # timm's, as are the following, where torch has none or timm is told not to use it
    "HardSwishMe": "hardswish",
    "SiLU": "silu",
    "Swish": "silu",
    "SwishMe": "silu",
}
_GATES = {
    "Sigmoid": "sigmoid",  # torch's or timm's
    "Hardsigmoid": "hardsigmoid",
    "HardSigmoid": "hardsigmoid",
    "HardSigmoidMe": "hardsigmoid",
}

# Class, attributes of the two layers, of the activation and of the gate, and how SqueezeExcite calls the naming.
_SQUEEZE_EXCITE = {
    "timm.SqueezeExcite": ("conv_reduce", "conv_expand", "act1", "gate", "timm"),  # EfficientNet, MobileNetV3
    "timm.SEModule": ("fc1", "fc2", "act", "gate", "torchvision"),  # timm.layers.SqueezeExcite
    "torchvision.SqueezeExcitation": ("fc1", "fc2", "activation", "scale_activation", "torchvision"),
}

_STATE_DICT_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def class_name(module: nn.Module) -> str:
    """ "timm.SEModule" for timm.layers.squeeze_excite.SEModule, "torch.ReLU" for torch.nn.ReLU."""
    kind = type(module)
    if kind.__module__.startswith("torch.nn.modules."):
        return f"torch.{kind.__name__}"
    library = kind.__module__.partition(".")[0]
    return f"{library}.{kind.__name__}" if library in ("timm", "torchvision") else kind.__qualname__


def activation_name(module: nn.Module | None) -> str | None:
    """What :mod:`frnet.ops` calls the function that a module computes; None where it has no name for it."""
    return _function(module, _ACTIVATIONS)


def has_hooks(module: nn.Module, state_dict: bool = False) -> bool:
    """Whether something else watches the module's calls, or its state dict."""
    if "forward" in vars(module) or is_watched(module):
        return True
    return state_dict and any(getattr(module, hooks, None) for hooks in _STATE_DICT_HOOKS)


def is_watched(module: nn.Module) -> bool:
    """Whether there are hooks on the module's calls."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def why_not_depthwise(conv: nn.Conv2d) -> str | None:
    """Why a convolution with as many groups as input channels cannot be a DepthwiseConv2d; None where it can."""
    if type(conv) is not nn.Conv2d:
        return f"its class is {class_name(conv)}, not Conv2d"
    if has_hooks(conv, state_dict=True):
        return "it has hooks, or a forward of its own"
    if conv.out_channels != conv.in_channels:
        return f"it has {conv.out_channels} output channels for {conv.in_channels} input channels"
    if conv.padding_mode != "zeros":
        return f"its padding_mode is {conv.padding_mode}"
    if same_padding(conv) is None:
        return "its padding 'same' is not symmetric"
    if {name for name, _ in conv.named_parameters()} != {"weight"} | ({"bias"} if conv.bias is not None else set()):
        return "its weight or bias is no parameter"
    return None if conv.weight.is_floating_point() else f"its dtype is {conv.weight.dtype}"


def same_padding(conv: nn.Conv2d) -> tuple[int, int] | None:
    """Zeros on each side in numbers; None where they differ from side to side."""
    if conv.padding == "valid":
        return 0, 0
    if conv.padding != "same":
        return conv.padding
    total = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    return None if any(size % 2 for size in total) else (total[0] // 2, total[1] // 2)


def squeeze_excite_like(module: nn.Module) -> SqueezeExcite | str | None:
    """Ours with the same parameters; else why it cannot be, in words; None where the module is no SE module."""
    attributes = _SQUEEZE_EXCITE.get(class_name(module))
    if attributes is None:
        return None
    *attributes, names = attributes
    parts = [getattr(module, name, None) for name in attributes]
    first, second = parts[:2]
    activation, gate = activation_name(parts[2]), _function(parts[3], _GATES)
    if activation is None or gate is None:
        return f"its activations are {type(parts[2]).__name__} and {type(parts[3]).__name__}"
    if not all(type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) for layer in (first, second)):
        return "its layers are no 1x1 convolutions"
    if getattr(module, "add_maxpool", False) or type(getattr(module, "bn", None)) not in (type(None), nn.Identity):
        return "it has a maximum or a normalisation too"
    if has_hooks(module, state_dict=True) or any(has_hooks(layer, state_dict=True) for layer in module.modules()):
        return "it has hooks, or a forward of its own"
    sizes = {"channels": first.in_channels, "rd_channels": first.out_channels, "bias": first.bias is not None}
    ours = SqueezeExcite(**sizes, activation=activation, gate=gate, names=names, device="meta")
    for name, layer in zip(attributes[:2], (first, second), strict=True):
        setattr(ours, name, layer)
    return ours.train(module.training)


def _function(module: nn.Module | None, names: dict[str, str]) -> str | None:
    if not isinstance(module, nn.Module) or has_hooks(module):
        return None
    library, _, name = class_name(module).partition(".")
    return names.get(name) if library in ("torch", "timm") else None
