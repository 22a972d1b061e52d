"""frnet's own detector: faces of any size and roll, nothing where there is nothing, and how reliable a fit is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from frnet import _core, geometry
from frnet.align import (
    Detections,
    Detector,
    Face,
    FaceAligner,
    FaceDetector,
    FaceTracker,
    Pose,
    open_detector,
    read_image,
)
from frnet.align.face_detector import BUILTIN_DETECTOR
from frnet.align.regions import detected_regions
from frnet.align.reliability import reliability
from frnet.io.images import ImageError
from frnet.models.face_detector import FaceDetectorConfig, FaceDetectorNet, decode

FACES = {"1": 1, "2": 1, "4": 1, "JianzhuGuo": 1, "trump_hillary": 2}


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait(files):
    """A photograph of one face."""
    return read_image(files.photo)


def overlap(a, b) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = (high - low).clip(0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


def turned(image, roll):
    """The picture turned clockwise about its middle, its borders drawn out."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -roll, 0.75)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), matrix


def test_it_is_a_detector(detector, portrait):
    assert isinstance(detector, Detector)
    found = detector(portrait)
    assert isinstance(found, Detections)
    assert len(found) == 1
    for part in (found.boxes, found.scores, found.rolls, found.rois):
        assert part.dtype == np.float32
        assert np.isfinite(part).all()


@pytest.mark.parametrize(("name", "count"), FACES.items())
def test_faces_in_photographs(detector, files, name, count):
    image = read_image(files.photos / f"{name}.jpg")
    found = detector(image)
    assert len(found) == count
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert ((centres > 0) & (centres < image.shape[1::-1])).all()


@pytest.mark.parametrize("roll", [0, 45, 90, 180, -120])
def test_rolls(detector, portrait, roll):
    picture, matrix = turned(portrait, roll)
    straight, found = detector(portrait), detector(picture)
    (upright,) = straight.boxes
    assert len(found) == 1
    centre = matrix[:, :2] @ (upright[:2] + upright[2:]) / 2 + matrix[:, 2]
    side = 0.75 * (upright[2:] - upright[:2]).max()
    assert np.abs((found.boxes[0, :2] + found.boxes[0, 2:]) / 2 - centre).max() < 0.2 * side
    # The woman tilts her head; the card says how well rolls are known.
    assert abs((found.rolls[0] - straight.rolls[0] - roll + 180) % 360 - 180) < 35


@pytest.mark.parametrize("scale", [0.12, 0.3, 3.0, 7.0])
def test_the_size_of_the_image_does_not_matter(detector, portrait, scale):
    expected = detector(portrait).boxes[0]
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    found = detector(cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=mode))
    assert len(found) == 1
    assert overlap(found.boxes[0] / scale, expected) > 0.7


def test_crops_are_the_squares_about_the_landmarks(detector, portrait):
    for roll in (0, 20, 90):
        picture, _ = turned(portrait, roll)
        found = detector(picture)
        (roi,) = detected_regions(found, picture).rois
        np.testing.assert_allclose(roi, found.rois[0], atol=1e-3)
        np.testing.assert_allclose((roi[:2] + roi[2:]) / 2, (found.boxes[0, :2] + found.boxes[0, 2:]) / 2, atol=0.1)
        assert np.isclose(*(roi[2:] - roi[:2]), rtol=1e-4)
        if roll < 30:  # then the square is along the picture's axes, as its box
            np.testing.assert_allclose(roi[2] - roi[0], np.sqrt(2) * np.ptp(found.boxes[0].reshape(2, 2), 0).max(),
                                       rtol=1e-4)  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (300, 1), (7, 5), (31, 33), (20, 2000)])
def test_any_size_of_picture(detector, shape):
    rng = np.random.default_rng(0)
    found = detector(rng.integers(0, 256, (*shape, 3), np.uint8))
    assert found.boxes.shape == found.rois.shape == (len(found), 4)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_nothing_where_there_is_nothing(detector, level):
    found = detector(np.full((240, 320, 3), level, np.uint8))
    assert len(found) == 0
    assert found.boxes.shape == found.rois.shape == (0, 4)
    assert found.rolls.shape == (0,)
    assert len(detected_regions(found, np.zeros((240, 320, 3), np.uint8))) == 0


def test_a_face_that_fills_the_picture(detector, portrait):
    x0, y0, x1, y1 = detector(portrait).boxes[0]
    side = max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    picture = np.ascontiguousarray(portrait[int(y - side) : int(y + side), int(x - side) : int(x + side)])
    found = detector(picture)
    assert len(found) == 1
    assert overlap(found.boxes[0], np.array([0, 0, *picture.shape[1::-1]])) > 0.6


def test_two_runs_and_threads_are_alike(detector, portrait):
    expected = detector(portrait)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(detector, [portrait] * 8):
            np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-4)
    again = detector(portrait)
    np.testing.assert_array_equal(again.boxes, expected.boxes)
    np.testing.assert_array_equal(again.scores, expected.scores)


def test_the_threshold_cuts_the_list(portrait):
    picture = np.concatenate([portrait, cv2.resize(portrait, None, fx=0.2, fy=0.2).repeat(5, 0)], 1)
    many, few = FaceDetector(score_threshold=0.05)(picture), FaceDetector(score_threshold=0.6)(picture)
    assert len(many) > len(few)
    assert (few.scores >= 0.6).all()


def test_bad_pictures(detector):
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises((ImageError, ValueError, TypeError)):
            detector(image)


@pytest.mark.parametrize(
    "settings", [{"score_threshold": 0}, {"nms_threshold": 1}, {"max_size": 16}, {"min_size": 0}, {"min_size": 2000}]
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="FaceDetector"):
        FaceDetector(**settings)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        FaceDetector(tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        FaceDetector(path)
    save_file({"x": torch.zeros(1)}, path, {"architecture": "mobile_frnet"})
    with pytest.raises(ValueError, match="mobile_frnet"):
        FaceDetector(path)
    save_file({"x": torch.zeros(1)}, path, {"architecture": "face_detector", "config": "{}"})
    with pytest.raises(ValueError, match="lacks"):
        FaceDetector(path)


def test_the_package_holds_a_small_file():
    assert BUILTIN_DETECTOR.stat().st_size < 1_000_000
    assert BUILTIN_DETECTOR.with_suffix(".md").is_file()


@pytest.mark.parametrize("isa", _core.build_info()["cpu_instruction_sets_here"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 64), (160, 224)])
def test_the_runtime_says_what_torch_says(height, width, isa):
    with safe_open(BUILTIN_DETECTOR, "pt") as file:
        config = FaceDetectorConfig(**json.loads(file.metadata()["config"]))
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    network = FaceDetectorNet(config)
    network.load_state_dict(weights, strict=False)
    images = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = decode(network.eval()(torch.from_numpy(geometry.normalize(images))))
        expected[..., 6].sigmoid_()
    session = _core.FaceDetector(BUILTIN_DETECTOR.read_bytes(), num_threads=2, instruction_set=isa)
    np.testing.assert_allclose(session.run(images), expected.numpy(), rtol=1e-4, atol=1e-3)


def test_the_runtime_refuses_sides_that_are_no_multiples_of_32(detector):
    with pytest.raises(ValueError, match="multiples of 32"):
        detector.cells(np.zeros((1, 64, 48, 3), np.uint8))


def test_it_opens_by_name():
    assert isinstance(open_detector("builtin"), FaceDetector)
    assert open_detector("builtin", 0.7).score_threshold == 0.7


def fitted(landmarks, roll=0.0):
    """A face as the aligner gives it, as far as it matters here: landmarks, and an upward axis."""
    angle, params = np.deg2rad(roll), np.zeros(62)
    params[[0, 1, 4, 5, 10]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle), 1
    return Face(landmarks, landmarks, params, Pose(0.0, 0.0, roll), np.zeros(4))


def outline(box, roll=0.0):
    """68 points along an ellipse in a box."""
    x, y, width, height = box
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([np.cos(angle) * width / 2, np.sin(angle) * height / 2], 1) @ geometry.clockwise(roll).T + [x, y]
    return np.concatenate([points, np.zeros((68, 1))], 1).astype(np.float32)


def middle_and_size(box):
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def test_a_fit_on_the_face_is_reliable_and_one_beside_it_is_not(detector, portrait):
    box = middle_and_size(detector(portrait).boxes[0])
    good = fitted(outline(box))
    beside = fitted(outline(box + 0.8 * box[2] * np.eye(4)[0]))
    small = fitted(outline(box * [1, 1, 0.3, 0.3]))
    off = fitted(outline([-900.0, -900.0, 50.0, 50.0]))
    broken = fitted(np.full((68, 3), np.nan, np.float32))
    values = reliability(detector, portrait, [good, beside, small, off, broken])
    assert values[0] > 0.6
    assert values[1] < 0.3
    assert values[2] < 0.3
    assert values[3] == values[4] == 0
    assert reliability(detector, portrait, []).shape == (0,)


def test_reliability_of_turned_faces(detector, portrait):
    picture, matrix = turned(portrait, 90)
    box = middle_and_size(detector(portrait).boxes[0])
    box[:2] = matrix[:, :2] @ box[:2] + matrix[:, 2]
    box[2:] *= 0.75
    upright, mistaken = fitted(outline(box, 90), 90.0), fitted(outline(box * [1, 1, 0.5, 0.5], -90), -90.0)
    values = reliability(detector, picture, [upright, mistaken])
    assert values[0] > 0.5
    assert values[1] < values[0] - 0.2


@pytest.mark.parametrize("level", [0, 128, 255])
def test_no_face_is_not_reliable(detector, level):
    picture = np.full((200, 200, 3), level, np.uint8)
    (value,) = reliability(detector, picture, [fitted(outline([100.0, 100.0, 80.0, 80.0]))])
    assert value < 0.2


@pytest.fixture(scope="module")
def aligner(checkpoint, grid, detector):
    return FaceAligner(checkpoint, grid, detector=detector)


def test_aligned_faces_know_how_reliable_they_are(aligner, portrait):
    (face,) = aligner(portrait)
    assert face.reliability > 0.5
    assert face.to_dict()["reliability"] == face.reliability
    height, width = portrait.shape[:2]
    (nothing,) = aligner(portrait, rois=[[width - 120, height - 100, width - 20, height]])
    assert 0 <= nothing.reliability < 0.3
    assert aligner(np.zeros((200, 300, 3), np.uint8)) == []


def test_another_detector_leaves_it_open(checkpoint, grid, yunet, portrait):
    (face,) = FaceAligner(checkpoint, grid, detector=yunet)(portrait)
    assert face.reliability is None
    (face,) = FaceAligner(checkpoint, grid, detector=None)(portrait, boxes=[face.box])
    assert face.reliability is None


def test_followed_faces_keep_what_they_were_found_with(aligner, portrait, monkeypatch):
    """To judge a face takes longer than some networks take to fit it: in a video it is done where faces are found."""
    tracker = FaceTracker(aligner)
    (found,) = tracker(portrait)
    monkeypatch.setattr(aligner.detector, "cells", None)  # is not called
    (followed,) = tracker(portrait)
    assert (followed.id, followed.face.reliability) == (found.id, found.face.reliability)
    assert followed.face.reliability > 0.5


@pytest.mark.parametrize("roll", [0, 90, 180])
def test_turned_faces_are_aligned(aligner, portrait, roll):
    """Landmarks lie where those of the upright picture go when it is turned."""
    picture, matrix = turned(portrait, roll)
    (upright,), (face,) = aligner(portrait), aligner(picture)
    expected = upright.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    size = np.sqrt(np.ptp(expected, axis=0).prod())
    assert np.linalg.norm(face.landmarks[:, :2] - expected, axis=1).mean() / size < 0.06
    assert face.reliability > 0.4
