"""What a network costs: parameters and multiply-adds, layer by layer, and the ops that a forward runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2d,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    SpatialGroupEnhance,
    SqueezeExcite,
)

__all__ = ["Complexity", "LayerComplexity", "complexity", "count_ops"]


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
    try:
        _run_once(model, _blank_crop(model, input_size))
    finally:
        for handle in handles:
            handle.remove()
    return Complexity(tuple(rows))


def count_ops(model: nn.Module, input_size: int | None = None) -> int:
    """How many ops one forward of ``model`` runs, in evaluation and without gradients.

    Counted is what torch dispatches of its own ops (ATen) and of frnet's that does work: views, and memory that is
    merely asked for, are not. An op counts as one, whatever kernels it is made of. What torch composes of others counts
    as those: a linear layer is a transposed view and a product, hence one.

    Args:
        model: any network of one image; one that ``fuse()`` gave, too.
        input_size: side of the square input, in pixels; default the config's.

    Returns:
        The number of ops.

    Example:
        >>> count_ops(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()), input_size=6)
        3
    """
    crop = _blank_crop(model, input_size)
    with _Counter() as counter:
        _run_once(model, crop)
    return counter.ops


# The profiler, which is public, records calls at every level, down to the kernels of whichever backend took them; a
# dispatch mode sees each op once, with the schema that tells a view from work.
class _Counter(TorchDispatchMode):
    """Counts ops that do work."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops += not (func.is_view or func.overloadpacket in _WITHOUT_WORK)
        return func(*args, **(kwargs or {}))


_aten = torch.ops.aten
_WITHOUT_WORK = {
    _aten._unsafe_view,
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.new_empty,
    _aten.promote_types,
}


def _blank_crop(model: nn.Module, input_size: int | None) -> Tensor:
    size = model.config.input_size if input_size is None else input_size
    like = next(chain(model.parameters(), model.buffers()))
    return torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype)


def _run_once(model: nn.Module, crop: Tensor) -> None:
    """In evaluation and without gradients; every module is left in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(crop)
    finally:
        for module, training in modes.items():
            module.training = training


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
