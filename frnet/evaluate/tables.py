"""Tables of results: our rows under the published ones, with the protocol of every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frnet.models.published import PUBLISHED

from .bins import YAW_BINS
from .bootstrap import BootstrapIntervals
from .mesh import DenseResult
from .pose import PoseError
from .published import PROTOCOL, PUBLISHED_NME
from .sparse import SparseResult

__all__ = ["PoseResult", "TextTable", "dense_table", "pose_table", "sparse_table"]


@dataclass(frozen=True, eq=False)
class PoseResult:
    """Pose error of one method."""

    method: str
    protocol: str
    error: PoseError


@dataclass(frozen=True)
class TextTable:
    """A table of text, and what stands under it.

    Attributes:
        title: above it.
        header: of the columns; those behind the first hold numbers.
        rows: cells, as many as the header has.
        notes: the protocols, by the mark that the last column holds.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: dict[str, str]

    def markdown(self) -> str:
        """As Markdown that also reads well as plain text."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        pad = [row[:1] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in cells]
        lines = [f"| {row[0].ljust(widths[0])} | {' | '.join(row[1:])} |" for row in (pad[0], rule, *pad[1:])]
        notes = [f"- [{mark}] {text}" for mark, text in self.notes.items()]
        return "\n".join([f"### {self.title}", "", *lines, "", *notes, ""])


def sparse_table(results: Sequence[SparseResult], intervals: Sequence[BootstrapIntervals | None]) -> TextTable:
    """The published table of a data set with rows of ours under it.

    Args:
        results: at least one, all of one data set.
        intervals: confidence intervals, one per result, or None.

    Raises:
        ValueError: no result, or results of several data sets.
    """
    data = {result.protocol.data for result in results}
    if len(data) != 1:
        raise ValueError(f"sparse_table: results must be of one data set, got {', '.join(sorted(data)) or 'none'}")
    (data,) = data
    marks = _Marks()
    rows = [*_published_rows(data, marks.of(PROTOCOL, "P"))]
    for result, interval in zip(results, intervals, strict=True):
        ends = "" if interval is None else _range(interval.mean)
        figures = [_figure(value) for value in (*result.bins, result.mean, result.std)]
        mark = marks.of(str(result.protocol))
        rows.append((result.method, "", "", *figures, ends, _figure(result.sample_mean), mark))
    level = next((f"{100 * interval.level:g} %" for interval in intervals if interval is not None), "interval")
    header = ("method", "params, M", "MACs, G", *YAW_BINS, "mean", "std", f"mean, {level}", "all images", "protocol")
    points = results[0].protocol.points
    return TextTable(f"NME in percent, {data}, {points} points, by |yaw|", header, tuple(rows), marks.notes)


def pose_table(results: Sequence[PoseResult]) -> TextTable:
    """Mean absolute errors of yaw, pitch and roll."""
    marks = _Marks()
    rows = []
    for result in results:
        error = result.error
        figures = [f"{value:.3f}" for value in (error.yaw, error.pitch, error.roll, error.mean)]
        rows.append((result.method, *figures, marks.of(result.protocol)))
    header = ("method", "yaw", "pitch", "roll", "mean", "protocol")
    return TextTable("Pose, mean absolute error in degrees", header, tuple(rows), marks.notes)


def dense_table(results: Sequence[DenseResult]) -> TextTable:
    """Dense NME in the image and after alignment."""
    marks = _Marks()
    rows = []
    for result in results:
        values = (result.nme_2d_percent, result.nme_3d_percent, result.reconstruction_percent)
        figures = ["-" if value is None else _figure(_mean_found(value)) for value in values]
        rows.append((result.method, *figures, marks.of(result.protocol)))
    header = ("method", "dense 2D", "dense 3D", "reconstruction", "protocol")
    return TextTable("Dense NME in percent", header, tuple(rows), marks.notes)


class _Marks:
    """Numbers notes in the order of their first use."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def of(self, note: str, mark: str | None = None) -> str:
        known = next((key for key, text in self.notes.items() if text == note), None)
        if known is None:
            known = mark or str(1 + sum(key.isdigit() for key in self.notes))
            self.notes[known] = note
        return f"[{known}]"


def _published_rows(data: str, mark: str) -> list[tuple[str, ...]]:
    rows = []
    for method in PUBLISHED_NME:
        figures, cost = method.on(data), PUBLISHED.get(method.network)
        if figures is None:
            continue
        costs = ("", "") if cost is None else (f"{cost.params:.2f}", f"{cost.macs:.3f}")
        values = (*(figures.bins or (None,) * 3), figures.mean, figures.std)
        rows.append((method.name, *costs, *("-" if v is None else f"{v:.3f}" for v in values), "", "", mark))
    return rows


def _figure(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"


def _range(ends: tuple[float, float]) -> str:
    return "-" if ends[0] != ends[0] else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _mean_found(values) -> float:
    found = values[values == values]
    return float(found.mean()) if len(found) else float("nan")
