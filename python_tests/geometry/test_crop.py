"""Crops: the published rounding and padding, any roi, and the network's input."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from frnet.geometry import crop, normalize
from frnet.geometry import crop as crop_function


def reference(image, roi, size=120):
    """The plain way: a padded copy of the image large enough for the roi, cut and resized."""
    x0, y0, x1, y1 = (round(float(v)) for v in roi)
    height, width = image.shape[:2]
    pad = max(0, -x0, -y0, x1 - width, y1 - height)
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return cv2.resize(padded[y0 + pad : y1 + pad, x0 + pad : x1 + pad], (size, size), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def image(rng):
    return cv2.GaussianBlur(rng.integers(0, 256, size=(97, 131, 3), dtype=np.uint8), (0, 0), 1.5)


ROIS = [
    [10, 10, 80, 80],
    [0, 0, 131, 97],
    [-30.5, -12.5, 60.5, 79.5],  # halves round to even
    [100, 60, 300, 260],
    [-200, -200, 400, 400],
    [50, 50, 51, 51],
    [3.2, 4.9, 123.1, 124.7],  # 120 x 120: no resizing
    [5, 10, 125, 40],
    [-7, 3, 233, 243],  # 240 x 240: OpenCV averages at exactly one half
]


@pytest.mark.parametrize("roi", ROIS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_padding_rounding_and_resizing(image, roi, dtype):
    picture = image.astype(dtype)
    got = crop(picture, roi)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, reference(picture, roi))


def test_several_rois_and_sizes(image):
    many = crop(image, ROIS, 48)
    assert many.shape == (len(ROIS), 48, 48, 3)
    for got, roi in zip(many, ROIS, strict=True):
        np.testing.assert_array_equal(got, reference(image, roi, 48))
    assert crop(image, np.zeros((0, 4))).shape == (0, 120, 120, 3)


def test_views_are_read_as_they_are(image):
    np.testing.assert_array_equal(crop(image[:, ::-1, ::-1], ROIS[0]), crop(image[:, ::-1, ::-1].copy(), ROIS[0]))


@pytest.mark.parametrize("roi", [r for r in ROIS if r[2] - r[0] != 240], ids=str)
def test_sampling_without_a_cut_out_gives_the_same(image, roi, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules[crop_function.__module__], "_LARGEST_CUT", 0)
    got = crop(image, roi).astype(int)
    assert np.abs(got - reference(image, roi)).max() <= 1  # OpenCV interpolates uint8 in fixed point
    single = crop(image.astype(np.float32), roi)
    np.testing.assert_allclose(single, reference(image.astype(np.float32), roi), rtol=0, atol=1e-3)


def test_a_huge_roi_needs_no_huge_memory(image):
    tracemalloc.start()
    far = crop(image, [-500_000_000, -500_000_000, 500_000_000, 500_000_000])
    near = crop(image, [-4000, -4000, 5000, 5000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert far.shape == (120, 120, 3)
    assert far.max() == 0  # the samples miss the image
    assert near.any()


def test_real_image_against_the_plain_way(shared):
    picture = cv2.imread(str(shared / "aflw2000-3d-sample/image00050.jpg"))
    roi = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")["roi"][0]
    np.testing.assert_array_equal(crop(picture, roi), reference(picture, roi))


@pytest.mark.parametrize(
    ("image", "roi", "message"),
    [
        (np.zeros((5, 5), np.uint8), [0, 0, 3, 3], r"\[H, W, 3\].*got \[5, 5\] uint8"),
        (np.zeros((5, 5, 4), np.uint8), [0, 0, 3, 3], r"got \[5, 5, 4\]"),
        (np.zeros((0, 5, 3), np.uint8), [0, 0, 3, 3], "not empty"),
        (np.zeros((5, 5, 3)), [0, 0, 3, 3], "float64"),
        (np.zeros((5, 5, 3), np.uint8), [0, 0, np.nan, 3], "finite"),
        (np.zeros((5, 5, 3), np.uint8), [2, 2, 2, 3], "at least one pixel"),
        (np.zeros((5, 5, 3), np.uint8), [5, 0, 8, 3], "outside the image of 5x5"),
        (np.zeros((5, 5, 3), np.uint8), [[[0, 0, 3, 3]]], r"\[4\] or \[n, 4\]"),
    ],
)
def test_errors(image, roi, message):
    with pytest.raises(ValueError, match=message):
        crop(image, roi)
    with pytest.raises(ValueError, match="size"):
        crop(np.zeros((5, 5, 3), np.uint8), [0, 0, 3, 3], 0)


def test_normalize(rng):
    crops = rng.integers(0, 256, size=(2, 120, 110, 3), dtype=np.uint8)
    planes = normalize(crops)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    np.testing.assert_array_equal(planes, ((crops.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(normalize(crops[0]), planes[:1])
    np.testing.assert_array_equal(normalize(list(crops)), planes)
    assert normalize(crops[:0]).shape == (0, 3, 120, 110)
    with pytest.raises(ValueError, match=r"3, 120, 120\]"):
        normalize(np.zeros((3, 120, 120)))
