"""Cumulative error curves: which share of the images has an error of at most so much."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frnet.io.files import write_whole

__all__ = ["area_under_curve", "cumulative_error", "write_curve_plots", "write_curve_table"]

_STEP = 0.05  # of the table, percent
_SIZE_INCHES, _DOTS_PER_INCH = (7.0, 5.4), 150
_LINE_STYLES = ("-", "--", "-.", ":")


def cumulative_error(errors: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Share of the images whose error is at most each threshold.

    Args:
        errors: [n]; NaN is an image without a face, which no threshold reaches.
        thresholds: [...], in the unit of the errors.

    Returns:
        float64 [...], in [0, 1].

    Raises:
        ValueError: no image.

    Example:
        >>> cumulative_error([1.0, 2.0, 2.0, np.nan], [0.5, 1.0, 2.0]).tolist()
        [0.0, 0.25, 0.75]
    """
    errors = np.asarray(errors, np.float64).ravel()
    if not len(errors):
        raise ValueError("cumulative_error: errors is empty")
    reached = np.sort(errors[~np.isnan(errors)])
    return np.searchsorted(reached, np.asarray(thresholds, np.float64), side="right") / len(errors)


def area_under_curve(errors: ArrayLike, limit: float) -> float:
    """Area under the cumulative curve from 0 to ``limit``, divided by ``limit``: in [0, 1], exact.

    Args:
        errors: [n], as for :func:`cumulative_error`.
        limit: in the unit of the errors, above 0.

    Raises:
        ValueError: no image, or a limit that is not above 0.

    Example:
        >>> area_under_curve([1.0, 3.0, 20.0], 8.0)
        0.5
    """
    errors = np.asarray(errors, np.float64).ravel()
    if not len(errors) or not limit > 0:
        raise ValueError(f"area_under_curve: wanted errors and a limit above 0, got {len(errors)} and {limit}")
    return float(np.clip(limit - np.where(np.isnan(errors), np.inf, errors), 0, limit).mean() / limit)


def write_curve_table(path: str | os.PathLike, errors: Mapping[str, ArrayLike], limit: float = 10.0) -> None:
    """The curves of several methods as CSV: ``nme_percent``, then one column of shares per method.

    Args:
        path: the ``.csv`` file.
        errors: [n] in percent, by name of the method.
        limit: largest threshold, percent.

    Raises:
        OSError: the file cannot be written.
    """
    thresholds = np.arange(round(limit / _STEP) + 1) * _STEP
    columns = [cumulative_error(values, thresholds) for values in errors.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["nme_percent", *errors])
    for threshold, *shares in zip(thresholds, *columns, strict=True):
        writer.writerow([f"{threshold:.2f}", *(f"{share:.6f}" for share in shares)])
    write_whole(Path(path), text.getvalue().encode())


def write_curve_plots(
    stem: str | os.PathLike, errors: Mapping[str, ArrayLike], title: str = "", limit: float = 10.0
) -> list[Path]:
    """The curves of several methods in one plot, as PNG and as SVG. Needs matplotlib.

    Args:
        stem: path of the files without ``.png`` and ``.svg``.
        errors: [n] in percent, by name of the method, in the order of the legend.
        title: above the plot.
        limit: right end of the axis, percent.

    Returns:
        The two files. The same input gives the same bytes.

    Raises:
        OSError: a file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(errors.items()):
        values = np.asarray(values, np.float64)
        steps = np.unique(values[values < limit])
        shares = 100 * cumulative_error(values, steps)
        mean = f"mean of images {np.nanmean(values):.3f} %" if np.isfinite(values).any() else "no face"
        axes.step(
            np.concatenate([[0.0], steps, [limit]]),
            np.concatenate([[0.0], shares, [100 * cumulative_error(values, limit)]]),
            where="post",
            linestyle=_LINE_STYLES[index % len(_LINE_STYLES)],
            label=f"{name} ({mean}, AUC to {limit:g} %: {100 * area_under_curve(values, limit):.1f} %)",
        )
    axes.set(xlim=(0, limit), ylim=(0, 100), xlabel="NME (% of face size)", ylabel="images with at most this NME (%)")
    axes.set_title(title, fontsize="medium", wrap=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize="small")
    stem = Path(stem)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    metadata = {"png": {"Software": None}, "svg": {"Date": None}}
    with matplotlib.rc_context({"svg.hashsalt": "frnet"}):
        for path in paths:
            kind, content = path.suffix[1:], io.BytesIO()
            figure.savefig(content, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata[kind])
            write_whole(path, content.getvalue())
    return paths
