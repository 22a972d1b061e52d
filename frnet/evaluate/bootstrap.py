"""Confidence intervals of bin means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bins import yaw_bin

__all__ = ["BootstrapIntervals", "bootstrap_bins"]

_DRAWS_AT_A_TIME = 1 << 22  # indices held in memory: 32 MB


@dataclass(frozen=True, eq=False)
class BootstrapIntervals:
    """Lower and upper ends, in the unit of the values.

    Attributes:
        level: probability, such as 0.95.
        samples: how many resamples.
        seed: of the random numbers.
        bins: float64 [3, 2], of each bin's mean; NaN where a bin has fewer than two images.
        mean: (lower, upper) of the unweighted mean of the three bin means.
        sample_mean: (lower, upper) of the mean over all images, the bins' sizes held fixed.
    """

    level: float
    samples: int
    seed: int
    bins: NDArray[np.float64]
    mean: tuple[float, float]
    sample_mean: tuple[float, float]


def bootstrap_bins(
    values: ArrayLike, yaw: ArrayLike, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> BootstrapIntervals:
    """Percentile bootstrap over images, drawn with replacement within each bin.

    A bin keeps its size in every resample, as the published protocol fixes it. The interval says how far the
    figure would move with other images of the same kind; it says nothing of other annotations or crops. Of a bin
    with fewer than two images nothing can be said: its interval, and those of the means, are NaN.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.

    Args:
        values: [n], one per image; NaN for an image that is to be left out.
        yaw: [n], degrees.
        samples: resamples, at least 1.
        level: probability that the interval is to hold, in (0, 1).
        seed: the same seed gives the same interval.

    Raises:
        ValueError: shapes that differ, or an argument out of range.

    Example:
        >>> values = np.random.default_rng(1).exponential(3.0, 300)
        >>> intervals = bootstrap_bins(values, np.linspace(0, 90, 300))
        >>> low, high = intervals.mean
        >>> bool(low < values.mean() < high)
        True
    """
    values, yaw = np.asarray(values, np.float64), np.asarray(yaw, np.float64)
    if values.ndim != 1 or values.shape != yaw.shape:
        raise ValueError(
            f"bootstrap_bins: values and yaw must be [n] alike, got {list(values.shape)} and {list(yaw.shape)}"
        )
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"bootstrap_bins: samples must be at least 1 and level in (0, 1), got {samples} and {level}")
    used = np.isfinite(values)
    members = yaw_bin(yaw)[used]
    rng = np.random.default_rng(seed)
    means = np.stack([_resampled_means(values[used][members == k], samples, rng) for k in range(3)], -1)
    shares = np.bincount(members, minlength=3) / max(len(members), 1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    return BootstrapIntervals(
        level,
        samples,
        seed,
        np.quantile(means, ends, axis=0).T,
        tuple(np.quantile(means.mean(-1), ends).tolist()),
        tuple(np.quantile(means @ shares, ends).tolist()),
    )


def _resampled_means(values: NDArray[np.float64], samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if len(values) < 2:
        return np.full(samples, np.nan)
    block = max(1, _DRAWS_AT_A_TIME // len(values))
    return np.concatenate(
        [
            values[rng.integers(len(values), size=(min(block, samples - first), len(values)))].mean(-1)
            for first in range(0, samples, block)
        ]
    )
