"""What a plot shows, read from its SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from frnet.evaluate import cumulative_error

_SVG = "{http://www.w3.org/2000/svg}"


def curves_of(svg: Path, width: float, height: float) -> list[np.ndarray]:
    """The curves of the one pair of axes, each [points, 2] in the units of axes from 0 to ``width`` and ``height``."""
    axes = next(g for g in ElementTree.parse(svg).getroot().iter(f"{_SVG}g") if g.get("id") == "axes_1")
    frame = _points(axes.find(f"{_SVG}g[@id='patch_2']/{_SVG}path"))
    left, bottom = frame[:, 0].min(), frame[:, 1].max()
    scale = np.array([width, -height]) / np.ptp(frame, axis=0)
    lines = [_points(path) for path in axes.findall(f"{_SVG}g/{_SVG}path") if path.get("clip-path")]
    return [(points - [left, bottom]) * scale for points in lines if len(points) > 2]  # grid lines have two


def check_curve(curve: np.ndarray, errors: np.ndarray, limit: float = 10.0) -> None:
    """The curve is the cumulative one of the errors, all in percent, to 0.01 along x and to 0.1 along y."""
    for threshold in np.linspace(0, limit, 201)[:-1]:
        drawn = curve[np.searchsorted(curve[:, 0], threshold, side="right") - 1, 1]
        low, high = 100 * cumulative_error(errors, [threshold - 0.01, threshold + 0.01])
        assert low - 0.1 <= drawn <= high + 0.1, threshold


def _points(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d")), float)
