"""Labels of 300W-LP: their projection and their parameters in a crop, on real .mat files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from frnet.geometry import (
    crop_to_image,
    crop_to_image_3ddfa_v1,
    params_from_pose_para,
    pose_angles,
    pose_para_from_params,
    project_300wlp,
    rotation_from_euler,
)
from frnet.morphable import MorphableModel


@pytest.fixture(scope="module")
def model(shared):
    return MorphableModel.from_3ddfa_landmarks(
        shared / "3ddfa/landmark_basis", shared / "3ddfa/train.configs/param_whitening.pkl"
    )


@pytest.fixture(scope="module")
def labels(shared):
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    files = [shared / "aflw2000-3d-sample" / f"{name[:-4]}.mat" for name in truth["names"]]
    return [(scipy.io.loadmat(path), roi) for path, roi in zip(files, truth["roi"].astype(float), strict=True)]


def shape_of(model, label):
    alpha = np.concatenate([label["Shape_Para"][:40, 0], label["Exp_Para"][:10, 0]])
    return (model.mean.double().numpy() + model.basis.double().numpy() @ alpha).reshape(-1, 3)


def test_projection_reproduces_the_published_landmarks(model, labels):
    # The shipped basis has 40 of 199 shape and 10 of 29 expression components. What is left is the
    # truncation: about 1.3 pixels, an NME of 0.7 %; its mean shows that no axis is off by a pixel.
    bias, error, nme = [], [], []
    for label, _ in labels:
        got = project_300wlp(shape_of(model, label), label["Pose_Para"][0], 450)
        wanted = label["pt3d_68"].T
        difference = got + np.array([1, 1, 0]) - wanted  # pt3d_68 counts from 1
        bias.append(difference.mean(0))
        distance = np.linalg.norm(difference[:, :2], axis=1).mean()
        error.append(distance)
        nme.append(distance / np.sqrt(np.ptp(wanted[:, :2], axis=0).prod()))
    bias = np.mean(bias, 0)
    assert np.abs(bias[:2]).max() < 0.15
    assert abs(bias[2]) < 0.15
    assert np.mean(error) == pytest.approx(1.303, abs=0.01)
    assert np.mean(nme) == pytest.approx(0.00744, abs=1e-4)
    assert np.max(nme) < 0.013


def test_other_conventions_do_not_fit(model, labels):
    def error(change):
        total = 0
        for label, _ in labels:
            pose = change(label["Pose_Para"][0].astype(float))
            got = project_300wlp(shape_of(model, label), pose, 450) + np.array([1, 1, 0])
            total += np.linalg.norm((got - label["pt3d_68"].T)[:, :2], axis=1).mean()
        return total / len(labels)

    right = error(lambda p: p)
    assert right < 1.4
    for flip in np.eye(7)[:3]:
        assert error(lambda p, flip=flip: p * (1 - 2 * flip)) > 2 * right
    assert error(lambda p: p[[1, 0, 2, 3, 4, 5, 6]]) > 5 * right


def test_the_300w_lp_sample(shared, model):
    # pt2d are 2D annotations: the jaw follows the visible contour, the inner points lie a few pixels off.
    label = scipy.io.loadmat(shared / "300w-lp-sample/IBUG_image_008_1_0.mat")
    got = project_300wlp(shape_of(model, label), label["Pose_Para"][0], 450)[:, :2] + 1
    inner = np.linalg.norm(got - label["pt2d"].T, axis=1)[17:]
    assert inner.mean() < 5


@pytest.mark.parametrize("scale_depth", [True, False])
def test_parameters_of_a_crop_project_to_the_same_pixels(model, labels, scale_depth):
    for label, roi in labels:
        arguments = (label["Pose_Para"][0], label["Shape_Para"][:, 0], label["Exp_Para"][:, 0])
        params = params_from_pose_para(*arguments, roi - 1, 450, scale_depth=scale_depth)
        assert params.shape == (62,)
        parts = model.layout.split(params)
        shape = shape_of(model, label)
        placed = shape @ parts.matrix.T + parts.translation
        wanted = project_300wlp(shape, arguments[0], 450)
        got = crop_to_image(placed, roi - 1)
        np.testing.assert_allclose(got[:, :2], wanted[:, :2], rtol=0, atol=1e-9)
        depth = got[:, 2] - wanted[:, 2]
        np.testing.assert_allclose(depth, 0 if scale_depth else depth[0], atol=1e-9)
        assert (params[11] == arguments[0][5]) == (not scale_depth)
        np.testing.assert_allclose(pose_angles(params), np.rad2deg(arguments[0][[1, 0, 2]]), rtol=0, atol=1e-5)
        # Under 3DDFA's whitening a label is an ordinary face.
        assert np.abs(model.whiten(params)).max() < 6


def test_frame_of_v1_is_the_published_formula(model, labels):
    for label, roi in labels:
        pose = label["Pose_Para"][0].astype(np.float64)
        arguments = (pose, label["Shape_Para"][:, 0], label["Exp_Para"][:, 0], roi - 1, 450)
        params = params_from_pose_para(*arguments, frame="3ddfa-v1", scale_depth=False)
        # k = 120 / (ex - sx); P = f k R; tx' = (tx - sx) k; ty' = 121 - (h + 1 - ty - sy) k, counting from 1
        k = 120 / (roi[2:] - roi[:2])
        if roi[2] - roi[0] != roi[3] - roi[1]:
            continue  # a clamped box is not square; the formula is for square ones
        rotation = rotation_from_euler(*np.rad2deg(pose[[1, 0, 2]]))
        np.testing.assert_allclose(params[:12].reshape(3, 4)[:, :3], pose[6] * k[0] * rotation, rtol=1e-12)
        wanted = [(pose[3] - roi[0]) * k[0], 121 - (451 - pose[4] - roi[1]) * k[0], pose[5]]
        np.testing.assert_allclose(params[[3, 7, 11]], wanted, rtol=1e-12)
        shape = shape_of(model, label)
        placed = shape @ params[:12].reshape(3, 4)[:, :3].T + params[[3, 7, 11]]
        got = crop_to_image_3ddfa_v1(placed, roi)
        np.testing.assert_allclose(got[:, :2] - 1, project_300wlp(shape, pose, 450)[:, :2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("frame", ["3ddfa-v1", "3ddfa-v2"])
@pytest.mark.parametrize("scale_depth", [True, False])
@pytest.mark.parametrize("roi", [[100, 90, 340, 330], [-20.5, 10, 300, 250]], ids=["square", "clamped"])
def test_there_and_back(rng, frame, scale_depth, roi):
    pose = np.concatenate(
        [
            rng.uniform(-1.2, 1.2, (3, 2, 3)),
            rng.uniform(100, 300, (3, 2, 3)),
            rng.uniform(1e-3, 2e-3, (3, 2, 1)),
        ],
        -1,
    )
    shape, expression = rng.normal(size=(3, 2, 199)), rng.normal(size=(3, 2, 29))
    options = {"num_shape": 100, "num_expression": 29, "frame": frame, "scale_depth": scale_depth, "size": 96}
    params = params_from_pose_para(pose, shape, expression, roi, 450, **options)
    assert params.shape == (3, 2, 141)
    got, got_shape, got_expression = pose_para_from_params(params, roi, 450, **options)
    np.testing.assert_allclose(got, pose, rtol=1e-9)
    np.testing.assert_array_equal(got_shape, shape[..., :100])
    np.testing.assert_array_equal(got_expression, expression)


def test_one_roi_per_face(rng):
    pose = np.tile([0.1, 0.2, 0.3, 200, 220, -80, 1e-3], (2, 1))
    rois = np.array([[100, 100, 340, 340], [90, 80, 290, 280]], float)
    both = params_from_pose_para(pose, np.zeros(40), np.zeros(10), rois, 450)
    for one, roi in zip(both, rois, strict=True):
        np.testing.assert_allclose(one, params_from_pose_para(pose[0], np.zeros(40), np.zeros(10), roi, 450))


def test_errors():
    pose, roi = np.ones(7), [0, 0, 10, 10]
    with pytest.raises(ValueError, match=r"pose_para must be \[\.\.\., 7\] .*got \[6\]"):
        project_300wlp(np.zeros((5, 3)), np.ones(6), 450)
    with pytest.raises(ValueError, match=r"vertices must be \[\.\.\., N, 3\], got \[3, 68\]"):
        project_300wlp(np.zeros((3, 68)), pose, 450)
    with pytest.raises(ValueError, match=r"shape_para must be \[\.\.\., at least 40\], got \[199, 1\]"):
        params_from_pose_para(pose, np.zeros((199, 1)), np.zeros(10), roi, 450)
    with pytest.raises(ValueError, match="exp_para"):
        params_from_pose_para(pose, np.zeros(40), np.zeros(9), roi, 450)
    with pytest.raises(ValueError, match='"3ddfa-v2" or "3ddfa-v1", got \'v2\''):
        params_from_pose_para(pose, np.zeros(40), np.zeros(10), roi, 450, frame="v2")
    with pytest.raises(ValueError, match="at least one pixel"):
        params_from_pose_para(pose, np.zeros(40), np.zeros(10), [0, 0, 0, 0], 450)
    with pytest.raises(ValueError, match=r"params must be \[\.\.\., 62\], got \[61\]"):
        pose_para_from_params(np.zeros(61), roi, 450)
