"""Rasterised triangles against their geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from frnet.render.raster import rasterize


def soup(rng, count=40, size=50):
    vertices = np.concatenate([rng.uniform(-5, size + 5, (3 * count, 2)), rng.uniform(0, 9, (3 * count, 1))], 1)
    return vertices.astype(np.float32), np.arange(3 * count).reshape(count, 3)


def test_coverage_is_that_of_opencvs_polygons(rng):
    vertices, triangles = soup(rng)
    covered = np.zeros(2500, bool)
    covered[rasterize(vertices, triangles, 50, 50).pixels] = True
    contours = [corners[:, None] for corners in vertices[triangles][:, :, :2]]
    distance = np.array([
        [max(cv2.pointPolygonTest(contour, (float(x), float(y)), True) for contour in contours) for x in range(50)]
        for y in range(50)
    ])  # fmt: skip
    clear = np.abs(distance) > 1e-2
    np.testing.assert_array_equal(covered.reshape(50, 50)[clear], distance[clear] > 0)


def test_the_nearest_triangle_wins_and_weights_give_its_point(rng):
    vertices, triangles = soup(rng)
    seen = rasterize(vertices, triangles, 50, 50)
    corners = vertices[triangles].astype(np.float64)
    assert len(np.unique(seen.pixels)) == len(seen.pixels)
    for pixel, triangle, weights in zip(*seen, strict=True):
        x, y = pixel % 50, pixel // 50
        point = weights @ corners[triangle]
        np.testing.assert_allclose(point[:2], (x, y), atol=2e-3)
        # Every triangle over this pixel, by solving for its weights.
        ones = np.ones((len(corners), 3))
        systems = np.stack([corners[:, :, 0], corners[:, :, 1], ones], 1)
        solved = np.linalg.solve(systems, np.broadcast_to([[x], [y], [1.0]], (len(corners), 3, 1)))[..., 0]
        depth = np.where((solved > 1e-3).all(1), (solved * corners[:, :, 2]).sum(1), -np.inf)
        assert point[2] >= depth.max() - 1e-2


def test_culling_leaves_out_what_is_seen_from_inside():
    vertices = np.float32([[0, 0, 0], [10, 0, 0], [0, 10, 0]])  # y down: clockwise on the screen is 0, 1, 2
    assert len(rasterize(vertices, np.array([[0, 1, 2]]), 20, 20, cull=True).pixels) == 0
    kept = rasterize(vertices, np.array([[0, 2, 1]]), 20, 20, cull=True)
    assert len(kept.pixels) == len(rasterize(vertices, np.array([[0, 1, 2]]), 20, 20).pixels) == 66


@pytest.mark.parametrize(
    "vertices", [np.zeros((3, 3)), [[0, 0, 0], [5, 5, 0], [9, 9, 0]], [[90, 90, 0], [95, 90, 0], [90, 95, 0]]],
    ids=["point", "line", "outside"],
)  # fmt: skip
def test_nothing_to_see(vertices):
    seen = rasterize(np.float32(vertices), np.array([[0, 1, 2]]), 20, 20)
    assert len(seen.pixels) == len(seen.triangles) == len(seen.weights) == 0


def test_no_gap_between_neighbours(rng):
    """A square cut into many triangles covers each of its pixels, whatever its turn."""
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)), -1).reshape(-1, 2)
    cell = np.arange(144).reshape(12, 12)
    first = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:]], -1).reshape(-1, 3)
    second = np.stack([cell[:-1, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 3)
    y, x = np.mgrid[:60, :60]
    for angle in rng.uniform(0, 2 * np.pi, 20):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = grid @ turn.T * 20 + 30
        vertices = np.column_stack([points, np.zeros(144)]).astype(np.float32)
        covered = np.zeros(3600, bool)
        covered[rasterize(vertices, np.concatenate([first, second]), 60, 60).pixels] = True
        inside = (np.abs((np.stack([x, y], -1) - 30) @ turn) < 19.9).all(-1)
        assert covered.reshape(60, 60)[inside].all()
