"""Which face models mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frnet.datasets import find_mirror
from frnet.morphable import LANDMARK_MIRROR, MorphableModel, procedural_face


def test_the_68_points_pair_up(model):
    """On a real mean face: each pair lies on two sides of the middle, at one height."""
    mean = model.mean.reshape(68, 3).double().numpy()
    np.testing.assert_array_equal(LANDMARK_MIRROR[LANDMARK_MIRROR], np.arange(68))
    assert (np.arange(68) == LANDMARK_MIRROR).sum() == 10  # chin, nose (5), lips (4)
    difference = mean[LANDMARK_MIRROR] * (-1, 1, 1) - mean
    assert np.linalg.norm(difference, axis=1).max() < 0.03 * np.ptp(mean[:, 0])


def test_the_procedural_face_mirrors(rng):
    model = procedural_face()
    mirror = find_mirror(model)
    alpha = rng.normal(size=50)
    basis = model.basis.double().numpy()
    face = (model.mean.double().numpy() + basis @ alpha).reshape(-1, 3)
    other = (model.mean.double().numpy() + basis @ (mirror.coefficients @ alpha)).reshape(-1, 3)
    np.testing.assert_allclose(other, face[mirror.vertices] * (-1, 1, 1), rtol=0, atol=0.1)  # micrometres
    np.testing.assert_allclose(mirror.coefficients @ mirror.coefficients, np.eye(50), atol=1e-6)


def test_a_mixed_basis_still_mirrors(rng):
    """The map need not be diagonal: any basis of the same space does."""
    model = procedural_face()
    mix = torch.from_numpy(np.linalg.qr(rng.normal(size=(40, 40)))[0]).float()
    mixed = MorphableModel(
        model.mean,
        model.basis_shape @ mix,
        model.basis_expression,
        landmarks=model.landmarks,
        triangles=model.triangles,
    )
    coefficients = find_mirror(mixed).coefficients
    assert np.abs(coefficients - np.diag(np.diag(coefficients))).max() > 0.1
    np.testing.assert_allclose(coefficients @ coefficients, np.eye(50), atol=1e-4)


def test_the_basel_face_model_does_not(model):
    with pytest.raises(ValueError, match=r"does not mirror: .* so labels cannot follow a flipped image"):
        find_mirror(model)


def test_a_basis_that_leans_to_one_side():
    model = procedural_face()
    basis = model.basis_shape.clone()
    basis.view(-1, 3, 40)[model.mean.view(-1, 3)[:, 0] > 0, :, 4] = 0
    lopsided = MorphableModel(model.mean, basis, model.basis_expression, landmarks=model.landmarks)
    with pytest.raises(ValueError, match="of its mirrored component 4 is no face of the model"):
        find_mirror(lopsided)
    with pytest.raises(ValueError, match="expected a model with 68 landmarks"):
        find_mirror(model.subset(range(100)))
