"""The test base of every op: subclass OpTests, say what the op, its reference and its samples are."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch

from frnet import _core
from support.tolerances import assert_close

CPU_AND_CUDA = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@dataclass
class Sample:
    """Arguments of one call; tensors in float64 on the CPU."""

    tensors: tuple[torch.Tensor | None, ...]
    options: dict[str, Any] = field(default_factory=dict)
    differentiable: tuple[int, ...] = (0,)

    def on(self, device: str, dtype: torch.dtype) -> list[torch.Tensor | None]:
        tensors = [None if t is None else t.detach().to(device, dtype) for t in self.tensors]
        for i in self.differentiable:
            if tensors[i] is not None:
                tensors[i].requires_grad_()
        return tensors


class OpTests:
    """Subclasses give samples (name -> Sample), small (names for gradcheck), dtypes, op and reference."""

    samples: ClassVar[dict[str, Sample]]
    small: ClassVar[list[str]]
    dtypes: ClassVar[list[torch.dtype]] = [torch.float32, torch.float64]

    @staticmethod
    def op(*tensors, **options):
        raise NotImplementedError

    @staticmethod
    def reference(*tensors, **options):
        raise NotImplementedError

    @staticmethod
    def overload(*tensors, **options):
        """(overload, arguments) behind op, for opcheck."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc):
        if "sample" in metafunc.fixturenames:
            metafunc.parametrize("sample", self.samples.values(), ids=self.samples.keys())
        if "small_sample" in metafunc.fixturenames:
            metafunc.parametrize("small_sample", [self.samples[name] for name in self.small], ids=self.small)
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes, ids=lambda d: str(d).removeprefix("torch."))

    def _run(self, sample, device, dtype):
        """Result and gradients of the op, and of the reference in float64 on the same rounded inputs."""
        tensors = sample.on(device, dtype)
        expected_tensors = [
            None if t is None else t.detach().cpu().double().requires_grad_(t.requires_grad) for t in tensors
        ]
        result = self.op(*tensors, **sample.options)
        expected = self.reference(*expected_tensors, **sample.options)
        generator = torch.Generator().manual_seed(7)
        upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64).to(dtype)
        result.backward(upstream.to(device))
        expected.backward(upstream.double())
        return result, expected, tensors, expected_tensors

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_value_and_gradients_match_the_reference(self, sample, device, dtype):
        result, expected, tensors, expected_tensors = self._run(sample, device, dtype)
        assert result.dtype == dtype
        assert_close(result, expected, "forward")
        for tensor, expected_tensor in zip(tensors, expected_tensors, strict=True):
            if tensor is not None and tensor.requires_grad:
                assert_close(tensor.grad, expected_tensor.grad, "gradient")

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_two_runs_are_bit_identical(self, sample, device):
        first = self._run(sample, device, torch.float32)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1 if threads > 1 else 2)
            second = self._run(sample, device, torch.float32)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(first[0], second[0])
        for a, b in zip(first[2], second[2], strict=True):
            if a is not None and a.requires_grad:
                assert torch.equal(a.grad, b.grad)

    def test_gradcheck(self, small_sample):
        tensors = small_sample.on("cpu", torch.float64)
        assert torch.autograd.gradcheck(lambda *args: self.op(*args, **small_sample.options), tensors, fast_mode=False)

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_opcheck(self, small_sample, device):
        overload, arguments = self.overload(*small_sample.on(device, torch.float32), **small_sample.options)
        torch.library.opcheck(overload, arguments)

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_compile_without_graph_breaks(self, small_sample, device):
        tensors = small_sample.on(device, torch.float32)
        compiled = torch.compile(
            lambda *args: self.op(*args, **small_sample.options) * 2, fullgraph=True, backend="aot_eager"
        )
        expected = self.op(*tensors, **small_sample.options) * 2
        result = compiled(*tensors)
        torch.testing.assert_close(result, expected, rtol=0, atol=0)
        wanted = [tensors[i] for i in small_sample.differentiable if tensors[i] is not None]
        upstream = torch.ones_like(expected)
        for got, want in zip(
            torch.autograd.grad(result, wanted, upstream),
            torch.autograd.grad(expected, wanted, upstream),
            strict=True,
        ):
            torch.testing.assert_close(got, want, rtol=0, atol=0)

    def test_export(self, small_sample):
        class Module(torch.nn.Module):
            def forward(module, *tensors):  # noqa: N805
                return self.op(*tensors, **small_sample.options)

        tensors = tuple(None if t is None else t.detach() for t in small_sample.on("cpu", torch.float32))
        exported = torch.export.export(Module(), tensors)
        torch.testing.assert_close(
            exported.module()(*tensors), self.op(*tensors, **small_sample.options), rtol=0, atol=0
        )

    def test_there_is_no_second_derivative(self, small_sample):
        tensors = small_sample.on("cpu", torch.float64)
        wanted = tensors[small_sample.differentiable[0]]
        (gradient,) = torch.autograd.grad(
            self.op(*tensors, **small_sample.options).square().sum(), wanted, create_graph=True
        )
        with pytest.raises(NotImplementedError, match="no second derivative"):
            gradient.sum().backward()


def instruction_sets() -> list[str]:
    return _core.build_info()["cpu_instruction_sets_here"]


def run_with_instruction_set(isa: str, *pytest_arguments: str) -> None:
    """Runs tests in a new process that is made to use one instruction set."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *pytest_arguments],
        env={**os.environ, "FRNET_CPU_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
