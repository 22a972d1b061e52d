"""Bin means, and the intervals around them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from frnet.evaluate import bootstrap_bins, summarise_bins, yaw_bin


def test_bin_borders_belong_to_the_lower_bin():
    assert yaw_bin([0, 30, -30, 30.001, 60, -60, 60.001, 187, -351]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="finite"):
        yaw_bin([np.nan])


def test_each_bin_counts_alike():
    values, yaw = [1.0, 2.0, 3.0, 10.0, 20.0], [0, 10, 20, 50, -80]
    summary = summarise_bins(values, yaw)
    assert summary.bins.tolist() == [2, 10, 20]
    assert summary.counts.tolist() == [3, 1, 1]
    assert summary.mean == pytest.approx(32 / 3)
    assert summary.std == pytest.approx(np.std([2, 10, 20]))
    assert summary.sample_mean == pytest.approx(7.2)
    assert summary.sample_std == pytest.approx(np.std(values))


def test_images_without_a_face_are_left_out():
    summary = summarise_bins([1.0, np.nan, 5.0, 9.0], [0, 0, 40, 70])
    assert summary.counts.tolist() == [1, 1, 1]
    assert summary.sample_mean == 5


def test_an_empty_bin_leaves_no_mean():
    summary = summarise_bins([1.0, 3.0], [0, 70])
    assert summary.bins[[0, 2]].tolist() == [1, 3]
    assert np.isnan([summary.bins[1], summary.mean, summary.std]).all()
    assert summary.sample_mean == 2
    assert np.isnan(summarise_bins([np.nan], [0]).sample_mean)
    with pytest.raises(ValueError, match=r"got \[2\] and \[3\]"):
        summarise_bins([1, 2], [0, 1, 2])


def draw(rng, sizes=(60, 40, 30)):
    """Skewed errors with known means 2, 4 and 8 in the three bins."""
    values = np.concatenate([rng.exponential(mean, size) for mean, size in zip((2, 4, 8), sizes, strict=True)])
    return values, np.repeat([10.0, 45.0, 75.0], sizes)


def test_intervals_cover_the_truth(rng):
    """Of 300 data sets, 95 % intervals hold the true mean in about 95 %; within 3 standard errors, 0.91 to 0.99."""
    bins, overall = np.zeros(3), 0
    for index in range(300):
        intervals = bootstrap_bins(*draw(rng), samples=400, seed=index)
        low, high = intervals.bins.T
        bins += (low <= [2, 4, 8]) & (high >= [2, 4, 8])
        overall += intervals.mean[0] <= 14 / 3 <= intervals.mean[1]
    assert 0.91 < overall / 300 < 0.99
    assert (bins / 300 > 0.88).all()  # percentile intervals of few skewed values are known to be short
    assert (bins / 300 < 0.99).all()


def test_width_is_that_of_the_normal_distribution_for_many_images(rng):
    values, yaw = draw(rng, (4000, 3000, 2000))
    intervals = bootstrap_bins(values, yaw, samples=4000)
    variances = [values[yaw == angle].var() / (yaw == angle).sum() for angle in (10, 45, 75)]
    expected = 2 * scipy.stats.norm.ppf(0.975) * np.sqrt(np.sum(variances)) / 3
    assert intervals.mean[1] - intervals.mean[0] == pytest.approx(expected, rel=0.05)
    shares = np.array([4, 3, 2]) / 9
    expected = 2 * scipy.stats.norm.ppf(0.975) * np.sqrt(np.sum(shares**2 * variances))
    assert intervals.sample_mean[1] - intervals.sample_mean[0] == pytest.approx(expected, rel=0.05)


def test_all_resamples_there_are():
    """Of three images there are 27 equally likely resamples, of two bins of three 729: quantiles of all of them."""
    bins = np.array([[1.0, 2.0, 6.0], [3.0, 10.0, 11.0], [0.0, 4.0, 20.0]])
    every = [np.mean(list(itertools.product(values, repeat=3)), -1) for values in bins]
    intervals = bootstrap_bins(bins.ravel(), np.repeat([10.0, 45.0, 75.0], 3), samples=40000, level=0.8)
    for ends, means in zip(intervals.bins, every, strict=True):
        share = [np.mean(means < ends[0] - 1e-9), np.mean(means < ends[1] - 1e-9)]
        reached = [np.mean(means < ends[0] + 1e-9), np.mean(means < ends[1] + 1e-9)]
        assert share[0] <= 0.105
        assert reached[0] >= 0.095
        assert share[1] <= 0.905
        assert reached[1] >= 0.895
    overall = np.add.outer(np.add.outer(every[0], every[1]), every[2]).ravel() / 3
    np.testing.assert_allclose(intervals.mean, np.quantile(overall, [0.1, 0.9]), rtol=0.02)
    assert intervals.mean == pytest.approx(intervals.sample_mean)  # as the bins are equally large


def test_seeds(rng):
    values, yaw = draw(rng)
    first, again, other = (bootstrap_bins(values, yaw, seed=seed) for seed in (4, 4, 5))
    assert first.mean == again.mean
    assert first.mean != other.mean


def test_one_image_says_nothing_of_its_bin():
    intervals = bootstrap_bins([1.0, 2.0, 3.0, 4.0, 9.0], [0, 0, 40, 40, 80])
    assert np.isfinite(intervals.bins[:2]).all()
    assert np.isnan(intervals.bins[2]).all()
    assert np.isnan([*intervals.mean, *intervals.sample_mean]).all()


def test_arguments_out_of_range():
    for arguments in ({"samples": 1}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match="samples must be at least 2 and level in"):
            bootstrap_bins([1.0], [0.0], **arguments)
    with pytest.raises(ValueError, match=r"got \[1\] and \[2\]"):
        bootstrap_bins([1.0], [0.0, 1.0])
