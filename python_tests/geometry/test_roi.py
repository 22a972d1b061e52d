"""Roi boxes, against 3DDFA's published ones."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.geometry import (
    clamp_roi,
    require_roi,
    roi_from_box,
    roi_from_landmarks,
    roi_from_landmarks_benchmark,
    roi_is_valid,
)


def test_published_boxes_of_all_2000_images(shared):
    folder = shared / "3ddfa/test.configs"
    points = np.load(folder / "AFLW2000-3D.pts68.npy").transpose(0, 2, 1)
    published = np.load(folder / "AFLW2000-3D_crop.roi_box.npy")
    exact = roi_from_landmarks_benchmark(points)
    np.testing.assert_array_equal(clamp_roi(exact, 450, 450), published)
    assert (exact != published).any(1).sum() == 55  # the images whose crop was padded
    assert np.abs(exact - roi_from_landmarks(points)).max() <= 1.0


def test_sample_boxes_follow_from_their_mat_files(shared):
    import scipy.io

    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    for name, roi in zip(truth["names"], truth["roi"], strict=True):
        points = scipy.io.loadmat(shared / "aflw2000-3d-sample" / f"{name[:-4]}.mat")["pt3d_68"].T
        np.testing.assert_array_equal(clamp_roi(roi_from_landmarks_benchmark(points), 450, 450), roi)


def test_roi_from_landmarks(rng):
    points = rng.uniform(0, 300, size=(4, 5, 68, 3))
    roi = roi_from_landmarks(points)
    assert roi.shape == (4, 5, 4)
    low, high = points[..., :2].min(-2), points[..., :2].max(-2)
    np.testing.assert_allclose((roi[..., :2] + roi[..., 2:]) / 2, (low + high) / 2)
    np.testing.assert_allclose(roi[..., 2:] - roi[..., :2], np.sqrt(2) * (high - low).max(-1, keepdims=True) + [0, 0])
    np.testing.assert_array_equal(roi_from_landmarks(points[..., :2]), roi)
    np.testing.assert_allclose(roi_from_landmarks(points[..., :2] + 7), roi + 7)
    assert roi_from_landmarks(points[:0]).shape == (0, 5, 4)


def test_roi_from_box():
    # 3DDFA's formula, worked by hand: s = 110, centre (150, 160 + 15.4), side int(173.8) = 173.
    np.testing.assert_allclose(roi_from_box([100, 100, 200, 220]), [63.5, 88.9, 236.5, 261.9])
    both = roi_from_box([[100, 100, 200, 220], [0.5, 0.5, 11, 12]])
    np.testing.assert_allclose(both[0], [63.5, 88.9, 236.5, 261.9])
    assert both[1, 2] - both[1, 0] == int(11 * 1.58)


def test_rounding_goes_away_from_zero_at_halves():
    # A box of side s about c has its corner at c - s / sqrt(2); these corners are -0.5 and 2.5 + ...
    side = np.sqrt(2.0)
    points = np.array([[-0.5 + (2 - side) / 2, 0.0], [-0.5 + (2 + side) / 2, 0.0]])
    roi = roi_from_landmarks(points)
    np.testing.assert_allclose(roi[[0, 2]], [-0.5, 1.5])
    assert roi_from_landmarks_benchmark([[0, 0], [1, 1]]).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("roi", "valid"),
    [
        ([0, 0, 10, 10], True),
        ([-50, -50, 5, 5], True),
        ([-50, -50, 0, 0], False),  # ends where the image begins
        ([100, 0, 110, 10], False),  # begins where it ends
        ([99, 79, 110, 90], True),
        ([0, 80, 10, 90], False),
        ([5, 5, 5, 10], False),
        ([5, 5, 5.4, 10], False),  # rounds to nothing
        ([10, 10, 0, 0], False),
        ([np.nan, 0, 10, 10], False),
        ([0, 0, np.inf, 10], False),
        ([0, 0, 1e30, 1e30], False),
    ],
)
def test_validity(roi, valid):
    assert roi_is_valid(roi, 100, 80) == valid
    if valid:
        np.testing.assert_array_equal(require_roi(roi, 100, 80), roi)
    else:
        with pytest.raises(ValueError, match="roi: "):
            require_roi(roi, 100, 80)


def test_validity_of_many():
    rois = [[[0, 0, 9, 9], [5, 5, 5, 5]], [[np.nan] * 4, [200, 0, 210, 9]]]
    assert roi_is_valid(rois).tolist() == [[True, False], [False, True]]
    assert roi_is_valid(rois, 100, 100).tolist() == [[True, False], [False, False]]
    assert roi_is_valid(np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: roi_from_landmarks(np.zeros((2, 68))),
            r"\[\.\.\., N, 2\].*one point per row, got \[2, 68\]",
        ),
        (lambda: roi_from_landmarks(np.full((68, 2), np.nan)), "finite"),
        (lambda: roi_from_landmarks(np.zeros((68, 2))), "coincide"),
        (lambda: roi_from_landmarks(np.zeros((0, 2))), r"\[0, 2\]"),
        (lambda: roi_from_box([0, 0, 10]), r"box must be \[\.\.\., 4\]"),
        (lambda: roi_from_box([10, 10, 0, 0]), "x1 > x0"),
        (lambda: roi_from_box([0, 0, 0.5, 0.5]), "a pixel or more"),
        (lambda: roi_from_box([0, 0, np.nan, 1]), "finite"),
        (lambda: clamp_roi([0, 0, 1], 450, 450), r"roi must be \[\.\.\., 4\]"),
        (lambda: roi_is_valid(3), r"roi must be \[\.\.\., 4\]"),
        (lambda: require_roi([200, 0, 210, 9], 100, 80), r"outside the image of 100x80"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
