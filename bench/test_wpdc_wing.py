"""wpdc_wing on a mesh of 3DDFA's size, forward and backward, against the same losses in plain torch."""

import pytest
import torch
from plain_losses import PlainWpdcWing

from frnet import ops
from frnet.morphable import MorphableModel

VERTICES = 53_215


def make_model(vertices: int, device: str) -> MorphableModel:
    """Random numbers at the scales of the Basel face model in a crop of 120 pixels."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    scale = torch.tensor([[3e-4, 3e-4, 3e-4, 15.0]]).expand(3, 4).flatten()
    return MorphableModel(
        6e4 * draw(3 * vertices),
        1e-3 * draw(3 * vertices, 40),
        1e3 * draw(3 * vertices, 10),
        param_mean=torch.cat([2 * scale * draw(12), torch.zeros(50)]),
        param_std=torch.cat([scale, torch.full((40,), 1e5), torch.ones(10)]),
    ).to(device)


@pytest.fixture(scope="module")
def morphable(device):
    return make_model(VERTICES, device)


@pytest.mark.parametrize("batch", [1, 16, 128, 256])
def test_forward_and_backward(benchmark, contend, contender, device, batch, morphable):
    benchmark.group = f"wpdc_wing forward+backward batch {batch} {VERTICES} vertices"
    pred = torch.randn(batch, 62, device=device, requires_grad=True)
    target = torch.randn(batch, 62, device=device)

    def step(function, pred, target):
        wpdc, wing = function(pred, target)
        (gradient,) = torch.autograd.grad(0.5 * wpdc.mean() + wing.mean(), pred)
        return wpdc.detach(), wing.detach(), gradient

    contend(
        contender,
        lambda p, t: ops.wpdc_wing(p, t, morphable),
        PlainWpdcWing(morphable).__call__,
        (pred, target),
        4 * 3 * VERTICES * 51,
        call=step,
    )
