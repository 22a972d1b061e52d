"""Means over the three bins of yaw that the published tables have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["YAW_BINS", "BinSummary", "summarise_bins", "yaw_bin"]

YAW_BINS = ("0-30", "30-60", "60-90")


@dataclass(frozen=True, eq=False)
class BinSummary:
    """Means of one value per image; all in the unit of the values.

    Attributes:
        counts: int64 [3], images per bin.
        bins: float64 [3], mean of each bin; NaN where a bin is empty.
        mean: **unweighted mean of the three bin means**, which the published tables call mean; NaN where a
            bin is empty.
        std: population standard deviation **of the three bin means**, which they call std. It says how much
            large poses cost, not how much images differ.
        sample_mean: mean over all images.
        sample_std: population standard deviation over all images.
    """

    counts: NDArray[np.int64]
    bins: NDArray[np.float64]
    mean: float
    std: float
    sample_mean: float
    sample_std: float


def yaw_bin(yaw: ArrayLike) -> NDArray[np.int64]:
    """Which bin an angle belongs to: 0 for |yaw| <= 30, 1 for 30 < |yaw| <= 60, 2 above, however large.

    Args:
        yaw: [...], degrees, as published: a few values are beyond +-180 and stay as they are.

    Returns:
        int64 [...].

    Raises:
        ValueError: NaN or infinite.

    Example:
        >>> yaw_bin([-30.0, 30.1, 60.0, -351.2]).tolist()
        [0, 1, 1, 2]
    """
    yaw = np.abs(np.asarray(yaw, np.float64))
    if not np.isfinite(yaw).all():
        raise ValueError("yaw_bin: yaw must be finite")
    return np.digitize(yaw, [30.0, 60.0], right=True)


def summarise_bins(values: ArrayLike, yaw: ArrayLike) -> BinSummary:
    """Bin means, and their mean and spread, as 3DDFA's evaluator and the published tables take them.

    Args:
        values: [n], one per image; NaN for an image that is to be left out.
        yaw: [n], degrees.

    Raises:
        ValueError: shapes that differ, or a yaw that is not finite.

    Example:
        >>> summary = summarise_bins([1.0, 3.0, 4.0, 9.0], [0.0, -20.0, 45.0, 80.0])
        >>> summary.bins.tolist(), summary.mean, summary.sample_mean
        ([2.0, 4.0, 9.0], 5.0, 4.25)
    """
    values, yaw = np.asarray(values, np.float64), np.asarray(yaw, np.float64)
    if values.ndim != 1 or values.shape != yaw.shape:
        raise ValueError(
            f"summarise_bins: values and yaw must be [n] alike, got {list(values.shape)} and {list(yaw.shape)}"
        )
    used = np.isfinite(values)
    members = yaw_bin(yaw)[used]
    counts = np.bincount(members, minlength=3)
    sums = np.bincount(members, weights=values[used], minlength=3)
    bins = np.divide(sums, counts, out=np.full(3, np.nan), where=counts > 0)
    nan = float("nan")
    sample_mean, sample_std = (float(values[used].mean()), float(values[used].std())) if used.any() else (nan, nan)
    return BinSummary(counts, bins, float(bins.mean()), float(bins.std()), sample_mean, sample_std)
