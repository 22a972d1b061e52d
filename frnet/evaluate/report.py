"""The files of an evaluation: table, one line per image, all figures with their settings, curves, worst cases."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frnet.io.files import write_whole

from .bins import YAW_BINS
from .command import Report
from .contact_sheet import write_contact_sheet
from .curves import area_under_curve, write_curve_plots, write_curve_table
from .published import PROTOCOL, PUBLISHED_NME
from .tables import TextTable, dense_table, pose_table, sparse_table

__all__ = ["report_tables", "write_report"]

_CURVE_LIMIT = 10.0  # percent


def report_tables(report: Report) -> list[TextTable]:
    """Landmarks always; pose and meshes where they were measured."""
    tables = [sparse_table(report.results, report.intervals)]
    if report.pose:
        tables.append(pose_table(report.pose))
    if report.dense:
        tables.append(dense_table(report.dense))
    return tables


def write_report(folder: Path, report: Report, worst: int = 24) -> list[Path]:
    """Write ``table.md``, ``per_image.csv``, ``results.json``, ``curve.csv``, ``.png``, ``.svg`` and contact sheets.

    Args:
        folder: made if it is not there.
        report: what was measured.
        worst: faces on a contact sheet; 0 for none. There is one per method, where its pictures are at hand.

    Returns:
        The files, in the order in which they were written.

    Raises:
        OSError: a file cannot be written. None is left half written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "table.md": "\n".join(table.markdown() for table in report_tables(report)),
        "per_image.csv": _per_image(report),
        "results.json": json.dumps(_finite(_record(report)), indent=1) + "\n",
    }
    for name, text in files.items():
        write_whole(folder / name, text.encode())
    written = [folder / name for name in files]
    errors = {result.method: result.nme_percent for result in report.results}
    write_curve_table(folder / "curve.csv", errors, _CURVE_LIMIT)
    first = report.results[0].protocol
    title = f"{first.data}, {len(report.results[0].nme_percent)} images, {first.points} points"
    written += [folder / "curve.csv", *write_curve_plots(folder / "curve", errors, title, _CURVE_LIMIT)]
    for index in report.views if worst else ():
        result = report.results[index]
        if result.protocol.images == 0:
            continue
        path = folder / f"worst_{re.sub(r'[^A-Za-z0-9.-]+', '_', result.method)}.png"
        write_contact_sheet(path, result, report.views[index], worst)
        written.append(path)
    return written


def _per_image(report: Report) -> str:
    """Images in rows; one column per result."""
    columns: dict[str, Any] = {f"nme_percent: {result.method}": result.nme_percent for result in report.results}
    for result in report.dense:
        columns[f"dense_nme_2d_percent: {result.method}"] = result.nme_2d_percent
        columns[f"dense_nme_3d_percent: {result.method}"] = result.nme_3d_percent
        if result.reconstruction_percent is not None:
            columns[f"reconstruction_nme_percent: {result.method}"] = result.reconstruction_percent
    first, text = report.results[0], io.StringIO()
    yaws = {}
    for result in report.results:
        yaws.setdefault(f"yaw_degrees: {result.protocol.split}", result.yaw)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *yaws, *columns])
    for index, name in enumerate(first.names):
        angles = [f"{yaw[index]:.4f}" for yaw in yaws.values()]
        cells = ["" if math.isnan(values[index]) else f"{values[index]:.6f}" for values in columns.values()]
        writer.writerow([name, *angles, *cells])
    return text.getvalue()


def _record(report: Report) -> dict[str, Any]:
    from frnet.env import describe

    return {
        "settings": {name: _plain(value) for name, value in vars(report.request).items()},
        "whitening": report.whitening,
        "versions": describe(),
        "sparse": list(map(_sparse_record, report.results, report.intervals)),
        "pose": [_pose_record(result) for result in report.pose],
        "dense": [_dense_record(result) for result in report.dense],
        "published": {"protocol": PROTOCOL, "nme_percent": [asdict(method) for method in PUBLISHED_NME]},
    }


def _sparse_record(result, interval) -> dict[str, Any]:
    summary = result.summary
    record = {
        "method": result.method,
        "protocol": {**asdict(result.protocol), "text": str(result.protocol)},
        "nme_percent": {
            "bins": dict(zip(YAW_BINS, result.bins.tolist(), strict=True)),
            "mean": result.mean,
            "std": result.std,
            "all_images_mean": summary.sample_mean,
            "all_images_std": summary.sample_std,
        },
        "area_under_curve": {
            "limit_percent": _CURVE_LIMIT,
            "share": area_under_curve(result.nme_percent, _CURVE_LIMIT),
        },
        "bootstrap": None,
    }
    if interval is not None:
        record["bootstrap"] = {
            "method": "percentile bootstrap over images within bins",
            "level": interval.level,
            "samples": interval.samples,
            "seed": interval.seed,
            "nme_percent": {
                "bins": dict(zip(YAW_BINS, interval.bins.tolist(), strict=True)),
                "mean": list(interval.mean),
                "all_images_mean": list(interval.sample_mean),
            },
        }
    return record


def _pose_record(result) -> dict[str, Any]:
    error = result.error
    degrees = {"yaw": error.yaw, "pitch": error.pitch, "roll": error.roll, "mean": error.mean}
    return {"method": result.method, "protocol": result.protocol, "mae_degrees": degrees}


def _dense_record(result) -> dict[str, Any]:
    values = {"2d": result.nme_2d_percent, "3d": result.nme_3d_percent, "reconstruction": result.reconstruction_percent}
    means = {name: None if v is None else float(v[v == v].mean()) for name, v in values.items()}
    return {"method": result.method, "protocol": result.protocol, "nme_percent": means}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _finite(value: Any) -> Any:
    """NaN as null, which JSON has instead."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
