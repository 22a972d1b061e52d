"""Test images as crops: AFLW2000-3D as published, folders of crops."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from frnet import geometry
from frnet.datasets import AFLW, AFLW2000, CropFolder, ImageCrops
from frnet.evaluate import list_aflw2000
from frnet.io.images import ImageError, read_image


@pytest.mark.parametrize("rule", ["exact", "3ddfa-compat"])
def test_aflw2000_as_published(shared, rule):
    folder = shared / "aflw2000-3d-sample"
    data, truth = AFLW2000(folder, rule), np.load(folder / "ground_truth.npz")
    published = np.load(shared / "3ddfa/test.configs/AFLW2000-3D_crop.roi_box.npy")[truth["index"]]
    assert data.names == truth["names"].tolist()
    np.testing.assert_array_equal(data.landmarks.astype(np.float32), truth["pts68"].transpose(0, 2, 1))
    np.testing.assert_allclose(np.rad2deg(data.pose_para[:, 1]), truth["yaw"], atol=1e-3)
    if rule == "3ddfa-compat":
        np.testing.assert_array_equal(data.rois, published)
    assert np.abs(data.rois - published).max() < 1
    for index, (crop, sample) in enumerate(zip(data, list_aflw2000(folder), strict=True)):
        roi = sample.roi(rule, 450, 450)
        np.testing.assert_allclose(crop.roi, roi, rtol=1e-6)
        np.testing.assert_array_equal(crop.image, geometry.crop(read_image(sample.image), roi))
        assert (int(crop.index), crop.name) == (index, sample.image.name)


def test_batches(shared):
    batch = next(iter(DataLoader(AFLW2000(shared / "aflw2000-3d-sample"), batch_size=8)))
    assert batch.image.shape == (8, 120, 120, 3)
    assert batch.index.tolist() == list(range(8))
    assert batch.name[0] == "image00050.jpg"
    assert batch.roi.shape == (8, 4)


def test_aflw2000_needs_its_labels(shared, tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        AFLW2000(tmp_path / "nowhere")
    shutil.copy(shared / "aflw2000-3d-sample/image00050.jpg", tmp_path)
    with pytest.raises(ValueError, match=r"holds no image with a \.mat file"):
        AFLW2000(tmp_path)
    (tmp_path / "image00050.mat").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"image00050\.mat is not a readable MAT file"):
        AFLW2000(tmp_path)


@pytest.fixture
def crops(tmp_path, rng):
    for name, size in (("b.jpg", 120), ("a.jpg", 120), ("c.png", 60)):
        cv2.imwrite(str(tmp_path / name), cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (size, size)))
    return tmp_path


def test_a_folder_of_crops(crops):
    data = CropFolder(crops, count=3)
    assert data.names == ["a.jpg", "b.jpg", "c.png"]
    np.testing.assert_array_equal(data[0].image, cv2.imread(str(crops / "a.jpg")))
    assert data[2].image.shape == (120, 120, 3)
    assert data[1].roi.tolist() == [0, 0, 120, 120]
    (crops / "crop.list").write_text("b.jpg\nc.png\n\n")
    assert CropFolder(crops, crops / "crop.list").names == ["b.jpg", "c.png"]
    assert CropFolder(crops, ["c.png"])[0].name == "c.png"


def test_crops_that_do_not_go_with_the_ground_truth(crops):
    with pytest.raises(ValueError, match="expected 21080 crops, in the order of the ground truth, got 3"):
        AFLW(crops)
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of 3 images: x\.jpg, y\.jpg"):
        CropFolder(crops, ["a.jpg", "x.jpg", "y.jpg"])
    with pytest.raises(ValueError, match="no image"):
        CropFolder(crops, [])
    cv2.imwrite(str(crops / "a.jpg"), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(ImageError, match=r"a\.jpg must be a square crop, got 20 x 10"):
        _ = CropFolder(crops)[0]
    with pytest.raises(ValueError, match=r"rois must be \[1, 4\], got \[2, 4\]"):
        ImageCrops(crops, ["a.jpg"], np.zeros((2, 4)))
    with pytest.raises(IndexError):
        _ = CropFolder(crops)[3]


def test_aflw_in_its_full_number(tmp_path):
    cv2.imwrite(str(tmp_path / "0.jpg"), np.full((120, 120, 3), 200, np.uint8))
    data = AFLW(tmp_path, ["0.jpg"] * 21_080)
    assert len(data) == 21_080
    assert int(data[21_079].index) == 21_079
    assert abs(int(data[21_079].image[60, 60, 0]) - 200) <= 1
