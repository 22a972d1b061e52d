"""Convolution, normalisation and activation that follow one another in somebody else's model."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
import torch.fx
from torch import Tensor, nn

from .depthwise_conv2d import DepthwiseConv2d
from .depthwise_conv2d_norm_act import convolve_normalise_activate
from .recognise import is_watched
from .sync_batch_norm2d import SyncBatchNorm2d

__all__ = ["Chain", "ChainedDepthwiseConv2d", "Link", "PassOn", "Scope", "called_next"]


class Chain:
    """What a convolution and the modules behind it have in common: whether it computes for them.

    That holds while a forward runs that is known to call them one after the other. A chain names no module but then, so
    a copy or a pickle of one of them is that one alone, and computes for itself. (But for ``copy.copy``, which makes
    two modules share what they have.)

    Attributes:
        activation: what follows the normalisation, as :mod:`frnet.ops` calls it.
        norms: the normalisations of the forwards that are running; None where the chain is not what it was.
        owed: how many modules are still to be called for what has been computed in their place.
    """

    def __init__(self, activation: str, length: int) -> None:
        self.activation = activation
        self.length = length
        self.norms: list[nn.BatchNorm2d | None] = []
        self.owed = 0

    def norm(self) -> nn.BatchNorm2d | None:
        """The normalisation that the convolution computes, where it does."""
        norms = self.norms
        return norms[-1] if norms else None


class ChainedDepthwiseConv2d(DepthwiseConv2d):
    """Computes the normalisation and the activation behind it as well, where they are known to be behind it."""

    chain: Chain

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, out_height, out_width]."""
        norm = self.chain.norm()
        if norm is None:
            return super().forward(x)
        self.chain.owed += self.chain.length
        return convolve_normalise_activate(x, self.arguments(), norm, self.chain.activation)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"{super().extra_repr()}, with batch_norm and activation={self.chain.activation} behind it"


class PassOn:
    """The forward of a module whose result may already be computed: a callable, so that copies bind to copies."""

    def __init__(self, chain: Chain, module: nn.Module) -> None:
        self.chain = chain
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        if self.chain.norm() is None:
            return type(self.module).forward(self.module, x)
        self.chain.owed -= 1
        return x


class Link(NamedTuple):
    """A module of a chain and its place, as they were."""

    module: nn.Module
    type: type[nn.Module]
    above: tuple[str, ...]  # from the module whose forward calls it
    name: str
    neighbours: list[str]  # names of all that its owner has

    @classmethod
    def of(cls, scope: nn.Module, path: str, module: nn.Module) -> Link:
        """A module at its path from the scope."""
        *above, name = path.split(".")
        return cls(module, type(module), tuple(above), name, list(scope.get_submodule(".".join(above))._modules))

    def holds(self, scope: nn.Module, chain: Chain) -> bool:
        """Whether all is as it was."""
        module, owner = self.module, scope
        for name in self.above:
            owner = owner._modules.get(name)
            if owner is None:
                return False
        kind, forward = type(module), vars(module).get("forward")
        return (
            owner._modules.get(self.name) is module
            and list(owner._modules) == self.neighbours
            and (kind is self.type or (kind is SyncBatchNorm2d and self.type is nn.BatchNorm2d))
            and (forward is None or getattr(forward, "chain", None) is chain)
            and not is_watched(module)
        )


class Scope:
    """The chains of one module's forward, and the hooks that say when it runs.

    Modules are looked up again every time: one that was exchanged (for torch's SyncBatchNorm, say), given a hook or
    another forward, or that has a new neighbour, ends the chain, and all compute for themselves again.
    """

    def __init__(self, scope: nn.Module) -> None:
        self.forward = _forward_of(scope)
        self.chains: list[tuple[Chain, list[Link]]] = []  # links: convolution, normalisation, what is computed too
        scope.register_forward_pre_hook(self.enter, prepend=True, with_kwargs=True)
        scope.register_forward_hook(self.leave, always_call=True)

    def enter(self, scope: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before the forward."""
        known = "forward" not in vars(scope) and _forward_of(scope) == self.forward
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.fx.Proxy):  # what is traced is called again, one by one
                known = False
        for chain, links in self.chains:
            norm = links[1].module if known else None
            for link in links:
                if norm is not None and not link.holds(scope, chain):
                    norm = None
            chain.norms.append(norm)

    def leave(self, scope: nn.Module, args: tuple, output: object) -> None:
        """Behind the forward, or where it raised an error."""
        for chain, links in self.chains:
            if not chain.norms:  # another hook raised an error before enter
                continue
            chain.norms.pop()
            if chain.owed and not chain.norms and not torch.compiler.is_compiling():
                chain.owed = 0
                if sys.exc_info()[0] is None:
                    raise RuntimeError(
                        f"replace_depthwise: the forward of {type(scope).__name__} no longer calls what followed "
                        f"{'.'.join((*links[0].above, links[0].name))} when that was replaced; replace it in the model "
                        "as it is now"
                    )


def _forward_of(scope: nn.Module) -> str:
    """What tells one forward from another and is the same for a copy."""
    return scope.code if isinstance(scope, torch.fx.GraphModule) else type(scope).__qualname__


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
