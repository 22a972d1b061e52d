"""Curves and pictures: what they hold, and that other programs can read them."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from support.plots import check_curve, curves_of

from frnet.align import read_image
from frnet.evaluate import (
    Predictions,
    View,
    area_under_curve,
    cumulative_error,
    list_aflw2000,
    measure,
    truth_of_aflw2000,
    worst_images,
    write_contact_sheet,
    write_curve_plots,
    write_curve_table,
)


@pytest.fixture
def errors(rng) -> dict[str, np.ndarray]:
    return {"one": rng.gamma(4, 1, 500), "other, with a comma": rng.gamma(6, 1, 400)}


def test_curve_is_the_empirical_distribution(errors):
    values = errors["one"]
    ecdf = scipy.stats.ecdf(values).cdf
    thresholds = np.sort(np.concatenate([values[:50], np.linspace(0, 12, 40)]))
    np.testing.assert_allclose(cumulative_error(values, thresholds), ecdf.evaluate(thresholds))


def test_images_without_a_face_are_never_reached():
    assert cumulative_error([1.0, np.nan], 1e9) == 0.5
    assert area_under_curve([0.0, np.nan], 10) == 0.5
    with pytest.raises(ValueError, match="errors is empty"):
        cumulative_error([], 1)
    with pytest.raises(ValueError, match="a limit above 0"):
        area_under_curve([1.0], 0)


def test_area_is_the_integral_of_the_curve(errors):
    values = errors["one"]
    thresholds = np.linspace(0, 8, 200_001)
    area = scipy.integrate.trapezoid(cumulative_error(values, thresholds), thresholds) / 8
    assert area_under_curve(values, 8) == pytest.approx(area, abs=1e-5)


def test_table(errors, tmp_path):
    write_curve_table(tmp_path / "curve.csv", errors)
    with open(tmp_path / "curve.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["nme_percent", "one", "other, with a comma"]
    table = np.array(rows, float)
    np.testing.assert_allclose(table[:, 0], np.linspace(0, 10, 201))
    for column, values in zip(table[:, 1:].T, errors.values(), strict=True):
        np.testing.assert_allclose(column, [(values <= t).mean() for t in table[:, 0]], atol=2e-6)


def test_plots_are_readable_and_say_what_they_show(errors, tmp_path):
    png, svg = write_curve_plots(tmp_path / "curve", errors, "two methods")
    picture = cv2.imread(str(png))
    assert picture.shape[0] > 500
    assert picture.shape[1] > 800
    colours = {tuple(c) for c in picture.reshape(-1, 3)[::7].tolist()}
    assert len(colours) > 20
    for curve, values in zip(curves_of(svg, 10, 100), errors.values(), strict=True):
        check_curve(curve, values)
    text = svg.read_text()
    for words in ("NME (% of face size)", "images with at most this NME (%)", "two methods", "other, with a comma"):
        assert words in text  # matplotlib writes the words of its paths into comments
    again = write_curve_plots(tmp_path / "again", errors, "two methods")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]


@pytest.fixture
def result(shared):
    """The true landmarks of the eight samples, moved by more from image to image."""
    truth = truth_of_aflw2000(list_aflw2000(shared / "aflw2000-3d-sample"))
    shift = np.array([4, 0, 6, 1, 7, 2, 3, 5.0])[:, None, None]
    size = np.sqrt(np.ptp(truth.points[..., :2], axis=1).prod(-1))[:, None, None]
    found = np.arange(8) != 4
    predictions = Predictions("ours, naïve", truth.points + [0.01, 0, 0] * shift * size, "image", 1, found=found)
    return measure(predictions, truth), truth


def test_worst_first_and_only_faces(result):
    result, _ = result
    assert worst_images(result, 3).tolist() == [2, 7, 0]
    assert worst_images(result, 100).tolist() == [2, 7, 0, 6, 5, 3, 1]
    np.testing.assert_allclose(result.nme_percent[[2, 7, 0, 6, 5, 3, 1]], [6, 5, 4, 3, 2, 1, 0], atol=1e-6)


BLACK = np.zeros((450, 450, 3), np.uint8)


def near(tile: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(tile.astype(int) - color).max(-1) < 60


def test_contact_sheet(result, tmp_path):
    result, _ = result
    path = tmp_path / "worst.png"
    drawn = write_contact_sheet(path, result, lambda _: View(BLACK), count=5, columns=3, tile=200)
    assert drawn.tolist() == [2, 7, 0, 6, 5]
    sheet = cv2.imread(str(path))
    assert sheet.shape == (56 + 2 * 246, 3 * 206 + 6, 3)
    corners = [(56 + 246 * row, 6 + 206 * column) for row in (0, 1) for column in (0, 1, 2)]
    tiles = [sheet[top : top + 200, left : left + 200] for top, left in corners]
    lines = []
    for tile in tiles[:5]:
        green, red, yellow = (near(tile, color) for color in ((80, 220, 80), (70, 70, 255), (0, 215, 255)))
        assert red.sum() > 68 * 9 * 0.8  # dots of 4 pixels across; some hide one another
        assert 100 < green.sum() <= red.sum()
        lines.append(yellow.sum())
        rows, columns = np.nonzero(green | red)
        assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(200 / 1.25 + 4, abs=3)
        assert (rows.min() + rows.max()) / 2 == pytest.approx(100, abs=2)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(100, abs=2)
        assert np.nonzero(red)[1].max() > np.nonzero(green)[1].max()  # predictions were moved to the right
    assert lines[0] > 50 + lines[-1]  # yellow lines, which short ones hide
    assert np.ptp(tiles[5]) == 0  # the sixth place is empty


def test_landmarks_lie_where_the_picture_has_them(tmp_path, result):
    """A picture at twice the size gives the same sheet, but for resampling."""
    result, truth = result

    def doubled(index):
        picture = read_image(truth.images[index])
        large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        return View(large, (2.0, 2.0), (-1.5, -1.5))  # pixel x of the image is 2 x + 0.5 of the large one

    write_contact_sheet(tmp_path / "a.png", result, lambda i: View(read_image(truth.images[i])), count=2)
    write_contact_sheet(tmp_path / "b.png", result, doubled, count=2)
    a, b = (cv2.imread(str(tmp_path / name)).astype(int) for name in ("a.png", "b.png"))
    assert np.abs(a - b).mean() < 3
    dots = [(np.abs(sheet - (80, 220, 80)).sum(-1) < 12) for sheet in (a, b)]
    assert (dots[0] != dots[1]).sum() < 0.05 * dots[0].sum()


def test_nothing_to_draw(result, tmp_path):
    result, _ = result
    result.nme_percent[:] = np.nan
    with pytest.raises(ValueError, match="no image has a face"):
        write_contact_sheet(tmp_path / "worst.png", result, lambda _: None)
