"""Two faces of one morphable model, as the losses on vertices take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from frnet.morphable import MorphableModel
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


def golden_model(golden) -> MorphableModel:
    return MorphableModel(
        golden["mean_shape"],
        golden["basis_shape"],
        golden["basis_expression"],
        param_mean=golden["param_mean"],
        param_std=golden["param_std"],
        landmarks=golden["landmark_rows"][::3] // 3,
    )


def relative_error(got: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(got.detach().double().numpy() - wanted) / np.linalg.norm(wanted))


# For what is refused.
MODEL = MorphableModel(
    torch.zeros(15),
    torch.zeros(15, 4),
    torch.zeros(15, 0),
    param_mean=torch.zeros(16),
    param_std=torch.ones(16),
    landmarks=[0, 3],
)
P = torch.zeros(2, 16)
