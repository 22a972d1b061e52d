"""300W-LP: labels of real .mat files, the quirks of the folders, and the index."""

from __future__ import annotations

import logging
import os
import re
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from support.labels import landmarks_of

from frnet import geometry
from frnet.datasets import LabelConvention, ThreeHundredWLP
from frnet.io.images import read_image
from frnet.morphable import MorphableModel


@pytest.fixture
def data(wlp, model, tmp_path):
    return ThreeHundredWLP(wlp, model, cache=tmp_path / "cache")


def change_mat(path, **changes):
    stored = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    scipy.io.savemat(path, {name: value for name, value in {**stored, **changes}.items() if value is not None})


def test_everything_is_found(data):
    assert len(data) == data.report.found == data.report.kept == 9
    assert data.report.summary() == "9 of 9 samples"
    names = [data.name(index) for index in range(9)]
    assert names == sorted(names)
    assert names[0] == "AFW/image00050.jpg"
    assert names[8] == "IBUG/IBUG_image_008_1_0.jpg"


def test_labels_lie_within_the_truncation_floor(data, model, wlp):
    """FACTS: 40 + 10 of 199 + 29 coefficients leave 1.3 pixels, an NME of 0.7 %, of AFLW2000-3D's pt3d_68."""
    errors, nmes = [], []
    for index in range(8):
        face = data.read(index)
        truth = scipy.io.loadmat((wlp / data.name(index)).with_suffix(".mat"))["pt3d_68"].T
        # Out of the crop with nothing but scale and corner: u (x1 - x0) / 120 + x0, counting from 0.
        scale = (face.roi[2:] - face.roi[:2]) / 120
        got = landmarks_of(model, data[index].params) * scale + face.roi[:2] + 1
        distance = np.linalg.norm(got - truth[:, :2], axis=1).mean()
        errors.append(distance)
        nmes.append(distance / np.sqrt(np.ptp(truth[:, :2], axis=0).prod()))
    assert np.mean(errors) == pytest.approx(1.303, abs=0.01)
    assert np.mean(nmes) == pytest.approx(0.00744, abs=1e-4)
    assert np.max(nmes) < 0.013


def test_the_crop_is_the_one_a_network_gets(data, wlp):
    for index in range(9):
        face, sample = data.read(index), data[index]
        assert (face.roi == np.rint(face.roi)).all()
        assert face.roi[2] - face.roi[0] == face.roi[3] - face.roi[1]
        np.testing.assert_array_equal(sample.image, geometry.crop(read_image(wlp / data.name(index)), face.roi))
        # Landmarks fill the crop as 3DDFA's rule wants: 1 / sqrt(2) of its side, in the middle.
        box = sample.landmarks.numpy()
        assert np.ptp(box, axis=0).max() == pytest.approx(120 / np.sqrt(2), abs=0.6)
        np.testing.assert_allclose((box.min(0) + box.max(0)) / 2, 60, atol=0.6)
        assert int(sample.index) == index
        assert not sample.replaced


def test_landmarks_are_the_labels_own_where_the_model_is_truncated(data, model):
    for index in range(9):
        sample = data[index]
        np.testing.assert_allclose(landmarks_of(model, sample.params), sample.landmarks, rtol=0, atol=2e-3)


def test_landmarks_use_all_components_of_the_model(wlp, tmp_path, model, rng):
    """With more components than the label has, landmarks are those of the whole fit."""
    alpha = scipy.io.loadmat(wlp / "IBUG/IBUG_image_008_1_0.mat")
    more = rng.normal(size=(204, 2)).astype(np.float32) * 10_000 / np.abs(alpha["Shape_Para"][40:42, 0])
    whole = MorphableModel(
        model.mean, np.concatenate([model.basis_shape, more], 1), model.basis_expression, landmarks=np.arange(68)
    )
    data = ThreeHundredWLP(wlp, whole, subsets=["IBUG"], cache=tmp_path)
    plain = ThreeHundredWLP(wlp, model, subsets=["IBUG"], cache=tmp_path)
    assert data[0].params.shape == plain[0].params.shape == (62,)
    np.testing.assert_array_equal(data[0].params[12:], plain[0].params[12:])
    moved = (more @ alpha["Shape_Para"][40:42, 0]).reshape(68, 3) @ data[0].params[:12].reshape(3, 4)[:, :3].numpy().T
    difference = data[0].landmarks.numpy() - landmarks_of(model, data[0].params)
    np.testing.assert_allclose(difference, moved[:, :2] * (1, -1), rtol=0, atol=2e-3)
    assert np.abs(difference).max() > 1


@pytest.mark.parametrize("frame", ["3ddfa-v1", "3ddfa-v2"])
def test_other_conventions(wlp, model, tmp_path, frame):
    convention = LabelConvention(frame=frame, scale_depth=False)
    data = ThreeHundredWLP(wlp, model, subsets=["IBUG"], convention=convention, cache=tmp_path)
    label = scipy.io.loadmat(wlp / "IBUG/IBUG_image_008_1_0.mat")
    assert data[0].params[11] == pytest.approx(label["Pose_Para"][0, 5])
    np.testing.assert_allclose(landmarks_of(model, data[0].params, frame), data[0].landmarks, rtol=0, atol=2e-3)


def test_subsets_and_twins(wlp, model, tmp_path):
    shutil.copytree(wlp / "IBUG", wlp / "IBUG_Flip")
    shutil.copytree(wlp / "IBUG", wlp / "landmarks")
    assert len(ThreeHundredWLP(wlp, model, cache=tmp_path)) == 10  # "landmarks" is no subset
    assert len(ThreeHundredWLP(wlp, model, subsets=["IBUG", "IBUG_Flip"], cache=tmp_path)) == 2
    alone = ThreeHundredWLP(wlp / "AFW", model, subsets=["."], cache=tmp_path)
    assert len(alone) == 8
    assert alone.name(0) == "image00050.jpg"
    groups = {ThreeHundredWLP(wlp, model, cache=tmp_path).row_group(row) for row in (8, 9)}
    assert groups == {"IBUG_image_008_1"}


def test_bad_samples_are_left_out_and_named(wlp, model, tmp_path, shared):
    afw = wlp / "AFW"
    expected = {}
    (afw / "image00050.mat").unlink()
    expected["AFW/image00050.jpg"] = r"no \.mat file"
    (afw / "image00251.jpg").unlink()
    expected["AFW/image00251.mat"] = "no image"
    change_mat(afw / "image00475.mat", Pose_Para=np.full((1, 7), np.nan))
    expected["AFW/image00475.jpg"] = "values that are NaN or infinite: 7 in Pose_Para"
    (afw / "image00514.mat").write_bytes(b"garbage")
    expected["AFW/image00514.jpg"] = "not a readable MAT file"
    (afw / "image01038.jpg").write_bytes((afw / "image01038.jpg").read_bytes()[:5000])
    expected["AFW/image01038.jpg"] = "truncated"
    shutil.copy(shared / "300w-lp-sample/image00427.mat", afw / "image02545.mat")
    expected["AFW/image02545.jpg"] = "holds no Pose_Para"
    change_mat(afw / "image03324.mat", Pose_Para=np.float32([[0, 0, 0, 200, 200, 0, 0]]))
    expected["AFW/image03324.jpg"] = "scale in Pose_Para must be positive"
    change_mat(afw / "image04331.mat", Shape_Para=np.ones((12, 1)))
    expected["AFW/image04331.jpg"] = "Shape_Para must hold at least 40 numbers, got 12"
    change_mat(wlp / "IBUG/IBUG_image_008_1_0.mat", Pose_Para=np.float32([[0, 0, 0, 2000, 200, 0, 1e-3]]))
    expected["IBUG/IBUG_image_008_1_0.jpg"] = "the landmarks give no crop .* lies outside the image of 450x450"
    shutil.copy(shared / "300w-lp-sample/IBUG_image_008_1_0.mat", wlp / "IBUG/good.mat")
    shutil.copy(shared / "300w-lp-sample/IBUG_image_008_1_0.jpg", wlp / "IBUG/good.jpg")
    (afw / "readme.txt").write_text("no image")

    for _ in range(2):  # made, then read
        data = ThreeHundredWLP(wlp, model, cache=tmp_path / "cache")
        assert [data.name(index) for index in range(len(data))] == ["IBUG/good.jpg"]
        assert data.report.found == 10
        assert [skipped.file for skipped in data.report.skipped] == sorted(expected)
        for skipped in data.report.skipped:
            assert re.search(expected[skipped.file], skipped.reason), skipped


def test_nothing_that_can_be_used(wlp, model, tmp_path):
    for path in (wlp / "AFW").glob("*.mat"):
        path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"(?s)no sample that can be used: 0 of 8.*skipped:.*image00050\.jpg"):
        ThreeHundredWLP(wlp, model, subsets=["AFW"], cache=tmp_path)
    (tmp_path / "empty/AFW").mkdir(parents=True)
    with pytest.raises(ValueError, match="no sample that can be used: 0 of 0"):
        ThreeHundredWLP(tmp_path / "empty", model, cache=tmp_path)


def test_folders_and_models_that_do_not_fit(wlp, model, tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere: no such folder"):
        ThreeHundredWLP(tmp_path / "nowhere", model)
    with pytest.raises(NotADirectoryError, match="holds none of AFW, HELEN, IBUG, LFPW, AFW_Flip"):
        ThreeHundredWLP(wlp / "AFW", model)
    with pytest.raises(NotADirectoryError, match="HELEN: no such folder"):
        ThreeHundredWLP(wlp, model, subsets=["HELEN"])
    with pytest.raises(ValueError, match="expected a model with 68 landmarks, got MorphableModel"):
        ThreeHundredWLP(wlp, model.subset(range(67)))
    with pytest.raises(ValueError, match=r"40 \+ 10 coefficients need a model with at least as many, got 40 \+ 3"):
        ThreeHundredWLP(wlp, model.truncate(40, 3))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        ThreeHundredWLP(wlp, model, cache=tmp_path / "file")


def test_a_model_that_the_labels_were_not_made_with(wlp, model, tmp_path, caplog):
    ThreeHundredWLP(wlp, model, cache=tmp_path)
    assert not caplog.text
    other = MorphableModel(model.mean, model.basis_shape * 8, model.basis_expression, landmarks=range(68))
    ThreeHundredWLP(wlp, other, cache=tmp_path)
    assert "lie 14 % of the face's size off the 2D annotations" in caplog.text


def test_the_index_follows_the_folder(wlp, model, tmp_path, caplog):
    caplog.set_level(logging.INFO, "frnet")
    seen = []
    settings = {"cache": tmp_path / "cache", "progress": lambda done, count: seen.append((done, count))}
    ThreeHundredWLP(wlp, model, **settings)
    assert seen == [(9, 9)]
    ThreeHundredWLP(wlp, model, **settings)
    assert len(seen) == 1  # nothing was read again
    (wlp / "IBUG/IBUG_image_008_1_0.mat").unlink()
    assert len(ThreeHundredWLP(wlp, model, **settings)) == 8
    assert "the data or the settings have changed" in caplog.text
    shutil.copy(wlp / "AFW/image00050.mat", wlp / "IBUG/IBUG_image_008_1_0.mat")
    assert len(ThreeHundredWLP(wlp, model, **settings)) == 9
    os.utime(wlp / "AFW/image00050.mat", ns=(1, 1))
    ThreeHundredWLP(wlp, model, **settings)
    assert len(seen) == 4
    ThreeHundredWLP(wlp, model, num_expression=9, **settings)
    assert len(seen) == 5  # other settings have an index of their own
    ThreeHundredWLP(wlp, model, **settings)
    assert len(seen) == 5


def test_processes_make_the_same_index(wlp, model, tmp_path):
    image, label = (wlp / "IBUG/IBUG_image_008_1_0").with_suffix(".jpg"), wlp / "IBUG/IBUG_image_008_1_0.mat"
    for number in range(60):  # with the others more than the 64 that a process gets at a time
        os.link(image, image.with_name(f"IBUG_{number:03d}_0.jpg"))
        os.link(label, image.with_name(f"IBUG_{number:03d}_0.mat"))
    seen = []
    alone = ThreeHundredWLP(wlp, model, cache=tmp_path / "a")
    shared_out = ThreeHundredWLP(
        wlp, model, cache=tmp_path / "b", workers=2, progress=lambda done, count: seen.append((done, count))
    )
    assert seen == [(64, 69), (69, 69)]
    assert alone.report == shared_out.report
    for name in alone._index:
        np.testing.assert_array_equal(alone._index[name], shared_out._index[name])


def test_labels_count_from_the_lower_edge_of_the_image(wlp, model, tmp_path):
    path = wlp / "IBUG/IBUG_image_008_1_0.jpg"
    image = read_image(path)
    plain = ThreeHundredWLP(wlp, model, subsets=["IBUG"], cache=tmp_path).read(0)
    path.unlink()
    cv2.imwrite(str(path.with_suffix(".png")), np.concatenate([np.zeros((70, 450, 3), np.uint8), image]))
    taller = ThreeHundredWLP(wlp, model, subsets=["IBUG"], cache=tmp_path).read(0)
    np.testing.assert_array_equal(taller.roi - plain.roi, [0, 70, 0, 70])
    np.testing.assert_allclose(taller.params, plain.params, rtol=1e-6)
