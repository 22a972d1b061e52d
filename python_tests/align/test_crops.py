"""Crops of faces that are far from upright: the network sees them upright, results are those of the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from frnet import geometry, ops
from frnet.align import FaceAligner, Regions, read_image
from frnet.align.crops import LARGEST_ROLL, Crop, following_crop, network_input
from frnet.weights import Normalisation

ROI = np.array([80.0, 90.0, 380.0, 390.0])


@pytest.fixture(scope="module")
def aligner(checkpoint, grid, files) -> FaceAligner:
    return FaceAligner(checkpoint, grid, files.whitening_v2)


def turned(image, degrees, side=900):
    """A picture turned clockwise about its centre on a larger canvas, and the matrix of points."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    matrix[:, 2] += (side - np.array([width, height])) / 2
    return cv2.warpAffine(image, matrix, (side, side)), matrix


def square(points):
    """The published crop around upright landmarks."""
    roi = geometry.roi_from_landmarks(points)
    return (roi[:2] + roi[2:]) / 2, (roi[2] - roi[0]) / 2


@pytest.fixture(scope="module")
def samples(files):
    truth = np.load(files.sample / "ground_truth.npz")
    images = [read_image(files.sample / str(name)) for name in truth["names"]]
    return [(image, points[:2].T - 1) for image, points in zip(images, truth["pts68"], strict=True)]


def errors(aligner, samples, degrees, tell):
    """NME in percent of the turned samples, from crops around the turned true landmarks."""
    result = []
    for image, points in samples:
        picture, matrix = turned(image, degrees)
        true = points @ matrix[:, :2].T + matrix[:, 2]
        centre, half = square(points)
        centre = matrix[:, :2] @ centre + matrix[:, 2]
        regions = Regions(np.concatenate([centre - half, centre + half])[None], rolls=np.array([float(degrees * tell)]))
        ((face,),) = aligner.fit([picture], [regions])
        size = np.sqrt(np.ptp(points, axis=0).prod())
        result.append(100 * np.linalg.norm(face.landmarks[:, :2] - true, axis=1).mean() / size)
    return np.array(result)


@pytest.mark.parametrize("degrees", [60, -90, 180])
def test_a_known_roll_gives_the_error_of_upright_faces(aligner, samples, degrees):
    upright = errors(aligner, samples, 0, tell=True).mean()
    assert errors(aligner, samples, degrees, tell=True).mean() < 1.05 * upright
    assert errors(aligner, samples, degrees, tell=False).mean() > 1.08 * upright


def test_a_second_look_finds_the_roll_by_itself(checkpoint, grid, files, samples):
    twice = FaceAligner(checkpoint, grid, files.whitening_v2, passes=2)
    once = errors(twice, samples, 0, tell=False).mean()
    assert errors(twice, samples, 60, tell=False).mean() < 1.05 * once


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turned_photograph_from_end_to_end(checkpoint, grid, files, yunet, samples, degrees):
    """Found, cropped upright, seen twice; of the eight the detector may miss one."""
    finder = FaceAligner(checkpoint, grid, files.whitening_v2, detector=yunet)
    result = []
    for image, points in samples:
        picture, matrix = turned(image, degrees, side=640)
        true = points @ matrix[:, :2].T + matrix[:, 2]
        found = [np.linalg.norm(face.landmarks[:, :2] - true, axis=1).mean() for face in finder(picture)]
        if found:
            result.append(100 * min(found) / np.sqrt(np.ptp(points, axis=0).prod()))
    assert len(result) >= 7
    assert np.mean(result) < 3.9  # upright ones: 3.5


def test_everything_of_a_turned_face_is_that_of_the_image(aligner, samples):
    """Parameters, pose, mesh and landmarks belong together, as they do for upright faces."""
    image, points = samples[0]
    picture, matrix = turned(image, 90)
    centre, half = square(points)
    centre = matrix[:, :2] @ centre + matrix[:, 2]
    roi = np.concatenate([centre - half, centre + half])
    ((face,),) = aligner.fit([picture], [Regions(roi[None], rolls=np.array([90.0]))])
    assert face.roi_roll == 90
    np.testing.assert_allclose(face.pose, geometry.pose_angles(face.params))
    vertices = ops.reconstruct_vertices(torch.from_numpy(face.params[None]), aligner.morphable)[0].numpy()
    again = geometry.crop_to_image(vertices, face.roi)
    np.testing.assert_allclose(again[:, :2], face.vertices[:, :2], atol=1e-2)
    straight = aligner(image, rois=[geometry.roi_from_landmarks(points)])[0]
    turn = geometry.rotation_from_euler(0, 0, 90) @ geometry.decompose_pose(straight.params).rotation
    np.testing.assert_allclose(face.pose, geometry.euler_from_rotation(turn), atol=3)
    np.testing.assert_allclose(
        face.params[12:52], straight.params[12:52], atol=0.2 * np.abs(straight.params[12:52]).max()
    )


def test_up_to_30_degrees_crops_are_as_published(samples):
    image, _ = samples[0]
    crops = [Crop(ROI, roll) for roll in (0.0, LARGEST_ROLL, -LARGEST_ROLL, float("nan"))]
    seen = network_input([image] * 4, crops, 120, Normalisation())
    np.testing.assert_array_equal(seen, np.repeat(geometry.normalize(geometry.crop(image, ROI)), 4, axis=0))


def test_a_turned_crop_is_the_crop_of_the_turned_picture(rng):
    """A quarter turn moves pixels to pixels."""
    image = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (300, 300), interpolation=cv2.INTER_CUBIC)
    crop = np.array([-40.0, 30.0, 200.0, 270.0])  # beyond the left border, too
    seen = network_input([image], [Crop(crop, 90.0)], 120, Normalisation(0.0, 1.0))[0]
    anticlockwise = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    expected = geometry.crop(anticlockwise, [30.0, 99.0, 270.0, 339.0])  # about the image point (80, 150), too
    assert np.abs(seen.transpose(1, 2, 0) - expected).max() <= 1


@pytest.mark.parametrize("roll", [-179, -60, 45, 120])
def test_the_next_crop_is_that_of_the_upright_face(roll, samples):
    image, points = samples[0]
    picture, matrix = turned(image, roll)
    there = points @ matrix[:, :2].T + matrix[:, 2]
    params = np.zeros(62)
    params[:12] = np.concatenate([5e-4 * geometry.rotation_from_euler(0, 0, roll), np.zeros((3, 1))], 1).ravel()
    crop = following_crop(np.column_stack([there, np.zeros(68)]), params, picture)
    centre, half = square(points)
    assert crop.roll == pytest.approx(roll)
    np.testing.assert_allclose((crop.roi[:2] + crop.roi[2:]) / 2, matrix[:, :2] @ centre + matrix[:, 2], atol=1e-6)
    np.testing.assert_allclose(crop.roi[2] - crop.roi[0], 2 * half)


def test_landmarks_off_the_image_give_no_crop(samples):
    away = np.full((68, 3), 1e6) + np.arange(204).reshape(68, 3)
    for points in (away, away * np.nan, np.zeros((68, 3))):
        assert following_crop(points, np.zeros(62), samples[0][0]) is None


def test_a_crop_of_a_large_picture_is_turned_too():
    """OpenCV itself warps no picture of more than 32,767 pixels a side."""
    image = np.zeros((300, 40_000, 3), np.uint8)
    image[:, 39_000:39_150] = 255
    seen = network_input(
        [image], [Crop(np.array([39_000.0, 0.0, 39_300.0, 300.0]), 90.0)], 120, Normalisation(0.0, 1.0)
    )
    assert seen[0, 0, 90, 60] == 255  # what lies left in the image is below where the face stands upright
    assert seen[0, 0, 30, 60] == 0
