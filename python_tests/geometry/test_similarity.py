"""Turned, scaled, moved and mirrored crops: the label goes where the pixels go."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.labels import landmarks_of

from frnet import geometry
from frnet.datasets import find_mirror
from frnet.geometry import crop_affine, crop_view, relative_affine, transform_params, transform_points
from frnet.morphable import LANDMARK_MIRROR, MorphableModel, procedural_face

ROI = np.array([105.0, 90.0, 345.0, 330.0])
POSE = np.array([0.2, -0.6, 0.1, 230, 240, -80, 1.2e-3])


@pytest.fixture(scope="module")
def model(shared):
    return MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")


def a_label(model, rng, roi, **options):
    alpha = model.param_std[12:].double().numpy() * rng.normal(size=50)
    return geometry.params_from_pose_para(POSE, alpha[:40], alpha[40:], roi, 450, **options)


@pytest.mark.parametrize("frame", ["3ddfa-v1", "3ddfa-v2"])
@pytest.mark.parametrize("scale_depth", [True, False])
@pytest.mark.parametrize("roi", [[80, 100, 400, 420], [150.5, 120.25, 250.5, 220.25]], ids=["larger", "smaller"])
def test_another_roi_is_the_label_made_for_it(model, rng, frame, scale_depth, roi):
    options = {"frame": frame, "scale_depth": scale_depth}
    alpha = model.param_std[12:].double().numpy() * rng.normal(size=50)
    before, wanted = (
        geometry.params_from_pose_para(POSE, alpha[:40], alpha[40:], each, 450, **options) for each in (ROI, roi)
    )
    got = transform_params(before, relative_affine(crop_affine(ROI), crop_affine(roi)), **options)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frame", ["3ddfa-v1", "3ddfa-v2"])
@pytest.mark.parametrize("angle", [-170.0, -33.0, 0.0, 12.5, 90.0])
def test_landmarks_of_a_turned_label_are_the_turned_landmarks(model, rng, frame, angle):
    before = a_label(model, rng, ROI, frame=frame)
    moved = relative_affine(crop_affine(ROI), crop_affine([60, 120, 310, 370], angle=angle))
    after = transform_params(before, moved, frame=frame)
    wanted = transform_points(landmarks_of(model, before, frame), moved)
    np.testing.assert_allclose(landmarks_of(model, after, frame), wanted, rtol=0, atol=1e-9)
    assert np.abs(wanted - landmarks_of(model, before, frame)).max() > 5
    pose = geometry.decompose_pose(after)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(after[8:11], pose.scale * pose.rotation[2], rtol=1e-6)  # still a scaled rotation


def test_turning_a_frontal_face_is_roll():
    params = geometry.params_from_pose_para([0, 0, 0.1, 225, 225, 0, 1e-3], np.zeros(40), np.zeros(10), ROI, 450)
    moved = relative_affine(crop_affine(ROI), crop_affine(ROI, angle=20))
    np.testing.assert_allclose(
        geometry.pose_angles(transform_params(params, moved)), [0, 0, np.rad2deg(0.1) + 20], atol=1e-6
    )
    np.testing.assert_allclose(transform_params(params, moved)[11], params[11])  # t_z stays


def test_turning_the_centre_is_turning_about_the_middle():
    affine = crop_affine(ROI, angle=77)
    np.testing.assert_allclose(transform_points([225, 210], affine), [60, 60])
    np.testing.assert_allclose(affine[:, :2] @ affine[:, :2].T, np.eye(2) / 4, atol=1e-12)


def test_several_labels_at_once(model, rng):
    labels = np.stack([a_label(model, rng, ROI) for _ in range(6)]).reshape(2, 3, 62)
    moved = relative_affine(crop_affine(ROI), crop_affine(ROI, angle=30))
    got = transform_params(labels, moved)
    np.testing.assert_array_equal(got[1, 2], transform_params(labels[1, 2], moved))


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_a_mirrored_label_is_the_mirrored_face(rng, angle):
    model = procedural_face()
    params = geometry.params_from_pose_para(POSE, rng.normal(size=40), rng.normal(size=10), ROI, 450)
    moved = relative_affine(crop_affine(ROI), crop_affine(ROI, angle=angle, flip=True))
    after = transform_params(params, moved, mirror=find_mirror(model).coefficients)
    wanted = transform_points(landmarks_of(model, params), moved)[LANDMARK_MIRROR]
    np.testing.assert_allclose(landmarks_of(model, after), wanted, rtol=0, atol=1e-5)  # the model is float32
    assert np.linalg.det(after[:12].reshape(3, 4)[:, :3]) > 0
    if not angle:
        yaw, pitch, roll = geometry.pose_angles(params)
        np.testing.assert_allclose(geometry.pose_angles(after), [-yaw, pitch, -roll], atol=1e-6)


def test_what_is_no_similarity_is_refused():
    with pytest.raises(ValueError, match="it shears"):
        transform_params(np.zeros(62), np.array([[1.0, 0.3, 0], [0, 1, 0]]))
    with pytest.raises(ValueError, match="no `mirror`"):
        transform_params(np.zeros(62), crop_affine(ROI, flip=True))
    with pytest.raises(ValueError, match=r"one square .* got \[0.0, 0.0, 10.0, 20.0\]"):
        crop_affine([0, 0, 10, 20])


@pytest.mark.parametrize("roi", [[100, 80, 340, 320], [-40, -30, 200, 210], [200, 150, 320, 270], [210, 210, 270, 270]])
def test_an_upright_view_is_the_crop(rng, roi):
    image = cv2.resize(rng.integers(0, 256, (60, 60, 3), np.uint8), (450, 450), interpolation=cv2.INTER_CUBIC)
    got = crop_view(image, crop_affine(roi)).astype(int)
    inner = slice(2, -2)  # at the border crop() repeats the cut-out's edge, a view shows what lies beyond
    difference = np.abs(got - geometry.crop(image, roi))[inner, inner]
    # Black padding is blended at its edge; elsewhere OpenCV's warp rounds positions to 1/32 pixel.
    assert np.median(difference) <= 1
    assert difference.mean() < 0.6


@pytest.mark.parametrize("side", [120, 240, 500, 60])
@pytest.mark.parametrize(("angle", "flip"), [(0, False), (33, False), (-140, False), (20, True)])
def test_a_dot_lands_where_the_label_says(rng, side, angle, flip):
    size = 700
    points = rng.uniform(300, 400, (5, 2))
    roi = [350.3 - side / 2, 349.6 - side / 2, 350.3 + side / 2, 349.6 + side / 2]
    affine = crop_affine(roi, angle=angle, flip=flip)
    y, x = np.mgrid[:size, :size]
    scale = side / 120
    for point in points:
        wanted = transform_points(point, affine)
        if (wanted < 12).any() or (wanted > 107).any():
            continue
        blob = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (2.5 * max(scale, 1)) ** 2))
        image = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, -1)
        crop = crop_view(image, affine)[..., 0].astype(float)
        got = np.array([(crop.sum(0) * np.arange(120)).sum(), (crop.sum(1) * np.arange(120)).sum()]) / crop.sum()
        offset = (1 - 1 / scale) / 2  # between label positions and pixels; see frnet.geometry.similarity
        np.testing.assert_allclose(got, wanted - offset, atol=0.06)
        assert np.abs(got - wanted).max() < 0.5 + 0.06


def test_benchmark_roi_rules():
    points = [[10.0, 20.0], [430.0, 440.0]]
    exact = geometry.benchmark_roi(points, "exact", 450, 450)
    np.testing.assert_array_equal(exact, geometry.roi_from_landmarks(points))
    np.testing.assert_array_equal(geometry.benchmark_roi(points, "3ddfa-compat", 450, 450), [1, 1, 450, 450])
    with pytest.raises(ValueError, match="roi must be 'exact' or '3ddfa-compat', got 'loose'"):
        geometry.benchmark_roi(points, "loose", 450, 450)
