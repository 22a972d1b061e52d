"""Convolution, normalisation and activation that follow one another in somebody else's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from .depthwise_conv2d import DepthwiseConv2d
from .depthwise_conv2d_norm_act import convolve_normalise_activate

__all__ = ["Chain", "ChainedDepthwiseConv2d", "called_next"]


@dataclass(eq=False)
class Chain:
    """Who computes for whom. Copies and pickles of a model keep it, as it names modules and no functions.

    Attributes:
        links: (owner, name, module) of the convolution and of everything computed in its place.
        norm: the normalisation.
        activation: what follows, as :mod:`frnet.ops` calls it.
    """

    links: list[tuple[nn.Module, str, nn.Module]]
    norm: nn.BatchNorm2d
    activation: str

    def intact(self) -> bool:
        """Whether every module is where it was. One that is swapped (for torch's SyncBatchNorm, say) ends the chain."""
        return all(owner._modules.get(name) is module for owner, name, module in self.links)


class ChainedDepthwiseConv2d(DepthwiseConv2d):
    """Computes the normalisation and the activation behind it as well, as long as they are behind it."""

    chain: Chain

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, out_height, out_width]."""
        chain = self.chain
        if not chain.intact():
            return super().forward(x)
        return convolve_normalise_activate(x, self.arguments(), chain.norm, chain.activation)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        behind = f"batch_norm, activation={self.chain.activation}" if self.chain.intact() else "nothing"
        return f"{super().extra_repr()}, with {behind}"


class PassOn:
    """The forward of a module whose result is already computed: a callable, so that copies bind to copies."""

    def __init__(self, chain: Chain, module: nn.Module) -> None:
        self.chain = chain
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.chain.intact() else type(self.module).forward(self.module, x)


class _Calls(torch.fx.Tracer):
    """Records which modules a forward calls, and with what, without looking inside them."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return True


def called_next(scope: nn.Module, name: str) -> list[str] | None:
    """Names of up to two modules that ``scope.forward`` calls one after the other, each with the result of the one
    before alone, which nobody else reads, the first with that of the module ``name``; in training as in evaluation.

    None where the forward does not call that module at all. ValueError where the forward cannot be followed.
    """
    paths = []
    for training in (True, False):
        try:
            graph = _Calls().trace(_shell(scope, training))
        except Exception as error:  # whatever somebody's forward makes of a stand-in for a tensor
            raise ValueError(f"{type(scope).__name__}.forward cannot be followed: {error}") from error
        paths.append(_path(graph, name))
    if None in paths:
        return None if paths[0] is paths[1] else []
    same = [a == b for a, b in zip(*paths, strict=False)]
    return paths[0][: same.index(False) if False in same else len(same)]


def _shell(module: nn.Module, training: bool) -> nn.Module:
    """A module with the same content, so that what a forward assigns while it is followed is not kept."""
    shell = object.__new__(type(module))
    shell.__dict__.update(vars(module))
    for content in ("_modules", "_parameters", "_buffers"):
        shell.__dict__[content] = dict(vars(module)[content])
    shell.__dict__["training"] = training
    return shell


def _path(graph: torch.fx.Graph, name: str) -> list[str] | None:
    calls: dict[Any, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls.setdefault(node.target, []).append(node)
    if name not in calls:
        return None
    path: list[str] = []
    (node, *again) = calls[name]
    if again or len(node.args) != 1 or node.kwargs:
        return path
    while len(path) < 2 and len(node.users) == 1:
        (user,) = node.users
        if user.op != "call_module" or user.args != (node,) or user.kwargs or len(calls[user.target]) != 1:
            break
        path.append(user.target)
        node = user
    return path
