"""Rotations and angles, against 300W-LP's labels and 3DDFA's own angles."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from frnet.geometry import (
    decompose_pose,
    euler_from_rotation,
    matrix2angle_3ddfa,
    pose_angles,
    rotation_from_euler,
)


def test_rotation_is_the_product_of_three(rng):
    """By the matrices of face3d's ``angle2matrix_3ddfa``."""
    angles = rng.uniform(-180, 180, size=(3, 20))
    got = rotation_from_euler(*angles)
    for (yaw, pitch, roll), rotation in zip(np.deg2rad(angles).T, got, strict=True):
        x = [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
        y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
        z = [[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
        np.testing.assert_allclose(rotation, np.array(x) @ y @ z, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(got), 1)
    assert rotation_from_euler(np.zeros((0, 2)), 0, 0).shape == (0, 2, 3, 3)
    assert rotation_from_euler(1.0, [2.0, 3.0], [[4.0], [5.0], [6.0]]).shape == (3, 2, 3, 3)


def test_directions():
    # Positive yaw turns the face to the viewer's left (-x), positive pitch up, as 300W-LP has them.
    nose = np.array([0.0, 0.0, 1.0])
    assert (rotation_from_euler(30, 0, 0) @ nose)[0] < 0
    assert (rotation_from_euler(0, 30, 0) @ nose)[1] > 0
    right = np.array([1.0, 0.0, 0.0])
    assert (rotation_from_euler(0, 0, 30) @ right)[1] < 0  # clockwise in the image


def test_mirrored_faces(rng):
    """In a mirrored image yaw and roll have the other sign, pitch the same."""
    yaw, pitch, roll = rng.uniform(-80, 80, size=(3, 50))
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = euler_from_rotation(flip @ rotation_from_euler(yaw, pitch, roll) @ flip)
    np.testing.assert_allclose(mirrored, np.stack([-yaw, pitch, -roll], -1), rtol=0, atol=1e-9)


def test_inverse_on_random_angles(rng):
    angles = np.stack([rng.uniform(-90, 90, 500), *rng.uniform(-180, 180, size=(2, 500))], -1)
    np.testing.assert_allclose(euler_from_rotation(rotation_from_euler(*angles.T)), angles, rtol=0, atol=1e-9)
    assert euler_from_rotation(np.zeros((0, 3, 3))).shape == (0, 3)


@pytest.mark.parametrize("yaw", [90.0, -90.0, 90 - 1e-6, -90 + 1e-6, 89.9999, 89.9])
def test_inverse_at_the_gimbal(rng, yaw):
    pitch, roll = rng.uniform(-180, 180, size=(2, 50))
    rotation = rotation_from_euler(yaw, pitch, roll)
    angles = euler_from_rotation(rotation)
    np.testing.assert_allclose(angles[:, 0], yaw, rtol=0, atol=1e-5)
    np.testing.assert_allclose(rotation_from_euler(*angles.T), rotation, rtol=0, atol=1e-6)
    if abs(yaw) > 90 - 1e-5:
        assert (angles[:, 2] == 0).all()


def test_euler_angles_of_real_labels(shared):
    files = sorted((shared / "aflw2000-3d-sample").glob("*.mat"))
    files.append(shared / "300w-lp-sample/IBUG_image_008_1_0.mat")
    assert len(files) == 9
    for path in files:
        label = scipy.io.loadmat(path)["Pose_Para"][0].astype(np.float64)
        wanted = np.rad2deg(label[[1, 0, 2]])
        rotation = rotation_from_euler(*wanted)
        np.testing.assert_allclose(euler_from_rotation(rotation), wanted, rtol=0, atol=1e-12)
        matrix = np.concatenate([label[6] * rotation, label[3:6, None]], 1)
        np.testing.assert_allclose(pose_angles(matrix), wanted, rtol=0, atol=1e-12)
        # 3DDFA's own angles are another thing.
        assert np.abs(np.rad2deg(matrix2angle_3ddfa(rotation)) - wanted).max() > 1


def test_yaw_is_that_of_the_published_list(shared):
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    for name, yaw in zip(truth["names"], truth["yaw"], strict=True):
        label = scipy.io.loadmat(shared / "aflw2000-3d-sample" / f"{name[:-4]}.mat")["Pose_Para"][0]
        assert np.rad2deg(label[1]) == pytest.approx(yaw, abs=1e-4)


def test_angles_of_3ddfa(shared):
    reference = np.load(shared / "aflw2000-3d-sample/mb05_reference.npz")
    rotation = decompose_pose(reference["param"]).rotation
    # float32 in their code
    np.testing.assert_allclose(matrix2angle_3ddfa(rotation), reference["angles_yaw_pitch_roll"], rtol=0, atol=1e-6)
    # 300W-LP's angles of the same predictions, beside the labels: the network is right to a few degrees.
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    assert np.abs(pose_angles(reference["param"])[:, 0] - truth["yaw"]).mean() < 5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("r20", [1.0, 0.9985, 0.9975])
def test_angles_of_3ddfa_at_the_gimbal(sign, r20):
    rotation = np.array([[0, -0.6 * sign, -0.8 * sign], [0, 0.8, -0.6], [sign * r20, 0, 0]])
    first, second, third = matrix2angle_3ddfa(rotation)
    if r20 > 0.998:
        assert first == sign * np.pi / 2
        assert second == pytest.approx(np.arctan2(0.6, 0.8))
        assert third == 0
    else:
        assert first == pytest.approx(sign * np.arcsin(r20))


def test_decomposition_of_a_scaled_rotation(rng):
    rotation = rotation_from_euler(*rng.uniform(-80, 80, size=(3, 4, 5)))
    scale, translation = rng.uniform(1e-4, 1e-2, (4, 5)), rng.normal(size=(4, 5, 3))
    matrix = np.concatenate([scale[..., None, None] * rotation, translation[..., None]], -1)
    params = np.concatenate([matrix.reshape(4, 5, 12), rng.normal(size=(4, 5, 50))], -1)
    for given in (matrix, params, matrix.reshape(4, 5, 12)):
        pose = decompose_pose(given)
        np.testing.assert_allclose(pose.scale, scale)
        np.testing.assert_allclose(pose.rotation, rotation, atol=1e-12)
        np.testing.assert_array_equal(pose.translation, translation)
    assert decompose_pose(params[:0]).rotation.shape == (0, 5, 3, 3)


def test_decomposition_of_any_matrix(rng):
    matrix = rng.normal(size=(3, 4))
    pose = decompose_pose(matrix)
    first, second = matrix[0, :3], matrix[1, :3]
    assert pose.scale == pytest.approx((np.linalg.norm(first) + np.linalg.norm(second)) / 2)
    np.testing.assert_allclose(pose.rotation[0], first / np.linalg.norm(first))
    np.testing.assert_allclose(pose.rotation[2], np.cross(pose.rotation[0], pose.rotation[1]))


def test_errors():
    with pytest.raises(ValueError, match=r"\[\.\.\., 3, 3\], got \[3, 4\]"):
        euler_from_rotation(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"got \[9\]"):
        decompose_pose(np.zeros(9))
    with pytest.raises(ValueError, match="not zero"):
        decompose_pose(np.zeros(62))
    with pytest.raises(ValueError, match="finite"):
        pose_angles(np.full(62, np.nan))
