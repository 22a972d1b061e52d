"""The worst cases of an evaluation as one picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet.io.files import write_whole

from .sparse import SparseResult

__all__ = ["View", "worst_images", "write_contact_sheet"]

_TRUTH, _PREDICTION, _LINE = (80, 220, 80), (70, 70, 255), (0, 215, 255)  # BGR: green, red, yellow
_PAPER, _INK = (32, 32, 32), (235, 235, 235)
_CAPTION, _HEADER, _GAP = 40, 56, 6  # pixels
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_FRACTION_BITS = 4  # OpenCV's drawing functions take fixed-point coordinates
_RADIUS = int(2.5 * (1 << _FRACTION_BITS))


class View(NamedTuple):
    """A picture of a face, and where image coordinates lie in it.

    Attributes:
        picture: uint8 [h, w, 3], BGR.
        scale: pixels of the picture per image pixel along x and y.
        offset: where the picture has image coordinate 0, x and y, in its own pixels counting from 0.
    """

    picture: NDArray[np.uint8]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (-1.0, -1.0)  # whole images: coordinates count from 1, pixels from 0


def worst_images(result: SparseResult, count: int) -> NDArray[np.int64]:
    """Indices of the images with the largest NME, the worst first; images without a face are not among them."""
    order = np.argsort(-result.nme_percent, kind="stable")  # NaN comes last
    return order[: min(count, int(np.isfinite(result.nme_percent).sum()))]


def write_contact_sheet(
    path: str | os.PathLike,
    result: SparseResult,
    view: Callable[[int], View],
    count: int = 24,
    columns: int = 6,
    tile: int = 240,
) -> NDArray[np.int64]:
    """The faces with the largest NME, worst first: true landmarks green, predicted red, yellow lines between.

    Args:
        path: the ``.png`` file.
        result: what was measured.
        view: the picture of the image of an index.
        count: faces at most.
        columns: faces in a row.
        tile: side of a face in the sheet, pixels.

    Returns:
        The indices drawn, in their order.

    Raises:
        ValueError: no image has a face.
        OSError: a picture cannot be read, or the file cannot be written.
    """
    chosen = worst_images(result, count)
    if not len(chosen):
        raise ValueError(f"{result.method}: no image has a face, so there are no worst cases to draw")
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    pitch_x, pitch_y = tile + _GAP, tile + _CAPTION + _GAP
    sheet = np.full((_HEADER + rows * pitch_y, columns * pitch_x + _GAP, 3), _PAPER, np.uint8)
    _write_header(sheet, result, len(chosen))
    for place, index in enumerate(chosen):
        top, left = _HEADER + place // columns * pitch_y, _GAP + place % columns * pitch_x
        sheet[top : top + tile, left : left + tile] = _draw_tile(result, index, view(index), tile)
        _text(sheet, result.names[index], left, top + tile + 15, tile)
        caption = f"NME {result.nme_percent[index]:.2f} %   yaw {result.yaw[index]:.1f}"
        _text(sheet, caption, left, top + tile + 32, tile)
    ok, data = cv2.imencode(".png", sheet)
    if not ok:
        raise OSError(f"OpenCV cannot encode {path}")
    write_whole(Path(path), data.tobytes())
    return chosen


def _draw_tile(result: SparseResult, index: int, view: View, tile: int) -> NDArray[np.uint8]:
    """The square about both sets of landmarks, enlarged, with the landmarks drawn."""
    shown = np.isfinite(result.truth[index, :, 0])
    points = np.stack([result.truth[index, shown], result.prediction[index, shown]]) * view.scale + view.offset
    low, high = points.min((0, 1)), points.max((0, 1))
    side = max(1.25 * float((high - low).max()), 1.0)
    corner = (low + high) / 2 - side / 2
    zoom = tile / side
    matrix = np.array([[zoom, 0, -zoom * corner[0]], [0, zoom, -zoom * corner[1]]])
    picture = cv2.warpAffine(view.picture, matrix, (tile, tile), flags=cv2.INTER_LINEAR, borderValue=_PAPER)
    fixed = np.rint((points - corner) * zoom * (1 << _FRACTION_BITS)).astype(np.int32)
    for truth, prediction in zip(*fixed.tolist(), strict=True):
        cv2.line(picture, truth, prediction, _LINE, 1, cv2.LINE_AA, _FRACTION_BITS)
    for face, color in zip(fixed.tolist(), (_TRUTH, _PREDICTION), strict=True):
        for point in face:
            cv2.circle(picture, point, _RADIUS, color, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)
    return picture


def _write_header(sheet: NDArray[np.uint8], result: SparseResult, count: int) -> None:
    width = sheet.shape[1] - 2 * _GAP
    protocol = result.protocol
    what = f"{result.method}: the {count} largest NME of {protocol.images} images of {protocol.data}"
    _text(sheet, what, _GAP, 18, width)
    _text(sheet, f"{protocol.points} points, {protocol.annotation}, roi {protocol.roi}", _GAP, 34, width)
    left = _GAP
    for word, color in (("ground truth", _TRUTH), ("prediction", _PREDICTION)):
        cv2.circle(sheet, (left + 4, 46), 4, color, cv2.FILLED, cv2.LINE_AA)
        left += 12 + _text(sheet, word, left + 12, 50, width) + 14


def _text(sheet: NDArray[np.uint8], text: str, left: int, baseline: int, width: int) -> int:
    """Writes as much of a line as fits, and returns its width; the font has ASCII alone."""
    text = text.encode("ascii", "replace").decode()
    while len(text) > 1 and _text_width(text) > width:
        text = text[:-4] + "..." if len(text) > 4 else text[:-1]
    cv2.putText(sheet, text, (left, baseline), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return _text_width(text)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0]
