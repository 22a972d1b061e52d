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


@pytest.fixture(scope="module")
def samples(files):
    """Photographs of one face each, and the box of its 68 landmarks."""
    truth = np.load(files.sample / "ground_truth.npz")
    images = [read_image(files.sample / str(name)) for name in truth["names"]]
    return [(i, np.concatenate([p[:2].min(1), p[:2].max(1)])) for i, p in zip(images, truth["pts68"], strict=True)]


@pytest.mark.parametrize(("name", "count"), FACES.items())
def test_every_face_in_the_photographs(yunet, files, name, count):
    image = read_image(files.photos / f"{name}.jpg")
    found = yunet(image)
    assert len(found) == count
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert (np.diff(found.scores) <= 0).all()
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert ((centres > 0) & (centres < image.shape[1::-1])).all()


def test_every_face_of_the_sample(yunet, samples):
    for image, box in samples:
        boxes = yunet(image).boxes
        assert len(boxes) == 1
        assert overlap(boxes[0], box) > 0.5


@pytest.mark.parametrize("scale", [0.12, 0.3, 1.0, 3.0, 9.0])
def test_the_size_of_the_image_does_not_matter(yunet, files, scale):
    image = read_image(files.photo)
    expected = yunet(image).boxes[0]
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    found = yunet(cv2.resize(image, None, fx=scale, fy=scale, interpolation=mode))
    assert len(found) == 1
    assert overlap(found.boxes[0] / scale, expected) > 0.75


def around(image, box, side, context, roll=0.0):
    """A square about a face, ``context`` times its size, turned clockwise; and where the face is in it."""
    centre, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    scale = side / (context * size)
    matrix = cv2.getRotationMatrix2D(tuple(centre), -roll, scale)
    matrix[:, 2] += side / 2 - centre
    half = np.full(2, size * scale / 2)
    mode = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    if scale < 1:  # a warp takes samples; make small first, as cameras do
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    picture = cv2.warpAffine(image, matrix, (side, side), flags=mode, borderMode=cv2.BORDER_REPLICATE)
    return picture, np.concatenate([side / 2 - half, side / 2 + half])


def found(yunet, pictures):
    """How many faces were found, and how many boxes are of none; every picture has one face."""
    hits = wrong = 0
    for picture, box in pictures:
        boxes = yunet(picture).boxes
        hit = bool(len(boxes)) and max(overlap(each, box) for each in boxes) > 0.3
        hits += hit
        wrong += len(boxes) - hit
    return hits, wrong


@pytest.mark.parametrize("side", [320, 640, 1200])
def test_a_face_that_fills_its_picture(yunet, samples, side):
    """One scale alone, 640 pixels, found none of the larger ones."""
    assert found(yunet, [around(*sample, side, 1.1) for sample in samples]) == (8, 0)


@pytest.mark.parametrize("size", [40])
def test_a_small_face_in_a_large_picture(yunet, samples, rng, size):
    pictures = []
    for sample in samples:
        noise = rng.integers(0, 256, (45, 80, 3), dtype=np.uint8)
        picture = cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_CUBIC)
        face, box = around(*sample, 2 * size, 2.0)
        x, y = rng.integers(0, [1280 - 2 * size, 720 - 2 * size])
        picture[y : y + 2 * size, x : x + 2 * size] = face
        pictures.append((picture, box + np.tile([x, y], 2)))
    hits, wrong = found(yunet, pictures)
    assert hits >= 7
    assert wrong == 0


@pytest.mark.parametrize("roll", [-90, 60, 180])
def test_turned_faces_are_found_and_their_roll(yunet, samples, roll):
    pictures = [around(*sample, 450, 2.2, roll) for sample in samples]
    hits, wrong = found(yunet, pictures)
    assert hits >= 6  # profiles among them
    assert wrong == 0
    each = [yunet(picture) for picture, _ in pictures]
    off = np.abs((np.concatenate([one.rolls for one in each]) - roll + 180) % 360 - 180)
    assert np.median(off) < 18  # the heads are not quite upright themselves
    assert (off < 50).sum() >= hits - 1  # one profile was seen upside down


def test_upright_faces_have_no_roll(yunet, files, samples):
    for picture in (*(image for image, _ in samples), read_image(files.photos / "trump_hillary.jpg")):
        assert (np.abs(yunet(picture).rolls) <= 45).all()


def test_pictures_without_a_face_stay_so(yunet, samples, rng):
    """Pages of text, stones, and photographs whose face is painted over."""
    page = np.full((900, 700, 3), 255, np.uint8)
    for line in range(30):
        text = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz   .,"), 60))
        cv2.putText(page, text, (10, 30 * line + 25), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    stones = cv2.resize(rng.integers(0, 256, (60, 60, 1), dtype=np.uint8), (900, 900), interpolation=cv2.INTER_CUBIC)
    pictures = [page, np.repeat(stones[..., None], 3, axis=2)]
    for image, box in samples:
        low, high = np.maximum(box[:2] - 60, 0).astype(int), (box[2:] + 20).astype(int)
        picture = image.copy()
        picture[low[1] : high[1], low[0] : high[0]] = picture.reshape(-1, 3).mean(0)
        pictures.append(picture)
    assert sum(len(yunet(picture)) for picture in pictures) == 0


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
