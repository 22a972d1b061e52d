"""reconstruct_vertices on a mesh of 3DDFA's size, against torch's matrix products."""

import pytest
import torch

from frnet import ops
from frnet.morphable import MorphableModel
from frnet.ops import reference

VERTICES = 53_215


@pytest.fixture(scope="module")
def morphable(device):
    torch.manual_seed(0)
    n = 3 * VERTICES
    return MorphableModel(torch.randn(n), torch.randn(n, 40), torch.randn(n, 10)).to(device)


@pytest.mark.parametrize("batch", [1, 16, 128])
def test_forward(benchmark, contend, contender, device, batch, morphable):
    benchmark.group = f"reconstruct_vertices forward batch {batch} {VERTICES} vertices"
    params = torch.randn(batch, 62, device=device)
    with torch.inference_mode():
        contend(
            contender,
            lambda p: ops.reconstruct_vertices(p, morphable),
            lambda p: reference.reconstruct_vertices(p, morphable),
            (params,),
            4 * 3 * VERTICES * (51 + batch),
        )


@pytest.mark.parametrize("batch", [16, 128])
def test_forward_and_backward(benchmark, contend, contender, device, batch, morphable):
    benchmark.group = f"reconstruct_vertices forward+backward batch {batch} {VERTICES} vertices"
    params = torch.randn(batch, 62, device=device, requires_grad=True)
    upstream = torch.randn(batch, VERTICES, 3, device=device)

    def step(function, p):
        return torch.autograd.grad(function(p), p, upstream)

    contend(
        contender,
        lambda p: ops.reconstruct_vertices(p, morphable),
        lambda p: reference.reconstruct_vertices(p, morphable),
        (params,),
        4 * 3 * VERTICES * (2 * 51 + 2 * batch),
        call=step,
        rtol=1e-3,
    )
