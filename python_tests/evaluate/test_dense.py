"""Errors of meshes: clouds whose error is known, SciPy's alignment, and the fitted mesh of a real face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.io
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from frnet.evaluate import dense_nme_percent, reconstruction_nme_percent, sadrnet_alignment, similarity_alignment


@pytest.fixture
def cloud(rng) -> np.ndarray:
    return rng.normal(size=(3, 200, 3)) * [30, 40, 20] + [200, 250, -70]


@pytest.fixture(scope="module")
def face(shared) -> np.ndarray:
    """The 53,215 vertices fitted to a photograph of AFLW2000-3D."""
    return scipy.io.loadmat(shared / "300w-lp-sample/image00427.mat")["vertex"].T.astype(np.float64)


def test_known_shift(cloud):
    """A shift in depth costs nothing, one in the image its length over the size of the face."""
    size = np.sqrt(np.ptp(cloud[..., :2], axis=1).prod(-1))
    moved = cloud + np.array([3, -4, 55])
    np.testing.assert_allclose(dense_nme_percent(moved, cloud), 500 / size)
    np.testing.assert_allclose(dense_nme_percent(moved, cloud, dims=2), 500 / size)
    np.testing.assert_allclose(dense_nme_percent(moved[..., :2], cloud[..., :2], dims=2), 500 / size)


def test_depth_counts_in_3d_alone(cloud):
    tilted = cloud + np.arange(200)[:, None] * [0, 0, 0.1]
    assert (dense_nme_percent(tilted, cloud, dims=2) == 0).all()
    centred = 100 * np.abs(np.arange(200) - 99.5).mean() * 0.1
    np.testing.assert_allclose(
        dense_nme_percent(tilted, cloud), centred / np.sqrt(np.ptp(cloud[..., :2], axis=1).prod(-1))
    )


def test_subset_has_its_own_box_and_depth(cloud):
    subset = np.arange(0, 200, 7)
    pred = cloud + np.sin(np.arange(200))[:, None] * [1, 2, 3]
    chosen = dense_nme_percent(pred[:, subset], cloud[:, subset])
    np.testing.assert_allclose(dense_nme_percent(pred, cloud, subset=subset), chosen)
    assert (dense_nme_percent(pred, cloud, subset=subset) != dense_nme_percent(pred, cloud)).all()


def test_leading_dimensions(cloud):
    pred = cloud + 1
    assert dense_nme_percent(pred[0], cloud[0]).shape == ()
    assert dense_nme_percent(pred[None], cloud[None]).shape == (1, 3)
    assert reconstruction_nme_percent(pred[None], cloud[None], (0, 1)).shape == (1, 3)
    assert dense_nme_percent(pred[:0], cloud[:0]).shape == (0,)


def similar(points, rng, scale=1.7, shift=(5, -6, 7)) -> np.ndarray:
    return scale * points @ Rotation.random(rng=rng).as_matrix().T + shift


def test_similar_clouds_have_no_error(cloud, face, rng):
    for points in (*cloud, face):
        assert reconstruction_nme_percent(similar(points, rng), points, (0, 1)) < 1e-8
        assert reconstruction_nme_percent(similar(points, rng), points, (0, 1), alignment="sadrnet") < 1e-8


def test_the_transform_is_found(cloud, rng):
    rotation, points = Rotation.random(3, rng=rng).as_matrix(), cloud
    moved = np.array([1.5, 0.2, 30])[:, None, None] * points @ rotation.transpose(0, 2, 1) + [[[1, 2, 3]]]
    fit = similarity_alignment(points, moved)
    np.testing.assert_allclose(fit.scale, [1.5, 0.2, 30])
    np.testing.assert_allclose(fit.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(fit.translation, np.broadcast_to([1, 2, 3], (3, 3)), atol=1e-9)


def test_residual_is_that_of_scipy(cloud, rng):
    """scipy.spatial.procrustes: the least sum of squares, of targets scaled to one."""
    for points in cloud:
        noisy = similar(points, rng) + rng.normal(size=points.shape)
        residual = similarity_alignment(noisy, points).apply(noisy) - points
        *_, disparity = procrustes(points, noisy)
        assert np.square(residual).sum() / np.square(points - points.mean(0)).sum() == pytest.approx(disparity)


def test_similarity_is_that_of_opencv_even_of_mirrored_clouds(cloud, rng):
    """cv2.estimateAffine3D: Umeyama's as well."""
    for points in (*cloud, cloud[0] * [1, 1, 0]):  # the last lies in a plane
        for mirror in ([1, 1, 1], [1, 1, -1]):
            target = similar(points * mirror, rng) + rng.normal(size=points.shape)
            fit = similarity_alignment(points, target)
            theirs, scale = cv2.estimateAffine3D(points, target, force_rotation=True)
            np.testing.assert_allclose(fit.rotation, theirs[:, :3], atol=1e-9)
            np.testing.assert_allclose(fit.scale, scale)
            np.testing.assert_allclose(fit.apply(points), scale * points @ theirs[:, :3].T + theirs[:, 3], atol=1e-6)
            assert np.linalg.det(fit.rotation) == pytest.approx(1)


def test_mirrored_faces_are_not_the_same_face(face):
    """The alignment of SADRNet's figures takes a mirror image for a perfect reconstruction; ours does not."""
    mirrored = face * [-1, 1, 1]
    assert reconstruction_nme_percent(mirrored, face, (0, 100)) > 1
    assert np.linalg.det(sadrnet_alignment(mirrored, face).rotation) == pytest.approx(-1)
    assert reconstruction_nme_percent(mirrored, face, (0, 100), alignment="sadrnet") < 1e-7


def test_no_other_similarity_is_better(cloud, rng):
    target = cloud[0] + rng.normal(size=cloud[0].shape) * 5
    fit = similarity_alignment(cloud[0], target)
    best = np.square(fit.apply(cloud[0]) - target).sum()
    for _ in range(50):
        turn = Rotation.from_rotvec(rng.normal(size=3) * 0.02).as_matrix()
        other = type(fit)(fit.scale * rng.normal(1, 0.01), turn @ fit.rotation, fit.translation + rng.normal(size=3))
        assert np.square(other.apply(cloud[0]) - target).sum() > best


def test_reconstruction_is_over_the_distance_of_the_eyes(cloud):
    noisy = cloud + np.sin(np.arange(600).reshape(200, 3))
    residual = np.linalg.norm(similarity_alignment(noisy, cloud).apply(noisy) - cloud, axis=-1).mean(-1)
    eyes = np.linalg.norm(cloud[:, 36] - cloud[:, 45], axis=-1)
    np.testing.assert_allclose(reconstruction_nme_percent(noisy, cloud, (36, 45)), 100 * residual / eyes)
    half = reconstruction_nme_percent(noisy, cloud, (36, 45), subset=np.arange(100))
    np.testing.assert_allclose(half, reconstruction_nme_percent(noisy[:, :100], cloud[:, :100], (36, 45)))


def test_what_is_refused(cloud):
    broken, reconstruction = cloud.copy(), reconstruction_nme_percent
    broken[1, 5, 2] = np.nan
    for call, message in (
        (lambda: dense_nme_percent(cloud, cloud, dims=4), "dims must be 2 or 3, got 4"),
        (lambda: dense_nme_percent(cloud[:, 1:], cloud), r"got \[3, 199, 3\] and \[3, 200, 3\]"),
        (lambda: dense_nme_percent(cloud[..., :2], cloud), "must be .* V, 3"),
        (lambda: dense_nme_percent(broken, cloud), "prediction of face 1 holds values that are NaN"),
        (lambda: dense_nme_percent(cloud, broken), "truth of face 1 holds values that are NaN"),
        (lambda: dense_nme_percent(cloud, 0 * cloud), "span no area"),
        (lambda: dense_nme_percent(cloud, cloud, subset=[200]), "subset must lie in 0 to 199, got 200 to 200"),
        (lambda: dense_nme_percent(cloud, cloud, subset=[]), "subset must hold at least one index"),
        (lambda: dense_nme_percent(cloud, cloud, subset=[0.5]), "subset must hold at least one index, got float64"),
        (lambda: reconstruction(cloud, cloud, (0, 0)), "eye corners lie in one place"),
        (lambda: reconstruction(cloud, cloud, (0, 1, 2)), r"outer_eyes must hold 2 indices, got int64 \[3\]"),
        (lambda: reconstruction(cloud, cloud, (0, 1), alignment="icp"), "must be umeyama or sadrnet, got 'icp'"),
        (lambda: similarity_alignment(0 * cloud, cloud), "all points of a source coincide"),
        (lambda: similarity_alignment(cloud, broken), "must be finite"),
        (lambda: similarity_alignment(cloud[:, :2], cloud[:, :2]), "N of 3 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
