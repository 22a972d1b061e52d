"""The protocols of 3DDFA's evaluators: against what they printed, and against truths known without them."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.evaluate import (
    PUBLISHED_NME,
    aflw2000_sparse,
    aflw_sparse,
    landmarks_68_to_21,
    read_aflw2000_configs,
    read_aflw_configs,
    yaw_bin,
)

# FACTS of the field: which of the 68 landmarks, counting from 1, AFLW's 21 are the means of.
AFLW_FROM_68 = [
    *([18], [20], [22], [23], [25], [27], [37], [37, 38, 39, 40, 41, 42], [40], [43], [43, 44, 45, 46, 47, 48], [46]),
    *([3], [32], [31], [36], [15], [49], [61, 62, 63, 64, 65, 66, 67, 68], [55], [9]),
]


def five(result) -> np.ndarray:
    return np.array([*result.bins, result.mean, result.std])


@pytest.mark.parametrize(("annotation", "key"), [("original", ""), ("reannotated", "reannotated_")])
def test_what_3ddfa_prints(configs, golden, annotation, key):
    """All three printed decimals; beyond them 1e-6 percent, as 3DDFA sums 2000 errors in float32."""
    result = aflw2000_sparse(golden["aflw2000_pred"], configs, annotation=annotation)
    expected = golden[f"aflw2000_{key}expected"]
    assert [f"{value:.3f}" for value in five(result)] == [f"{value:.3f}" for value in expected]
    np.testing.assert_allclose(five(result), expected, rtol=0, atol=1e-6)
    assert result.counts.tolist() == [1312, 383, 305]
    assert result.protocol.annotation == annotation


def test_each_image(configs, golden):
    result = aflw2000_sparse(golden["aflw2000_pred"], configs)
    head = 100 * golden["aflw2000_nme_head"]  # stored as float32
    np.testing.assert_allclose(result.nme_percent[:50], head, rtol=2e-6)


def test_input_is_left_alone_and_its_type_does_not_matter(configs, golden):
    """3DDFA's evaluator writes into its argument, so that a second call gives something else."""
    pred = golden["aflw2000_pred"].astype(np.float32)
    before = pred.copy()
    first, second = (aflw2000_sparse(pred, configs) for _ in range(2))
    np.testing.assert_array_equal(pred, before)
    np.testing.assert_array_equal(first.nme_percent, second.nme_percent)
    np.testing.assert_array_equal(first.nme_percent, aflw2000_sparse(golden["aflw2000_pred"], configs).nme_percent)


def test_the_other_split_has_the_same_images_in_other_bins(configs, golden):
    old = aflw2000_sparse(golden["aflw2000_pred"], configs)
    new = aflw2000_sparse(golden["aflw2000_pred"], configs, split="new")
    np.testing.assert_array_equal(old.nme_percent, new.nme_percent)
    assert new.counts.tolist() == [1306, 462, 232]
    assert new.mean != pytest.approx(old.mean, abs=1e-3)
    assert new.sample_mean == old.sample_mean == pytest.approx(old.nme_percent.mean())


def test_what_clamped_boxes_cost_a_perfect_predictor(configs):
    """Measured on the published files: 0.111 points overall, 55 images, 35, 14 and 6 by bin."""
    truth = read_aflw2000_configs(configs)
    boxes = truth.boxes.of("exact")
    perfect = (truth.points - boxes[:, None, :2]) / ((boxes[:, 2:] - boxes[:, :2]) / 120)[:, None]
    exact = aflw2000_sparse(perfect.transpose(0, 2, 1), configs, roi="exact")
    assert exact.nme_percent.max() < 1e-10
    compat = aflw2000_sparse(perfect.transpose(0, 2, 1), configs)
    assert compat.sample_mean == pytest.approx(0.111, abs=5e-4)
    np.testing.assert_allclose(compat.bins, [0.090, 0.177, 0.119], atol=5e-4)
    harmed = compat.nme_percent > 1e-6
    assert np.bincount(yaw_bin(compat.yaw[harmed])).tolist() == [35, 14, 6]
    assert compat.nme_percent[harmed].mean() == pytest.approx(4.03, abs=5e-3)
    assert compat.nme_percent.max() == pytest.approx(19.2, abs=0.05)


def test_protocol_says_what_was_done(configs, golden):
    text = str(aflw2000_sparse(golden["aflw2000_pred"], configs, "new", "reannotated", "exact").protocol)
    for part in (
        "AFLW2000-3D, 2000 images",
        "68 points",
        "annotation reannotated",
        "1306/462/232 by new (AFLW2000-3D-new.pose.npy)",
        "roi exact",
        "both count from 1",
        "sqrt(w h)",
        "three bin means",
    ):
        assert part in text


def test_68_to_21():
    landmarks = np.random.default_rng(3).normal(size=(4, 68, 2))
    made = landmarks_68_to_21(landmarks)
    for index, parts in enumerate(AFLW_FROM_68):
        np.testing.assert_allclose(made[:, index], landmarks[:, np.array(parts) - 1].mean(1))
    with pytest.raises(ValueError, match=r"must be \[..., 68, D\], got \[2, 68\]"):
        landmarks_68_to_21(np.zeros((2, 68)))


@pytest.fixture(scope="module")
def aflw_folder(configs, tmp_path_factory):
    """AFLW's files as published, but for the fitted landmarks, which 3DDFA keeps elsewhere: boxes of known size."""
    folder = tmp_path_factory.mktemp("aflw")
    for path in configs.glob("AFLW_GT*"):
        (folder / path.name).symlink_to(path)
    boxes = np.load(folder / "AFLW_GT_crop_roi_box.npy").astype(np.float64)
    width, height = np.random.default_rng(5).uniform(60, 200, (2, len(boxes)))
    spread = np.random.default_rng(6).uniform(0, 1, (len(boxes), 3, 68))
    spread[:, :2, :2] = [[0, 1], [1, 0]]  # two landmarks span the box
    points = spread * np.stack([width, height, height], -1)[..., None] + boxes[:, [0, 1, 1], None]
    np.save(folder / "AFLW_GT_pts68.npy", points.astype(np.float64))
    return folder, np.sqrt(width * height), boxes


def shifted_truth(points: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """68 landmarks [n, 68, 2] whose 21 are these, moved; what the 21 leave open is nowhere near."""
    landmarks = np.full((len(points), 68, 2), 1e6)
    for index in (8, 11, 7, 10, 18, *(i for i in range(21) if i not in (7, 8, 10, 11, 18))):
        parts = np.array(AFLW_FROM_68[index]) - 1
        landmarks[:, parts] = points[:, index, None] + shift
    for centre, left, right in ((7, 6, 8), (10, 9, 11)):  # the rest of an eye makes up for its corners
        parts = np.array(AFLW_FROM_68[centre]) - 1
        corners = points[:, [left, right]] + shift
        landmarks[:, parts] = (6 * (points[:, centre] + shift) - corners.sum(1))[:, None] / 4
        landmarks[:, [parts[0], parts[3]]] = corners
    return landmarks


def test_aflw_known_shift(aflw_folder):
    """All predicted points lie (3, -4) off, so an image's error is 5 pixels over the size of its face."""
    folder, size, boxes = aflw_folder
    truth = read_aflw_configs(folder)
    landmarks = shifted_truth(truth.points, (3.0, -4.0))
    pred = (landmarks - boxes[:, None, :2]) / ((boxes[:, 2:] - boxes[:, :2]) / 120)[:, None]
    result = aflw_sparse(pred.transpose(0, 2, 1), folder)
    assert result.counts.tolist() == [11596, 5457, 4027]
    np.testing.assert_allclose(result.nme_percent, 500 / size, rtol=1e-9)
    expected = [(500 / size)[yaw_bin(truth.yaw) == k].mean() for k in range(3)]
    np.testing.assert_allclose(five(result), [*expected, np.mean(expected), np.std(expected)], rtol=1e-9)
    assert result.protocol.points == 21
    assert np.isnan(result.truth).any(-1).sum() == 21 * 21080 - truth.visible.sum() > 0


def test_aflw_invisible_points_do_not_count(aflw_folder):
    folder, size, boxes = aflw_folder
    truth = read_aflw_configs(folder)
    chin = truth.visible[:, 20]
    assert 0 < chin.sum() < len(chin)
    landmarks = shifted_truth(truth.points, (0.0, 0.0))
    landmarks[:, 8] = truth.points[:, 20] + [7.0, 0.0]
    pred = (landmarks - boxes[:, None, :2]) / ((boxes[:, 2:] - boxes[:, :2]) / 120)[:, None]
    result = aflw_sparse(pred.transpose(0, 2, 1), folder)
    np.testing.assert_allclose(result.nme_percent[~chin], 0, atol=1e-9)
    expected = 700 / (size * truth.visible.sum(1))
    np.testing.assert_allclose(result.nme_percent[chin], expected[chin], rtol=1e-6)


def test_aflw_without_its_landmarks(configs, aflw_folder):
    with pytest.raises(FileNotFoundError, match=r"AFLW_GT_pts68\.npy: no such file"):
        aflw_sparse(np.zeros((21080, 2, 68)), configs)
    folder, _, _ = aflw_folder
    with pytest.raises(ValueError, match=r"AFLW_GT_crop_roi_box\.npy: roi 'exact' needs boxes that were made from"):
        aflw_sparse(np.zeros((21080, 2, 68)), folder, roi="exact")


def test_one_bad_prediction_of_2000(configs, golden):
    pred = golden["aflw2000_pred"].astype(np.float32)
    pred[1234, 1, 7] = np.nan
    with pytest.raises(ValueError, match="aflw2000_sparse: pred of face 1234: NaN"):
        aflw2000_sparse(pred, configs)
    pred[1999, 0, 0] = np.inf
    with pytest.raises(ValueError, match="face 1234, and 1 more faces: NaN"):
        aflw2000_sparse(pred, configs)


@pytest.mark.parametrize(
    ("pred", "given"),
    [
        (np.zeros((1999, 2, 68)), r"float64 \[1999, 2, 68\]"),
        (np.zeros((2000, 68, 2)), r"float64 \[2000, 68, 2\]"),
        (np.full((2000, 2, 68), "x"), "<U1"),
        ([], r"float64 \[0\]"),
    ],
)
def test_predictions_of_another_shape(configs, pred, given):
    with pytest.raises(ValueError, match=r"pred must hold numbers \[2000, 2, 68\], got " + given):
        aflw2000_sparse(pred, configs)


def test_arguments_that_there_are_not(configs, golden):
    pred = golden["aflw2000_pred"]
    for argument, known in (("split", "pose, new"), ("annotation", "original, reannotated")):
        with pytest.raises(ValueError, match=f"{argument} must be one of {known}, got 'old'"):
            aflw2000_sparse(pred, configs, **{argument: "old"})
    with pytest.raises(ValueError, match="roi must be one of 3ddfa-compat, exact, got 'old'"):
        aflw2000_sparse(pred, configs, roi="old")


def test_published_rows_are_consistent():
    """Mean and std follow from the bins as printed; 3DDFA's two rows have the std of a sample."""
    checked = 0
    for method in PUBLISHED_NME:
        for figures in (method.aflw, method.aflw2000):
            if figures is None or figures.bins is None:
                continue
            assert np.mean(figures.bins) == pytest.approx(figures.mean, abs=7e-3)
            if figures.std is not None:
                ddof = 1 if method.name.startswith("3DDFA") else 0
                assert np.std(figures.bins, ddof=ddof) == pytest.approx(figures.std, abs=5e-3)
                checked += 1
    assert checked == 16
