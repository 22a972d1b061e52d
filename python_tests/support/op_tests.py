"""The test base of every op: subclass OpTests, say what the op, its reference and its samples are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from support.tolerances import assert_close

CPU_AND_CUDA = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@dataclass
class Sample:
    """Arguments of one call by name; tensors in float64 on the CPU, in the order in which tests take them apart."""

    tensors: dict[str, torch.Tensor | None]
    options: dict[str, Any] = field(default_factory=dict)
    differentiable: Sequence[str] = ()
    accumulated: Sequence[str] = ()  # tensors that have the dtype of sums: float32 beside 16-bit tensors
    dtypes: Sequence[torch.dtype] | None = None  # None: all that the op has

    def adding(self, shapes: dict[str, tuple[int, ...] | None] | None = None, **options) -> Sample:
        """The sample with more options, and with more tensors to differentiate, of the dtype of sums."""
        more = {
            name: None if shape is None else draw(*shape, seed=10 + len(self.tensors) + i)
            for i, (name, shape) in enumerate((shapes or {}).items())
        }
        return replace(
            self,
            tensors={**self.tensors, **more},
            options={**self.options, **options},
            differentiable=(*self.differentiable, *more),
            accumulated=(*self.accumulated, *more),
        )

    def without_16_bits(self) -> Sample:
        """For an op that stores a result in between, rounded: behind it a value may stand on the other side of a kink
        than the reference's, and what is a small difference of large terms has few digits left."""
        return replace(self, dtypes=(torch.float32, torch.float64))

    def on(self, device: str, dtype: torch.dtype) -> list[torch.Tensor | None]:
        sums = torch.float64 if dtype == torch.float64 else torch.float32
        tensors = []
        for name, tensor in self.tensors.items():
            if tensor is not None:
                tensor = _converted(tensor, device, sums if name in self.accumulated else dtype)
                tensor.requires_grad_(name in self.differentiable)
            tensors.append(tensor)
        return tensors

    def call(self, function, tensors: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
        results = function(**dict(zip(self.tensors, tensors, strict=True)), **self.options)
        return results if isinstance(results, tuple) else (results,)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _converted(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    """The same view of converted memory: to() alone would make a dense tensor of a slice."""
    if tensor._base is None:
        return tensor.detach().to(device, dtype)
    memory = tensor._base.detach().to(device, dtype)
    return memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).detach()


class OpTests:
    """Subclasses give samples (name -> Sample), small (names for the slow tests), traced (those to compile and to
    export, the first one if none is named: memory formats are opcheck's affair), dtypes, op and reference."""

    samples: ClassVar[dict[str, Sample]]
    small: ClassVar[list[str]]
    traced: ClassVar[list[str]] = []
    gradient_is_an_op: ClassVar[bool] = True  # whether the gradient calls an op of frnet
    stops_gradients: ClassVar[bool] = False  # whether something that changes with the inputs counts as constant
    dtypes: ClassVar[list[torch.dtype]] = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

    @staticmethod
    def op(*tensors, **options):
        raise NotImplementedError

    @staticmethod
    def reference(*tensors, **options):
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc):
        if "dtype" in metafunc.fixturenames:
            cases = [
                pytest.param(sample, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}")
                for name, sample in self.samples.items()
                for dtype in sample.dtypes or self.dtypes
            ]
            metafunc.parametrize(("sample", "dtype"), cases)
        elif "sample" in metafunc.fixturenames:
            metafunc.parametrize("sample", self.samples.values(), ids=self.samples.keys())
        for fixture, names in (("small_sample", self.small), ("traced_sample", self.traced or self.small[:1])):
            if fixture in metafunc.fixturenames:
                metafunc.parametrize(fixture, [self.samples[name] for name in names], ids=names)

    def _run(self, sample, device, dtype):
        """Tensors with their gradients, results, and the upstream gradients they come from."""
        tensors = sample.on(device, dtype)
        results = sample.call(self.op, tensors)
        upstream = [draw(*result.shape, seed=7 + i).to(device, result.dtype) for i, result in enumerate(results)]
        torch.autograd.backward(results, upstream)
        return tensors, results, upstream

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_value_and_gradients_match_the_reference(self, sample, device, dtype):
        """The reference computes in float64, on the same rounded inputs."""
        tensors, results, upstream = self._run(sample, device, dtype)
        expected_tensors = [
            None if t is None else t.detach().cpu().double().requires_grad_(t.requires_grad) for t in tensors
        ]
        expected = sample.call(self.reference, expected_tensors)
        torch.autograd.backward(expected, [gradient.cpu().double() for gradient in upstream])
        for result, wanted in zip(results, expected, strict=True):
            assert result.dtype == (dtype if result.dim() == 4 else torch.promote_types(dtype, torch.float32))
            assert_close(result, wanted, "forward")
        for tensor, wanted in zip(tensors, expected_tensors, strict=True):
            if tensor is not None and tensor.requires_grad:
                assert tensor.grad.dtype == tensor.dtype
                assert_close(tensor.grad, wanted.grad, "gradient", dtype)

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_two_runs_are_bit_identical(self, sample, device):
        tensors, results, _ = self._run(sample, device, torch.float32)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1 if threads > 1 else 2)
            again, results_again, _ = self._run(sample, device, torch.float32)
        finally:
            torch.set_num_threads(threads)
        for a, b in zip(results, results_again, strict=True):
            assert torch.equal(a, b)
        for a, b in zip(tensors, again, strict=True):
            if a is not None and a.requires_grad:
                assert torch.equal(a.grad, b.grad)

    def test_gradients_only_where_asked_for(self, small_sample):
        tensors = small_sample.on("cpu", torch.float32)
        results = small_sample.call(self.op, tensors)
        torch.autograd.backward(results, [torch.ones_like(result) for result in results])
        for i, tensor in enumerate(tensors):
            if tensor is None or not tensor.requires_grad:
                continue
            alone = [None if t is None else t.detach().requires_grad_(j == i) for j, t in enumerate(tensors)]
            results = small_sample.call(self.op, alone)
            torch.autograd.backward(results, [torch.ones_like(result) for result in results])
            torch.testing.assert_close(alone[i].grad, tensor.grad)

    def test_gradcheck(self, small_sample):
        tensors = small_sample.on("cpu", torch.float64)
        assert torch.autograd.gradcheck(lambda *args: small_sample.call(self.op, args), tensors, fast_mode=False)

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_opcheck(self, small_sample, device):
        """Of the op behind the function, and of all that its gradient calls."""
        tensors = small_sample.on(device, torch.float32)
        with CallsOfOps() as calls:
            results = small_sample.call(self.op, tensors)
            forward = len(calls.arguments)
            torch.autograd.backward(results, [torch.ones_like(result) for result in results])
        assert forward == 1
        assert (len(calls.arguments) > forward) == self.gradient_is_an_op
        for i, (overload, arguments) in enumerate(calls.arguments.items()):
            arguments = [
                a.detach().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a for a in arguments
            ]
            # The gradient of a backward op is an error, which is a test of its own.
            tests = {} if i < forward else {"test_utils": ("test_schema", "test_faketensor")}
            torch.library.opcheck(overload, tuple(arguments), **tests)

    @pytest.mark.parametrize("device", CPU_AND_CUDA)
    def test_compile_without_graph_breaks(self, traced_sample, device):
        torch.compiler.reset()
        tensors = traced_sample.on(device, torch.float32)

        def function(*args):
            return [result * 2 for result in traced_sample.call(self.op, args)]

        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        expected = function(*tensors)
        results = compiled(*tensors)
        torch.testing.assert_close(results, expected, rtol=0, atol=0)
        wanted = [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]
        upstream = [torch.ones_like(result) for result in expected]
        torch.testing.assert_close(
            torch.autograd.grad(results, wanted, upstream),
            torch.autograd.grad(expected, wanted, upstream),
            rtol=0,
            atol=0,
        )

    def test_export(self, traced_sample):
        class Module(torch.nn.Module):
            def forward(module, *tensors):  # noqa: N805
                return traced_sample.call(self.op, tensors)

        tensors = tuple(None if t is None else t.detach() for t in traced_sample.on("cpu", torch.float32))
        exported = torch.export.export(Module(), tensors).module()
        torch.testing.assert_close(exported(*tensors), traced_sample.call(self.op, tensors), rtol=0, atol=0)
        primal, tangent = (tensors[0],), (draw(*tensors[0].shape, seed=20).float(),)
        torch.testing.assert_close(
            *(
                torch.func.jvp(lambda x: call(x, *tensors[1:]), primal, tangent)[1]  # noqa: B023
                for call in (exported, lambda *values: traced_sample.call(self.op, values))
            ),
            rtol=1e-5,
            atol=1e-5,
        )

    def test_forward_mode(self, small_sample):
        """Tangents where nothing requires a gradient, in every dtype and by both doors, against the reference's, which
        torch takes by two reverse passes."""
        for dtype in small_sample.dtypes or self.dtypes:
            tensors = [None if t is None else t.detach() for t in small_sample.on("cpu", dtype)]
            moved = [i for i, name in enumerate(small_sample.tensors) if name in small_sample.differentiable]
            moved = [i for i in moved if tensors[i] is not None]
            primals = tuple(tensors[i] for i in moved)
            tangents = tuple(draw(*p.shape, seed=20 + i).to(p.dtype) for i, p in enumerate(primals))

            def calling(function, tensors, moved=moved):
                def call(*values):
                    replaced = list(tensors)
                    for i, value in zip(moved, values, strict=True):
                        replaced[i] = value
                    return small_sample.call(function, replaced)

                return call

            wide = [None if t is None else t.double() for t in tensors]
            _, expected = torch.autograd.functional.jvp(
                calling(self.reference, wide), tuple(wide[i] for i in moved), tuple(t.double() for t in tangents)
            )
            op = calling(self.op, tensors)
            with torch.no_grad():
                results, by_func = torch.func.jvp(op, primals, tangents)
                with forward_ad.dual_level():
                    duals = op(*map(forward_ad.make_dual, primals, tangents))
                    by_dual_numbers = [forward_ad.unpack_dual(dual).tangent for dual in duals]
            for result, *found, wanted in zip(results, by_func, by_dual_numbers, expected, strict=True):
                for tangent in found:
                    assert tangent.dtype == result.dtype
                    assert_close(tangent, wanted, "gradient", dtype)

    def test_forward_mode_twice(self, small_sample):
        """A tangent of a tangent, against differences of tangents; or where what a gradient leaves constant is not
        constant in them, against the reference's by reverse passes (torch's own batch norm has no third ones)."""
        tensors = [None if t is None else t.detach() for t in small_sample.on("cpu", torch.float64)]
        point, way = tensors[0], draw(*tensors[0].shape, seed=20)

        def tangents(function, jvp):
            return lambda value: jvp(lambda x: small_sample.call(function, [x, *tensors[1:]]), (value,), (way,))[1]

        def by_reverse(function, primals, tangents):
            return torch.autograd.functional.jvp(function, primals, tangents, create_graph=True)

        once, step = tangents(self.op, torch.func.jvp), 1e-5
        found = torch.func.jvp(once, (point,), (way,))[1]
        if self.stops_gradients:
            expected = by_reverse(tangents(self.reference, by_reverse), (point,), (way,))[1]
        else:
            pairs = zip(once(point + step * way), once(point - step * way), strict=True)
            expected = tuple((after - before) / (2 * step) for after, before in pairs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_compiled_forward_mode(self, traced_sample):
        """torch.compile of a function that takes tangents."""
        tensors = [None if t is None else t.detach() for t in traced_sample.on("cpu", torch.float64)]
        way = draw(*tensors[0].shape, seed=20)

        def tangents(value):
            return torch.func.jvp(lambda x: traced_sample.call(self.op, [x, *tensors[1:]]), (value,), (way,))[1]

        torch._dynamo.reset()
        compiled = torch.compile(tangents, backend="aot_eager")
        torch.testing.assert_close(compiled(tensors[0]), tangents(tensors[0]), rtol=1e-10, atol=1e-10)

    def test_torch_func(self, small_sample):
        """vjp and jacrev give the gradients of backward(); vmap, alone and around a gradient, the results of a loop."""
        tensors = small_sample.on("cpu", torch.float64)
        wanted = [i for i, tensor in enumerate(tensors) if tensor is not None and tensor.requires_grad]
        constant = [None if tensor is None else tensor.detach() for tensor in tensors]

        def call(*values):
            replaced = list(constant)
            for i, value in zip(wanted, values, strict=True):
                replaced[i] = value
            return small_sample.call(self.op, replaced)

        def loss(*values):
            return sum(result.square().sum() for result in call(*values))

        primals = tuple(constant[i] for i in wanted)
        results, pull = torch.func.vjp(call, *primals)
        upstream = tuple(draw(*result.shape, seed=7 + i) for i, result in enumerate(results))
        expected = torch.autograd.grad(small_sample.call(self.op, tensors), [tensors[i] for i in wanted], upstream)
        torch.testing.assert_close(pull(upstream), expected, rtol=0, atol=0)

        def first(value):
            return call(value, *primals[1:])[-1]

        rows = torch.func.jacrev(first)(primals[0])
        columns = torch.func.jacfwd(first)(primals[0])
        torch.testing.assert_close(rows, columns, rtol=1e-9, atol=1e-11)
        last = upstream[-1].flatten()
        by_rows = (last @ rows.reshape(len(last), -1)).reshape(primals[0].shape)
        torch.testing.assert_close(by_rows, torch.func.vjp(first, primals[0])[1](upstream[-1])[0])

        twins = tuple(torch.stack([primal, primal.flip(0)]) for primal in primals)
        gradients = torch.func.grad(loss, argnums=tuple(range(len(primals))))
        for function in (call, gradients):
            mapped = torch.func.vmap(function)(*twins)
            looped = zip(*(function(*(twin[i] for twin in twins)) for i in range(2)), strict=True)
            torch.testing.assert_close(mapped, tuple(map(torch.stack, looped)), rtol=1e-12, atol=1e-12)
        around = torch.func.grad(lambda *values: sum(v.square().sum() for v in torch.func.vmap(call)(*values)))(*twins)
        torch.testing.assert_close(around, torch.func.vmap(gradients)(*twins)[0], rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            mapped = torch.func.vmap(first)(twins[0])
        torch.testing.assert_close(mapped, torch.stack([first(twin) for twin in twins[0]]), rtol=0, atol=0)
        with pytest.raises(NotImplementedError, match=r"there is no second derivative; frnet\.ops\.reference\.\w+, "):
            torch.func.hessian(loss)(*primals)

    def test_there_is_no_second_derivative(self, small_sample):
        tensors = small_sample.on("cpu", torch.float64)
        wanted = next(tensor for tensor in tensors if tensor is not None and tensor.requires_grad)
        loss = sum(result.square().sum() for result in small_sample.call(self.op, tensors))
        (gradient,) = torch.autograd.grad(loss, wanted, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative"):
            gradient.sum().backward()


class CallsOfOps(TorchDispatchMode):
    """Notes the arguments and the results of frnet's ops, the last ones of each."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[torch._ops.OpOverload, tuple] = {}
        self.results: dict[torch._ops.OpOverload, torch.Tensor | tuple] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace == "frnet":
            self.arguments[func], self.results[func] = args, result
        return result


def assert_same_finiteness(op, reference, tensors: Sequence[torch.Tensor]) -> None:
    """op(*tensors) and its gradients are infinite and NaN where the reference's are."""
    values = []
    for function in (op, reference):
        y = function(*tensors)
        values.append((y, *torch.autograd.grad(y, tensors, torch.ones_like(y))))
    for got, expected in zip(*values, strict=True):
        assert torch.equal(got.isfinite(), expected.isfinite())
        assert torch.equal(got.isnan(), expected.isnan())
