"""reconstruct_vertices on a mesh of 3DDFA's size, against torch's matrix products."""

import pytest
import torch

from frnet import ops
from frnet.morphable import MorphableModel
from frnet.ops import reference

VERTICES = 53_215


@pytest.fixture(scope="module")
def morphable():
    torch.manual_seed(0)
    n = 3 * VERTICES
    return MorphableModel(torch.randn(n), torch.randn(n, 40), torch.randn(n, 10))


@pytest.mark.parametrize("batch", [1, 16, 128])
def test_forward(benchmark, contend, contender, batch, morphable):
    benchmark.group = f"reconstruct_vertices forward batch {batch} {VERTICES} vertices"
    params = torch.randn(batch, 62)
    with torch.inference_mode():
        contend(
            contender,
            lambda p: ops.reconstruct_vertices(p, morphable),
            lambda p: reference.reconstruct_vertices(p, morphable),
            (params,),
            4 * 3 * VERTICES * (51 + batch),
        )


@pytest.mark.parametrize("batch", [16, 128])
def test_forward_and_backward(benchmark, contend, contender, batch, morphable):
    benchmark.group = f"reconstruct_vertices forward+backward batch {batch} {VERTICES} vertices"
    params = torch.randn(batch, 62, requires_grad=True)
    upstream = torch.randn(batch, VERTICES, 3)

    def step(function):
        return lambda p: torch.autograd.grad(function(p, morphable), p, upstream)

    contend(
        contender,
        step(ops.reconstruct_vertices),
        step(reference.reconstruct_vertices),
        (params,),
        4 * 3 * VERTICES * (2 * 51 + 2 * batch),
        rtol=1e-3,
    )
