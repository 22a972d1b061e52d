"""What the module tests share, as fixtures that are functions."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from support import modules
from support.tolerances import assert_close
from torch import nn


def _assert_same_steps(ours: nn.Module, theirs: nn.Module, x: torch.Tensor, steps: int = 2) -> None:
    """Results, gradients of input and parameters, and buffers, over some steps in training, then in evaluation."""
    for training in [True] * steps + [False]:
        inputs = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
        results = [model.train(training)(value) for model, value in zip((ours, theirs), inputs, strict=True)]
        assert_close(results[0], results[1], "forward")
        upstream = torch.randn(results[1].shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        for model, result in zip((ours, theirs), results, strict=True):
            model.zero_grad(set_to_none=True)
            result.backward(upstream.to(result))
        assert_close(inputs[0].grad, inputs[1].grad, "gradient")
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                assert_close(a.grad, b.grad, "gradient")
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def _assert_compiles_and_exports(module: nn.Module, x: torch.Tensor) -> None:
    """torch.compile without graph breaks, in training and in evaluation, and torch.export give the same."""
    for training in (True, False):
        expected_module = copy.deepcopy(module).train(training)
        compiled_module = copy.deepcopy(module).train(training)
        torch._dynamo.reset()
        compiled = torch.compile(compiled_module, fullgraph=True, backend="aot_eager")
        inputs = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2)]
        expected, result = expected_module(inputs[0]), compiled(inputs[1])
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)
        upstream = torch.randn_like(expected)
        expected.backward(upstream)
        result.backward(upstream)
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-5, atol=1e-5)
        for a, b in zip(compiled_module.buffers(), expected_module.buffers(), strict=True):
            torch.testing.assert_close(a, b)
    module = copy.deepcopy(module).eval()
    exported = torch.export.export(module, (x,))
    torch.testing.assert_close(exported.module()(x), module(x), rtol=1e-6, atol=1e-6)
    assert set(exported.state_dict) == set(module.state_dict())


@pytest.fixture
def with_statistics() -> Callable[..., nn.Module]:
    """Gives every batch normalisation parameters and running statistics that are not those of a new one."""
    return modules.with_statistics


@pytest.fixture
def assert_same_steps() -> Callable[..., None]:
    return _assert_same_steps


@pytest.fixture
def assert_compiles_and_exports() -> Callable[..., None]:
    return _assert_compiles_and_exports
