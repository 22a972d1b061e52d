"""reconstruct_vertices against torch's matrix products."""

from typing import NamedTuple

import pytest
import torch
from support.faces import some
from support.op_tests import OpTests, Sample, draw
from support.tolerances import assert_close

from frnet import ops
from frnet.morphable import MorphableModel
from frnet.ops import reference


def make(batch, vertices, coefficients) -> Sample:
    return Sample(
        {
            "params": draw(batch, 12 + coefficients, seed=2),
            "mean": draw(3 * vertices, seed=3),
            "basis": draw(3 * vertices, coefficients, seed=4),
        },
        differentiable=("params",),
    )


def model(mean, basis) -> MorphableModel:
    return MorphableModel(mean, basis[:, :0], basis, dtype=mean.dtype)


class Arrays(NamedTuple):
    """As much of a MorphableModel as the op looks at; unlike one, it can be made inside a compiled function."""

    mean: torch.Tensor
    basis: torch.Tensor


class TestReconstructVertices(OpTests):
    samples = {
        f"{batch}x{vertices}x{coefficients}": make(batch, vertices, coefficients)
        for batch, vertices, coefficients in [
            (1, 1, 1),
            (1, 68, 50),
            (3, 7, 4),
            (4, 16, 50),
            (8, 17, 50),
            (9, 41, 50),
            (33, 1009, 50),
            (2, 435, 129),
            (5, 100, 400),
            (0, 68, 50),
            (2, 0, 50),
            (2, 5, 0),
        ]
    }
    small = ["3x7x4"]
    dtypes = [torch.float32, torch.float64]

    @staticmethod
    def op(params, mean, basis):
        return ops.reconstruct_vertices(params, Arrays(mean, basis))

    @staticmethod
    def reference(params, mean, basis):
        matrix = params[:, :12].reshape(-1, 3, 4)
        shape = (mean + params[:, 12:] @ basis.T).unflatten(1, (mean.shape[0] // 3, 3))
        return shape @ matrix[:, :, :3].mT + matrix[:, None, :, 3]


def test_the_shipped_reference_agrees_with_the_formula():
    params, mean, basis = make(3, 11, 6).tensors.values()
    expected = TestReconstructVertices.reference(params, mean, basis)
    torch.testing.assert_close(reference.reconstruct_vertices(params, model(mean, basis)), expected)


def test_landmarks_of_real_parameters(shared):
    """3DDFA_V2's own landmarks of eight photographs, before its shift to the image."""
    import numpy as np

    golden = np.load(shared / "aflw2000-3d-sample" / "mb05_reference.npz")
    morphable = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa" / "landmark_basis")
    vertices = ops.reconstruct_vertices(torch.from_numpy(golden["param"]), morphable)
    roi = np.load(shared / "aflw2000-3d-sample" / "ground_truth.npz")["roi"]
    x = (vertices[..., 0].numpy() - 1) * (roi[:, 2] - roi[:, 0])[:, None] / 120 + roi[:, :1]
    np.testing.assert_allclose(x, golden["landmarks68"][:, 0], atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_some_vertices(dtype):
    params, mean, basis = make(5, 90, 50).on("cpu", dtype)
    vertices = some(31, 90)
    got = ops.reconstruct_vertices(params, Arrays(mean, basis), vertices)
    whole = ops.reconstruct_vertices(params, Arrays(mean, basis))
    assert_close(got, whole[:, vertices].double(), "forward")
    upstream = draw(*got.shape).to(dtype)
    (gradient,) = torch.autograd.grad(got, params, upstream)
    (wanted,) = torch.autograd.grad(whole[:, vertices], params, upstream)
    assert_close(gradient, wanted.double(), "gradient")


def test_no_second_mesh_sized_buffer():
    """The peak of a forward pass is its result: measured on the allocator's own count."""
    vertices, batch = 20_000, 16
    morphable = model(torch.zeros(3 * vertices), torch.zeros(3 * vertices, 50))
    params = torch.zeros(batch, 62)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        ops.reconstruct_vertices(params, morphable)
    allocated = sum(event.self_cpu_memory_usage for event in profile.key_averages() if event.self_cpu_memory_usage > 0)
    assert allocated == batch * vertices * 3 * 4


def test_compiled_around_a_morphable_model():
    params, mean, basis = make(2, 5, 3).on("cpu", torch.float32)
    morphable = model(mean, basis)
    compiled = torch.compile(lambda p: ops.reconstruct_vertices(p, morphable), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(params), ops.reconstruct_vertices(params, morphable), rtol=0, atol=0)


def test_under_autocast_it_computes_in_float32():
    params, mean, basis = make(2, 5, 3).on("cpu", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = ops.reconstruct_vertices(params.bfloat16(), model(mean, basis))
    assert result.dtype == torch.float32


MODEL = model(torch.zeros(15), torch.zeros(15, 4))
P = torch.zeros(2, 16)


@pytest.mark.parametrize(
    ("vertices", "error", "message"),
    [
        ([0], TypeError, "vertices must be a torch.Tensor"),
        (torch.tensor([0, 5]), ValueError, "vertices must be indices from 0 to 4, got 5"),
        (torch.tensor([-1]), ValueError, "vertices must be indices from 0 to 4, got -1"),
        (torch.tensor([0.0]), TypeError, "vertices must be int64, got float32"),
        (torch.tensor([0]).to("meta"), ValueError, "vertices must be on params's device cpu, got meta"),
    ],
)
def test_bad_vertices_are_named(vertices, error, message):
    with pytest.raises(error, match=f"reconstruct_vertices: {message}"):
        ops.reconstruct_vertices(P, MODEL, vertices)


@pytest.mark.parametrize(
    ("params", "morphable", "error", "message"),
    [
        ([1.0], MODEL, TypeError, "params must be a torch.Tensor"),
        (P.int().numpy(), MODEL, TypeError, "params must be float32, float64 or float16, got int32"),
        (P[0], MODEL, ValueError, r"params must have shape \[batch, parameters\], got \[16\]"),
        (
            P[:, :14],
            MODEL,
            ValueError,
            r"params must have shape \[batch, 16\].*4 coefficients.*got \[2, 14\]",
        ),
        (P.half(), MODEL, TypeError, "params must be float32 or float64, got float16"),
        (P.double(), MODEL, TypeError, "morphable must have params's dtype torch.float64, got torch.float32"),
        (P.to("meta"), MODEL, ValueError, "morphable must be on params's device meta, got cpu"),
        (
            torch.zeros(1, 612),
            model(torch.zeros(3), torch.zeros(3, 600)),
            ValueError,
            "morphable must have at most 512 coefficients, got 600",
        ),
    ],
)
def test_bad_arguments_are_named(params, morphable, error, message):
    with pytest.raises(error, match=f"reconstruct_vertices: {message}"):
        ops.reconstruct_vertices(params, morphable)


def test_the_model_is_not_differentiable():
    params, mean, basis = make(2, 5, 3).on("cpu", torch.float32)
    basis.requires_grad_()
    with pytest.raises(NotImplementedError, match="differentiable in params alone"):
        torch.ops.frnet.reconstruct_vertices(params, mean, basis, None).sum().backward()
