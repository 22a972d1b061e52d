"""Parameters and multiply-adds of a network, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2d,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    SpatialGroupEnhance,
    SqueezeExcite,
)

__all__ = ["Complexity", "LayerComplexity", "complexity"]


@dataclass(frozen=True)
class LayerComplexity:
    """One layer of a network.

    Attributes:
        name: in the network, as in ``named_modules()``.
        kind: its class.
        output: shape of its result for one sample.
        params: number of its parameters.
        macs: multiply-adds for one sample.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    params: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """A network's cost for one sample; ``layers`` are in the order in which they run."""

    layers: tuple[LayerComplexity, ...]

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return sum(layer.macs for layer in self.layers)


def complexity(model: nn.Module, input_size: int | None = None) -> Complexity:
    """Parameters and multiply-adds of ``model`` for one crop.

    The convention is that of ``thop``, in which the published tables are given: convolutions and linear layers without
    their biases, and for each element of a batch normalisation 2, or 4 where it has parameters. Activations, pooling,
    sums and the products of gates are free; the layers inside a gate are counted.

    Args:
        model: a network of frnet, or any that is made of torch's layers and frnet's; it is run once in evaluation.
        input_size: side of the square input, in pixels; default the config's.

    Returns:
        Complexity.

    Example:
        >>> from frnet.models import create_model
        >>> cost = complexity(create_model("mobile_frnet"))
        >>> round(cost.params / 1e6, 2), round(cost.macs / 1e9, 3)
        (2.6, 0.113)
    """
    size = model.config.input_size if input_size is None else input_size
    like = next(model.parameters())
    rows: list[LayerComplexity] = []
    handles = []
    for name, module in _layers(model):

        def note(module, inputs, output, name=name):
            rows.append(
                LayerComplexity(
                    name,
                    type(module).__name__,
                    tuple(output.shape[1:]),
                    sum(p.numel() for p in module.parameters()),
                    _macs(module, inputs[0], output),
                )
            )

        handles.append(module.register_forward_hook(note))
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return Complexity(tuple(rows))


# Modules whose forward calls none of their parts.
_WHOLE = (
    Conv2dNormAct,
    DepthwiseConv2d,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    SpatialGroupEnhance,
    SqueezeExcite,
)


def _layers(model: nn.Module, prefix: str = ""):
    """Modules whose results are looked at: those above, and those without parts that have parameters."""
    for name, module in model.named_children():
        path = f"{prefix}{name}"
        if isinstance(module, _WHOLE) or not any(True for _ in module.children()):
            if next(module.parameters(), None) is not None:
                yield path, module
        else:
            yield from _layers(module, f"{path}.")


def _macs(module: nn.Module, x: Tensor, y: Tensor) -> int:
    if isinstance(module, (Conv2dNormAct, DepthwiseConv2dNormAct)):
        gate = getattr(module, "gate", None)
        return _macs(module.conv, x, y) + _macs(module.norm, y, y) + (0 if gate is None else _macs(gate, y, y))
    if isinstance(module, HierarchicalDepthwiseConv2d):
        gate = 0 if module.gate is None else _macs(module.gate, y, y)
        return _macs(module.conv, x, y) + _macs(module.norm, y, y) + _macs(module.out_norm, y, y) + gate
    if isinstance(module, (nn.Conv2d, DepthwiseConv2d)):
        return y[0].numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return y[0].numel() * module.in_features
    if isinstance(module, nn.BatchNorm2d):
        return (4 if module.affine else 2) * y[0].numel()
    if isinstance(module, SqueezeExcite):
        return 2 * module.channels * module.squeezed
    return 0
