"""The .mat files of 300W-LP and AFLW2000-3D, as published and damaged."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from frnet.datasets import LabelError, read_mat


def test_300w_lp_as_published(shared):
    path = shared / "300w-lp-sample/IBUG_image_008_1_0.mat"
    stored, label = scipy.io.loadmat(path), read_mat(path)
    np.testing.assert_array_equal(label.pose_para, stored["Pose_Para"][0].astype(float))
    np.testing.assert_array_equal(label.shape_para(199), stored["Shape_Para"][:, 0])
    np.testing.assert_array_equal(label.shape_para(40), stored["Shape_Para"][:40, 0])
    np.testing.assert_array_equal(label.exp_para(29), stored["Exp_Para"][:, 0])
    np.testing.assert_array_equal(label.pt2d, stored["pt2d"].T)
    with pytest.raises(LabelError, match=r"IBUG_image_008_1_0\.mat holds no pt3d_68"):
        _ = label.landmarks


def test_aflw2000_as_published(shared):
    path = shared / "aflw2000-3d-sample/image00050.mat"
    stored, label = scipy.io.loadmat(path), read_mat(path)
    np.testing.assert_array_equal(label.landmarks, stored["pt3d_68"].T.astype(float))
    assert label.pt2d is None  # 21 points there
    assert label.pose_para.dtype == np.float64


def test_a_real_mat_of_another_kind(shared):
    with pytest.raises(LabelError, match=r"image00427\.mat holds no Pose_Para: .* 7 numbers, got nothing"):
        _ = read_mat(shared / "300w-lp-sample/image00427.mat").pose_para


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"Pose_Para": np.full((1, 7), np.nan)}, "holds values that are NaN or infinite: 7 in Pose_Para"),
        ({"Pose_Para": np.zeros((1, 6))}, "Pose_Para must hold 7 numbers, got 6"),
        ({"Pose_Para": np.zeros((1, 8))}, "Pose_Para must hold 7 numbers, got 8"),
        ({"Pose_Para": "text"}, "Pose_Para must hold 7 numbers, got <U4"),
        ({"Pose_Para": {"a": 1}}, "Pose_Para must hold 7 numbers, got"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(LabelError, match=rf"a\.mat.*{message}"):
        _ = read_mat(tmp_path / "a.mat").pose_para


def test_orientation_of_vectors_does_not_matter(tmp_path):
    pose = np.arange(7.0)
    for shape in ((7, 1), (1, 7)):
        scipy.io.savemat(tmp_path / "a.mat", {"Pose_Para": pose.reshape(shape)})
        np.testing.assert_array_equal(read_mat(tmp_path / "a.mat").pose_para, pose)
    scipy.io.savemat(tmp_path / "a.mat", {"Shape_Para": np.zeros((12, 1))})
    with pytest.raises(LabelError, match=r"Shape_Para must hold at least 40 numbers, got 12"):
        read_mat(tmp_path / "a.mat").shape_para(40)


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 50, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"x" * 99]
)
def test_files_that_are_damaged(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(LabelError, match=r"label .*a\.mat is not a readable MAT file"):
        read_mat(tmp_path / "a.mat")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"label .*a\.mat: no such file"):
        read_mat(tmp_path / "a.mat")
