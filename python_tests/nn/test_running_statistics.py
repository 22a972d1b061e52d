"""Running statistics where a forward runs twice or is compiled: as torch's BatchNorm2d updates them there."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    SpatialGroupEnhance,
    SqueezeExcite,
    replace_depthwise,
)
from frnet.nn.chain import ChainedDepthwiseConv2d

CHANNELS = 8


def depthwise() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)


def in_torch(*behind: nn.Module, conv: nn.Conv2d | None = None) -> nn.Sequential:
    return nn.Sequential(conv or depthwise(), nn.BatchNorm2d(CHANNELS), nn.ReLU6(), *behind)


def stage(gate: nn.Module | None = None) -> DepthwiseConv2dNormAct:
    return DepthwiseConv2dNormAct(CHANNELS, 3, padding=1, gate=gate)


# Ours, and what it is in torch's modules, with parameters and buffers in the same order.
MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "stage": (stage, in_torch),
    "stage with squeeze": (lambda: stage(SqueezeExcite(CHANNELS)), lambda: in_torch(SqueezeExcite(CHANNELS))),
    "stage with enhance": (lambda: stage(SpatialGroupEnhance(2)), lambda: in_torch(SpatialGroupEnhance(2))),
    "chain": (lambda: replace_depthwise(in_torch()), in_torch),
    "dense": (
        lambda: Conv2dNormAct(CHANNELS, CHANNELS, 3),
        lambda: in_torch(conv=nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)),
    ),
    "one split": (
        lambda: HierarchicalDepthwiseConv2d(CHANNELS, splits=1, gate=SpatialGroupEnhance(2)),
        lambda: in_torch(nn.BatchNorm2d(CHANNELS), SpatialGroupEnhance(2)),
    ),
}


@pytest.fixture(params=MODULES)
def pair(request) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours, theirs = (make() for make in MODULES[request.param])
    with torch.no_grad():
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.copy_(a)
    return ours, theirs


def steps(module: nn.Module, call: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """Three of training; results, gradients and, in the end, buffers."""
    found = []
    for seed in range(3):
        x = torch.randn(3, CHANNELS, 5, 6, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        y = call(x)
        module.zero_grad()
        y.square().mean().backward()
        found += [y.detach(), x.grad, *(parameter.grad for parameter in module.parameters())]
    return found + [buffer.clone() for buffer in module.buffers()]


def with_momentum(module: nn.Module, momentum: float | None) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = momentum
    return module


def through(module: nn.Module, reentrant: bool | None) -> Callable[[torch.Tensor], torch.Tensor]:
    return module if reentrant is None else lambda x: checkpoint(module, x, use_reentrant=reentrant)


@pytest.mark.parametrize("momentum", [0.1, None, 1.0, 0.0])
@pytest.mark.parametrize("reentrant", [None, False, True], ids=["once", "checkpoint", "reentrant checkpoint"])
def test_as_torch_updates_them(pair, momentum, reentrant):
    ours, theirs = (steps(m, through(with_momentum(m, momentum), reentrant)) for m in pair)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    counts = [buffer for buffer in pair[0].buffers() if buffer.dtype == torch.int64]
    assert {int(count) for count in counts} == {3 if reentrant is None else 6}  # torch counts what runs again


def test_compiled_with_and_without_a_checkpoint(pair):
    """torch counts once in both: what runs again in a compiled graph is without effects.

    A mean over all batches in the one, a running one in the other, since compiling takes seconds.
    """
    for reentrant, momentum in ((None, None), (False, 0.1)):
        ours, theirs = (with_momentum(copy.deepcopy(module), momentum) for module in pair)
        # A chain's hooks end the graph in front of the checkpoint, which then runs uncompiled.
        uncompiled = reentrant is False and any(isinstance(part, ChainedDepthwiseConv2d) for part in ours.modules())
        expected = steps(theirs, through(theirs, reentrant) if uncompiled else theirs)
        torch.compiler.reset()
        compiled = torch.compile(through(ours, reentrant), fullgraph=not uncompiled, backend="aot_eager")
        torch.testing.assert_close(steps(ours, compiled), expected, rtol=1e-4, atol=1e-5)


def test_an_empty_batch(pair):
    """The batch is counted, as torch does, and nothing else happens."""
    buffers = []
    for module in pair:
        x = torch.zeros(0, CHANNELS, 5, 6, requires_grad=True)
        y = module(x)
        assert y.shape == (0, CHANNELS, 5, 6)
        y.sum().backward()
        assert x.grad.shape == x.shape
        assert not any(parameter.grad.any() for parameter in module.parameters())
        buffers.append(list(module.buffers()))
    torch.testing.assert_close(*buffers, rtol=0, atol=0)
