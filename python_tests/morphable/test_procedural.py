"""The face made of formulas."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.morphable import MorphableModel, procedural_face


@pytest.fixture(scope="module")
def model():
    return procedural_face()


def test_it_is_the_same_every_time(model):
    again = procedural_face()
    np.testing.assert_array_equal(model.basis, again.basis)
    np.testing.assert_array_equal(model.mean, again.mean)


def test_triangles_look_outwards(model):
    corners = model.mean.reshape(-1, 3).double().numpy()[model.triangles.numpy()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = np.einsum("td,td->t", normals, corners.mean(1))
    assert (outwards > 0).mean() > 0.97  # all but some in the folds of nose and lips
    assert (np.linalg.norm(normals, axis=1) > 0).all()


def test_landmarks_lie_like_a_real_faces(model, shared):
    """After a similarity, the mean landmarks are near 3DDFA's, in shares of the face's width."""
    real = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis").mean.reshape(68, 3).double().numpy()
    mine = model.landmark_model().mean.reshape(68, 3).double().numpy()
    real, mine = (points - points.mean(0) for points in (real, mine))
    u, values, vt = np.linalg.svd(mine.T @ real)
    fitted = mine @ (u @ vt) * values.sum() / (mine**2).sum()
    distance = np.linalg.norm(fitted - real, axis=1) / np.ptp(real[:, 0])
    assert distance.max() < 0.12
    assert distance.mean() < 0.07


def test_landmarks_lie_on_the_surface(model, rng):
    alpha = rng.normal(size=50).astype(np.float32)
    vertices = (model.mean.numpy() + model.basis.numpy() @ alpha).reshape(-1, 3)
    surface, landmarks = vertices[:-68], vertices[-68:]
    nearest = np.linalg.norm(landmarks[:, None] - surface[None], axis=2).min(1)
    assert nearest.max() < 6000  # micrometres: no farther than the next vertex of the mesh


def test_components_are_of_one_scale(model):
    """Each moves its strongest vertex by one to ten millimetres, and no two are alike."""
    moves = np.linalg.norm(model.basis.numpy().reshape(-1, 3, 50), axis=1).max(0)
    assert moves.min() > 500
    assert moves.max() < 12_000
    columns = model.basis.double().numpy()
    columns /= np.linalg.norm(columns, axis=0)
    assert np.abs(columns.T @ columns - np.eye(50)).max() < 0.97
    assert np.linalg.matrix_rank(columns) == 50
