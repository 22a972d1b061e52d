"""Confidence intervals of bin means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bins import yaw_bin

__all__ = ["BootstrapIntervals", "bootstrap_bins"]

_DRAWS_AT_A_TIME = 1 << 22  # of one bin, held in memory: 32 MB of indices


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
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3; SciPy's ``stats.bootstrap``.

    Args:
        values: [n], one per image; NaN for an image that is to be left out.
        yaw: [n], degrees.
        samples: resamples, at least 2.
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
    if samples < 2 or not 0 < level < 1:
        raise ValueError(f"bootstrap_bins: samples must be at least 2 and level in (0, 1), got {samples} and {level}")
    used = np.isfinite(values)
    members = yaw_bin(yaw)[used]
    bins = [values[used][members == k] for k in range(3)]
    ends = _intervals(bins, samples, level, seed)
    return BootstrapIntervals(level, samples, seed, ends[:3], tuple(ends[3].tolist()), tuple(ends[4].tolist()))


def _intervals(bins: Sequence[NDArray[np.float64]], samples: int, level: float, seed: int) -> NDArray[np.float64]:
    """Lower and upper ends [5, 2]: of the three bins' means, of their mean, and of the mean over all images."""
    from scipy.stats import bootstrap

    ends = np.full((5, 2), np.nan)
    counts = np.array([len(values) for values in bins])
    filled = np.flatnonzero(counts > 1)
    if not len(filled):
        return ends

    def means(*resamples: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        of_bins = np.stack([values.mean(axis) for values in resamples])
        if len(filled) < 3:
            return of_bins
        return np.stack([*of_bins, of_bins.mean(0), np.tensordot(counts / counts.sum(), of_bins, 1)])

    interval = bootstrap(
        [bins[index] for index in filled],
        means,
        n_resamples=samples,
        batch=max(1, _DRAWS_AT_A_TIME // counts.max()),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ends[[*filled, 3, 4] if len(filled) == 3 else filled] = np.stack(interval, -1)
    return ends
