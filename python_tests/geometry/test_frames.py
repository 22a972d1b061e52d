"""Crop frame and image pixels, against the landmarks of 3DDFA_V2's own code."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.geometry import crop_to_image, crop_to_image_3ddfa_v1, image_to_crop
from frnet.morphable import MorphableModel


@pytest.fixture(scope="module")
def samples(shared):
    """Landmarks in the crop frame [8, 68, 3], roi boxes, and what 3DDFA_V2 makes of them."""
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    reference = np.load(shared / "aflw2000-3d-sample/mb05_reference.npz")
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    parts = model.layout.split(reference["param"].astype(np.float64))
    alpha = np.concatenate([parts.alpha_shape, parts.alpha_expression], -1)
    shapes = (model.mean.double().numpy() + alpha @ model.basis.double().numpy().T).reshape(8, 68, 3)
    vertices = shapes @ parts.matrix.swapaxes(1, 2) + parts.translation[:, None]
    return vertices, truth["roi"].astype(np.float64), reference, truth


def test_landmarks_of_3ddfa_v2(samples):
    vertices, roi, reference, truth = samples
    whole = crop_to_image(vertices, roi)
    landmarks = crop_to_image(vertices, roi, z_origin=whole[..., 2].min(-1))
    # Their arithmetic is float32, at coordinates up to 450 pixels.
    np.testing.assert_allclose(landmarks, reference["landmarks68"].swapaxes(1, 2), rtol=0, atol=1e-4)
    points = truth["pts68"][:, :2].swapaxes(1, 2)
    nme = np.linalg.norm(landmarks[..., :2] - points, axis=-1).mean(1) / np.sqrt(np.ptp(points, axis=1).prod(1))
    np.testing.assert_allclose(nme, reference["nme"], rtol=1e-4)


def test_landmarks_and_mesh_share_one_origin(samples):
    vertices, roi, *_ = samples
    mesh = np.concatenate([vertices, vertices - [0, 0, 5]], 1)
    origin = crop_to_image(mesh, roi)[..., 2].min(-1)
    both = crop_to_image(mesh, roi, z_origin=origin)
    np.testing.assert_allclose(both[..., 2].min(-1), 0, atol=1e-9)
    np.testing.assert_array_equal(crop_to_image(vertices, roi, z_origin=origin), both[:, :68])


@pytest.mark.parametrize("size", [120, 96, 1])
def test_there_and_back(rng, size):
    roi = np.array([[12.5, -30, 300, 257.5], [0, 0, 50, 90]])  # one square, one not
    points = rng.normal(size=(3, 2, 11, 3)) * 100
    origin = np.array([3.0, -40.0])
    there = crop_to_image(points, roi, size, z_origin=origin)
    assert there.shape == points.shape
    np.testing.assert_allclose(image_to_crop(there, roi, size, z_origin=origin), points, rtol=0, atol=1e-9)
    back = image_to_crop(points, roi, size, z_origin=origin)
    np.testing.assert_allclose(crop_to_image(back, roi, size, z_origin=origin), points, rtol=0, atol=1e-9)


def test_corners_and_directions():
    roi = [100, 50, 340, 290]
    corners = crop_to_image([[1, 120, 1], [121, 0, 1], [1, 120, 2]], roi)
    np.testing.assert_allclose(corners, [[100, 50, 0], [340, 290, 0], [100, 50, 2]])
    up = crop_to_image([[60, 80, 0]], roi)[0] - crop_to_image([[60, 70, 0]], roi)[0]
    np.testing.assert_allclose(up, [0, -20, 0])


def test_v1_lies_one_crop_pixel_further(samples):
    vertices, roi, *_ = samples
    v1 = crop_to_image_3ddfa_v1(vertices, roi + 1) - [1, 1, 0]  # both count from 1
    scale = (roi[:, 2:] - roi[:, :2])[:, None] / 120
    v2 = crop_to_image(vertices, roi)
    np.testing.assert_allclose(v1[..., :2] - v2[..., :2], np.broadcast_to(scale, v2[..., :2].shape), atol=1e-9)
    np.testing.assert_allclose(v1[..., 2] - v2[..., 2], np.broadcast_to(scale.mean(-1), v2[..., 2].shape), atol=1e-9)


@pytest.mark.parametrize("function", [crop_to_image, image_to_crop, crop_to_image_3ddfa_v1])
def test_errors(function):
    with pytest.raises(ValueError, match=r"\[\.\.\., N, 3\], one point per row, got \[3, 68\]"):
        function(np.zeros((3, 68)), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="at least one pixel"):
        function(np.zeros((68, 3)), [5, 5, 5, 5])
    with pytest.raises(ValueError, match="finite"):
        function(np.zeros((68, 3)), [0, 0, np.nan, 5])
    with pytest.raises(ValueError, match="size"):
        function(np.zeros((68, 3)), [0, 0, 5, 5], 0)
