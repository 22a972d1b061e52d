"""Two faces of one morphable model, as the losses on vertices take them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from support.op_tests import Sample, draw


class Arrays(NamedTuple):
    """As much of a MorphableModel as the ops look at; unlike one, it can be made inside a compiled function."""

    mean: torch.Tensor
    basis: torch.Tensor
    param_mean: torch.Tensor
    param_std: torch.Tensor


def faces(batch: int, vertices: int, coefficients: int, /, **options) -> Sample:
    """At the scales of a face in a crop: lengths of some hundreds, which f R takes to some pixels."""
    scale = torch.tensor([[0.01, 0.01, 0.01, 3.0]]).expand(3, 4).flatten()
    scale = torch.cat([scale, torch.ones(coefficients)]).double()
    return Sample(
        {
            "pred": draw(batch, 12 + coefficients, seed=2),
            "target": draw(batch, 12 + coefficients, seed=3),
            "mean": 300 * draw(3 * vertices, seed=4),
            "basis": 60 * draw(3 * vertices, coefficients, seed=5),
            "param_mean": 2 * scale * draw(12 + coefficients, seed=6),
            "param_std": scale * (0.2 + draw(12 + coefficients, seed=7).abs()),
        },
        options,
        differentiable=("pred",),
    )


def weighted(sample: Sample, vertices: int) -> Sample:
    return Sample(
        {**sample.tensors, "vertex_weights": draw(vertices, seed=8).abs()}, sample.options, sample.differentiable
    )


def some(count: int, vertices: int) -> torch.Tensor:
    """Indices in no order, with repetitions."""
    return torch.randint(vertices, (count,), generator=torch.Generator().manual_seed(9))
