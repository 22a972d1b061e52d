"""AFLW2000-3D: the ground truth as published, and the figures known for the eight images at hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

from frnet.align import Detections
from frnet.evaluate import (
    evaluate_aflw2000,
    landmark_difference,
    list_aflw2000,
    measure,
    pose_mae,
    read_aflw2000,
    truth_of_aflw2000,
)


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    return shared / "aflw2000-3d-sample"


@pytest.fixture(scope="module")
def samples(folder):
    return list_aflw2000(folder)


def test_ground_truth_is_the_published_one(shared, folder, samples):
    truth = np.load(folder / "ground_truth.npz")
    published = np.load(shared / "3ddfa/test.configs/AFLW2000-3D_crop.roi_box.npy")
    assert [sample.image.name for sample in samples] == truth["names"].tolist()
    for sample, points, yaw, index in zip(samples, truth["pts68"], truth["yaw"], truth["index"], strict=True):
        np.testing.assert_array_equal(sample.landmarks, points.T)
        assert sample.yaw == pytest.approx(yaw, abs=1e-3)
        np.testing.assert_array_equal(sample.roi("3ddfa-compat", 450, 450), published[index])
        assert np.abs(sample.roi("exact", 450, 450) - published[index]).max() < 1


def test_clamping_is_all_that_compat_changes(samples):
    sample = samples[0]
    sample = type(sample)(sample.image, sample.landmarks - np.float32([250, 0, 0]), sample.yaw)
    assert sample.roi("exact", 450, 450)[0] < -100
    assert sample.roi("3ddfa-compat", 450, 450)[0] == 1
    with pytest.raises(ValueError, match="roi must be 'exact' or '3ddfa-compat', got 'loose'"):
        sample.roi("loose", 450, 450)


def test_known_figures(shared, folder, samples, make_aligner):
    """shared/data/README.md: 3.415 % with the true crops, 3.68 % with YuNet's, 3.51 % with a second pass."""
    result = evaluate_aflw2000(make_aligner(), samples)
    assert result.mean_nme_percent == pytest.approx(3.415, abs=0.005)
    assert landmark_difference(result, folder / "mb05_reference.npz").max() < 0.05
    yunet = next((shared / "yunet").glob("*.onnx"))
    one = evaluate_aflw2000(make_aligner(detector=yunet, passes=1), samples, "detector")
    two = evaluate_aflw2000(make_aligner(detector=yunet, passes=2), samples, "detector", batch=3)
    assert one.mean_nme_percent == pytest.approx(3.68, abs=0.05)
    assert two.mean_nme_percent == pytest.approx(3.51, abs=0.05)
    assert not one.missed
    assert not two.missed


def test_any_callable_is_evaluated(samples):
    """Of two faces the one whose crop lies nearer to the true one; it is 5 pixels off."""
    asked = []

    def predict(images, rois=None):
        faces = []
        for roi in rois:
            sample = samples[len(asked)]
            near = SimpleNamespace(landmarks=sample.landmarks + np.float32([3, 4, 0]), roi=roi[0])
            far = SimpleNamespace(landmarks=sample.landmarks, roi=roi[0] + 100)
            asked.append(roi)
            faces.append([far, near])
        return faces

    result = evaluate_aflw2000(predict, samples, "exact", batch=3)
    size = [np.sqrt(np.ptp(sample.landmarks[:, :2], axis=0).prod()) for sample in samples]
    np.testing.assert_allclose(result.nme_percent, 500 / np.array(size), rtol=1e-5)
    np.testing.assert_array_equal(asked, [sample.roi("exact", 450, 450)[None] for sample in samples])
    assert result.crops == "exact"


def test_missed_faces_are_counted_apart(samples, make_aligner):
    def squeamish(image):
        centre = np.array([225.0, 280.0])
        boxes = [[*(centre - 90), *(centre + 90)], [5, 5, 60, 60]] if image[0, 0].sum() > 300 else []
        return Detections(np.float32(boxes).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))

    result = evaluate_aflw2000(make_aligner(detector=squeamish), samples, "detector")
    assert 0 < len(result.missed) < 8
    found = np.isfinite(result.nme_percent)
    assert found.sum() == 8 - len(result.missed)
    assert result.mean_nme_percent == pytest.approx(result.nme_percent[found].mean())
    assert result.nme_percent[found].max() < 30  # the face in the middle was compared, not the one in the corner


def test_missed_faces_in_tables(samples, make_aligner):
    """They are left out of every mean, and the protocol says how many they are."""
    boxes = np.float32([[135, 190, 315, 370]])
    faces = iter([1, 0, 1, 1, 0, 1, 1, 1])
    detector = lambda _: Detections(boxes[: (count := next(faces))], np.ones(count, np.float32))  # noqa: E731
    evaluation = evaluate_aflw2000(make_aligner(detector=detector), samples, "detector")
    truth = truth_of_aflw2000(samples)
    result = measure(evaluation.predictions("ours"), truth)
    np.testing.assert_allclose(result.nme_percent, evaluation.nme_percent, rtol=1e-9)
    assert np.isnan(result.nme_percent).nonzero()[0].tolist() == [1, 4]
    assert (result.protocol.images, result.protocol.missed) == (6, 2)
    assert "6 images (2 more without a face, left out)" in str(result.protocol)
    assert result.sample_mean == pytest.approx(evaluation.mean_nme_percent)
    pose = pose_mae(evaluation.predictions("ours").pose, truth.pose)
    assert pose.counted.tolist() == [True, False, True, True, False, True, True, True]


def test_nobody_found(samples, make_aligner):
    nobody = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
    evaluation = evaluate_aflw2000(make_aligner(detector=lambda _: nobody), samples[:2], "detector")
    assert np.isnan(evaluation.mean_nme_percent)
    result = measure(evaluation.predictions("ours"), truth_of_aflw2000(samples[:2]))
    assert np.isnan([*result.nme_percent, *result.bins, result.mean]).all()
    assert result.protocol.images == 0
    with pytest.raises(ValueError, match="no face was found in any of the 2 images"):
        evaluation.predictions("ours", vertices=True)


def test_matched_coordinates(samples, make_aligner):
    """Our first pixel is 0, the ground truth's 1; 3.341 % where both it and the crops are moved by one."""
    matched = evaluate_aflw2000(make_aligner(), samples, coordinates="matched")
    assert matched.mean_nme_percent == pytest.approx(3.341, abs=0.005)
    result = measure(matched.predictions("ours"), truth_of_aflw2000(samples), coordinates="matched")
    np.testing.assert_allclose(result.nme_percent, matched.nme_percent, rtol=1e-6)
    with pytest.raises(ValueError, match="coordinates must be one of as-stored, matched, got 'x'"):
        evaluate_aflw2000(make_aligner(), samples, coordinates="x")


def test_folders_and_files_that_are_not_the_data_set(tmp_path, folder):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        list_aflw2000(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no image with a \.mat file"):
        list_aflw2000(tmp_path)
    shutil.copy(folder / "image00050.jpg", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image00050\.mat: no such file"):
        read_aflw2000(tmp_path / "image00050.jpg")
    (tmp_path / "image00050.mat").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"image00050\.mat is not a readable MAT file"):
        list_aflw2000(tmp_path)
    for content, message in (({}, "got nothing"), ({"pt3d_68": np.zeros((2, 68))}, r"got \[2, 68\]")):
        scipy.io.savemat(tmp_path / "image00050.mat", {"Pose_Para": np.ones((1, 7)), **content})
        with pytest.raises(ValueError, match=rf"pt3d_68 must be \[3, 68\], {message}"):
            list_aflw2000(tmp_path)
    scipy.io.savemat(tmp_path / "image00050.mat", {"pt3d_68": np.zeros((3, 68))})
    with pytest.raises(ValueError, match="holds no Pose_Para"):
        list_aflw2000(tmp_path)


def test_references_that_do_not_fit(tmp_path, samples, make_aligner):
    result = evaluate_aflw2000(make_aligner(), samples[:1], "exact")
    path = tmp_path / "reference.npz"
    for content, message in (
        ({"names": ["image00050.jpg"]}, "wanted arrays names and landmarks68"),
        ({"names": ["image00050.jpg"], "landmarks68": np.zeros((1, 68, 3))}, r"must be \[1, 3, 68\]"),
        ({"names": ["other.jpg"], "landmarks68": np.zeros((1, 3, 68))}, "has no landmarks of image00050.jpg"),
    ):
        np.savez(path, **content)
        with pytest.raises(ValueError, match=r"reference\.npz.*" + message):
            landmark_difference(result, path)
    path.write_bytes(b"PK\x03\x04garbage")
    with pytest.raises(ValueError, match="wanted arrays"):
        landmark_difference(result, path)
    with pytest.raises(ValueError, match="roi must be one of exact, 3ddfa-compat, detector, got 'x'"):
        evaluate_aflw2000(make_aligner(), samples[:1], "x")
