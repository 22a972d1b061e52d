"""Detectors: every face in the photographs, at any image size, and clear words when one cannot be had."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from frnet.align import Detections, Detector, HaarDetector, YuNetDetector, open_detector, read_image

FACES = {"1": 1, "2": 1, "3": 1, "4": 1, "5": 1, "JianzhuGuo": 1, "emma": 3, "trump_hillary": 2}


def overlap(a, b) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = (high - low).clip(0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


@pytest.mark.parametrize(("name", "count"), FACES.items())
def test_every_face_in_the_photographs(yunet, files, name, count):
    image = read_image(files.photos / f"{name}.jpg")
    found = yunet(image)
    assert len(found) == count
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert (np.diff(found.scores) <= 0).all()
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert ((centres > 0) & (centres < image.shape[1::-1])).all()


def test_every_face_of_the_sample(yunet, files):
    truth = np.load(files.sample / "ground_truth.npz")
    for name, points in zip(truth["names"], truth["pts68"], strict=True):
        found = yunet(read_image(files.sample / str(name)))
        box = np.concatenate([points[:2].min(1), points[:2].max(1)])
        assert len(found) == 1
        assert overlap(found.boxes[0], box) > 0.5


@pytest.mark.parametrize("scale", [0.12, 0.3, 1.0, 3.0, 9.0])
def test_the_size_of_the_image_does_not_matter(yunet, files, scale):
    image = read_image(files.photo)
    expected = yunet(image).boxes[0]
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    found = yunet(cv2.resize(image, None, fx=scale, fy=scale, interpolation=mode))
    assert len(found) == 1
    assert overlap(found.boxes[0] / scale, expected) > 0.75


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (7, 3), (32, 640), (16, 320), (300, 400)])
def test_no_face_is_an_empty_result(yunet, shape, rng):
    for image in (np.full((*shape, 3), 127, np.uint8), rng.integers(0, 256, (*shape, 3), dtype=np.uint8)):
        found = yunet(image)
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)


def test_a_slice_of_an_array_will_do(yunet, files):
    image = read_image(files.photo)
    mirrored = yunet(image[:, ::-1])
    assert len(mirrored) == 1


def test_one_protocol(yunet):
    def nobody(image):
        return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))

    assert isinstance(yunet, Detector)
    assert open_detector(None) is None
    assert open_detector(yunet) is yunet
    assert open_detector(nobody) is nobody


def test_score_threshold_reaches_yunet(files):
    strict = open_detector(files.yunet, score_threshold=0.99)
    assert len(strict(read_image(files.photo))) == 0


def test_what_is_no_detector(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"face detector .*none\.onnx: no such file"):
        open_detector(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"bad\.onnx is not a YuNet model"):
        open_detector(tmp_path / "bad.onnx")
    with pytest.raises(TypeError, match="got int"):
        open_detector(3)


@pytest.mark.parametrize(
    "settings", [{"score_threshold": 1.5}, {"nms_threshold": 0}, {"max_size": 100}, {"min_size": 0}]
)
def test_settings_out_of_range(files, settings):
    with pytest.raises(ValueError, match="YuNetDetector: "):
        YuNetDetector(files.yunet, **settings)


@pytest.mark.skipif(hasattr(cv2, "CascadeClassifier"), reason="this OpenCV has cascades")
def test_haar_says_why_it_cannot_be_had():
    with pytest.raises(RuntimeError, match=r"has no cv2.CascadeClassifier .* use YuNetDetector"):
        HaarDetector()


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no cascades")
def test_haar_finds_a_frontal_face(files, yunet, tmp_path):
    image = read_image(files.photos / "JianzhuGuo.jpg")
    haar = open_detector(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    boxes = haar(image).boxes
    assert max(overlap(box, yunet(image).boxes[0]) for box in boxes) > 0.4
    assert len(HaarDetector()(np.zeros((50, 50, 3), np.uint8))) == 0
    (tmp_path / "bad.xml").write_text("<x/>")
    with pytest.raises(ValueError, match=r"bad\.xml is not a Haar cascade"):
        HaarDetector(tmp_path / "bad.xml")
