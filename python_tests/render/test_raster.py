"""Rasterised triangles against their geometry."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy.spatial import Delaunay

from frnet.render.raster import rasterize, vertex_normals


def soup(rng, count=40, size=50):
    vertices = np.concatenate([rng.uniform(-5, size + 5, (3 * count, 2)), rng.uniform(0, 9, (3 * count, 1))], 1)
    return vertices.astype(np.float32), np.arange(3 * count).reshape(count, 3)


def test_coverage_is_that_of_opencvs_polygons(rng):
    vertices, triangles = soup(rng)
    seen = rasterize(vertices, triangles, 50, 50)
    contours = [corners[:, None] for corners in vertices[triangles][:, :, :2]]
    distance = np.array([
        [max(cv2.pointPolygonTest(contour, (float(x), float(y)), True) for contour in contours) for x in range(50)]
        for y in range(50)
    ])  # fmt: skip
    clear = np.abs(distance) > 1e-2
    np.testing.assert_array_equal(seen.triangles[clear] >= 0, distance[clear] > 0)
    np.testing.assert_array_equal(seen.coverage, seen.triangles >= 0)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_coverage_of_a_pixel_is_that_of_a_finer_picture(rng, samples):
    """Drawn at several times the size and averaged, by OpenCV."""
    vertices, triangles = soup(rng)
    seen = rasterize(vertices, triangles, 40, 60, samples=samples, attributes=vertices)
    fine = vertices.copy()
    fine[:, :2] = (vertices[:, :2] + 0.5) * samples - 0.5
    single = rasterize(fine, triangles, 40 * samples, 60 * samples, attributes=vertices)
    share = cv2.resize(single.coverage, (60, 40), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(seen.coverage, share, atol=1e-6)
    mean = cv2.resize(single.attributes, (60, 40), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(seen.attributes * seen.coverage[..., None], mean, rtol=1e-5, atol=1e-5)
    nearest = np.where(single.triangles >= 0, single.depth, -np.inf)
    nearest = nearest.reshape(40, samples, 60, samples).max((1, 3))
    np.testing.assert_array_equal(seen.depth, np.where(np.isfinite(nearest), nearest, 0))


def test_every_pixel_belongs_to_the_cell_that_scipy_finds(rng):
    """A Delaunay triangulation, an oracle for who owns which point and for the weights there."""
    places = np.concatenate([rng.uniform(-3, 73, (600, 2)), [(-9, -9), (90, -9), (-9, 90), (90, 90)]])
    places = np.round(places * 256) / 256  # what the rasteriser makes of them
    cells = Delaunay(places)
    vertices = np.column_stack([places, rng.uniform(0, 9, len(places))]).astype(np.float32)
    seen = rasterize(vertices, cells.simplices, 64, 70, attributes=vertices)
    y, x = np.mgrid[:64, :70]
    points = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    owner = cells.find_simplex(points)
    transform = cells.transform[owner]
    two = np.einsum("pij,pj->pi", transform[:, :2], points - transform[:, 2])
    weights = np.column_stack([two, 1 - two.sum(1)])
    clear = weights.min(1) > 1e-9
    assert clear.mean() > 0.9
    assert (seen.triangles >= 0).all()
    np.testing.assert_array_equal(seen.triangles.ravel()[clear], owner[clear])
    np.testing.assert_allclose(seen.barycentrics.reshape(-1, 3)[clear], weights[clear], atol=1e-6)
    np.testing.assert_allclose(seen.attributes[..., :2].reshape(-1, 2), points, atol=1e-4)


def test_the_nearest_triangle_wins(rng):
    vertices, triangles = soup(rng)
    vertices[:, :2] = np.round(vertices[:, :2] * 256) / 256  # what the rasteriser makes of them
    seen = rasterize(vertices, triangles, 50, 50)
    corners = vertices[triangles].astype(np.float64)
    for y, x in np.argwhere(seen.triangles >= 0):
        # Every triangle over this pixel, by solving for its weights.
        systems = np.stack([corners[:, :, 0], corners[:, :, 1], np.ones((len(corners), 3))], 1)
        solved = np.linalg.solve(systems, np.broadcast_to([[x], [y], [1.0]], (len(corners), 3, 1)))[..., 0]
        depth = np.where((solved > 1e-9).all(1), (solved * corners[:, :, 2]).sum(1), -np.inf)
        assert seen.depth[y, x] >= depth.max() - 1e-5
        np.testing.assert_allclose(seen.barycentrics[y, x], solved[seen.triangles[y, x]], atol=1e-6)


def test_of_equal_depths_the_first_triangle_is_seen(rng):
    square = np.float32([[1, 1, 3], [1, 17, 3], [17, 17, 3], [17, 1, 3]])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 3], [1, 2, 3]])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        seen = rasterize(square, triangles[order], 20, 20).triangles
        assert (seen[1:17, 1:17] >= 0).all()
        for other in range(4):
            alone = rasterize(square, triangles[order][other : other + 1], 20, 20).triangles
            assert (seen[alone == 0] <= other).all()


def test_culling_leaves_out_what_is_seen_from_inside():
    vertices = np.float32([[0, 0, 0], [10, 0, 0], [0, 10, 0]])  # y down: clockwise on the screen is 0, 1, 2
    assert (rasterize(vertices, np.array([[0, 1, 2]]), 20, 20, cull=True).triangles == -1).all()
    kept = rasterize(vertices, np.array([[0, 2, 1]]), 20, 20, cull=True).triangles
    np.testing.assert_array_equal(kept, rasterize(vertices, np.array([[0, 1, 2]]), 20, 20).triangles)
    assert (kept == 0).sum() == 55  # of the hypotenuse, where the inside lies on the left, nothing


def test_no_gap_and_no_pixel_twice(rng):
    """A square cut into many triangles: each of its pixels belongs to one of them, whatever the turn."""
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12)), -1).reshape(-1, 2)
    cell = np.arange(144).reshape(12, 12)
    first = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:]], -1).reshape(-1, 3)
    second = np.stack([cell[:-1, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 3)
    triangles = np.concatenate([first, second])
    y, x = np.mgrid[:60, :60]
    for angle in rng.uniform(0, 2 * np.pi, 20):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        vertices = np.column_stack([grid @ turn.T * 20 + 30, np.zeros(144)]).astype(np.float32)
        covered = rasterize(vertices, triangles, 60, 60).triangles >= 0
        assert covered[(np.abs((np.stack([x, y], -1) - 30) @ turn) < 19.9).all(-1)].all()
        times = sum((rasterize(vertices, one[None], 60, 60).triangles >= 0).astype(int) for one in triangles)
        np.testing.assert_array_equal(times, covered)


def test_perspective_is_that_of_a_ray(rng):
    """A plane in space, seen by a pinhole: attributes that are linear on the plane, at the point that the ray meets."""
    focal, centre = 60.0, 30.0
    corners = np.array([[-2, -2, 3.0], [2, -2, 9], [2, 2, 9.5], [-2, 2, 3.2]])
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    corners[2, 2] = (normal @ corners[0] - normal[:2] @ corners[2, :2]) / normal[2]  # into the plane of the others
    distance = corners[:, 2]
    vertices = np.column_stack([corners[:, :2] * focal / distance[:, None] + centre, -distance])
    seen = rasterize(
        vertices, np.array([[0, 1, 2], [0, 2, 3]]), 61, 61, attributes=corners, inverse_depth=1 / distance, samples=1
    )
    for y, x in np.argwhere(seen.triangles >= 0):
        ray = np.array([(x - centre) / focal, (y - centre) / focal, 1])
        point = ray * (normal @ corners[0]) / (normal @ ray)
        np.testing.assert_allclose(seen.attributes[y, x], point, atol=2e-2)
        assert seen.depth[y, x] == pytest.approx(-point[2], abs=2e-2)
    assert (seen.triangles >= 0).sum() > 500


@pytest.mark.skipif(not hasattr(cv2, "triangleRasterize"), reason="OpenCV before 5 has no rasteriser")
@pytest.mark.parametrize("culled", [False, True])
def test_opencvs_rasteriser_draws_the_same_picture(rng, culled):
    """Two bumpy balls, one behind the other, before a pinhole camera; z towards the viewer, y up."""
    import trimesh

    balls = [trimesh.creation.icosphere(4), trimesh.creation.icosphere(3)]
    vertices = np.concatenate([balls[0].vertices, balls[1].vertices * 0.7 + (0.9, 0.3, 0.6)])
    vertices *= 1 + 0.05 * np.sin(7 * vertices[:, ::-1])
    vertices = (vertices - (0, 0, 5)).astype(np.float32)
    triangles = np.concatenate([balls[0].faces, balls[1].faces + len(balls[0].vertices)]).astype(np.int32)
    triangles = triangles[rng.permutation(len(triangles))]
    colours = (0.5 + 0.4 * np.sin(3 * vertices)).astype(np.float32)
    height, width, field = 110, 150, 0.7

    picture, distance = np.zeros((height, width, 3), np.float32), np.full((height, width), 99, np.float32)
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_CW if culled else cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    camera = np.eye(4, dtype=np.float32)[:3]
    cv2.triangleRasterize(vertices, triangles, colours, picture, distance, camera, field, 1, 99, settings)

    focal = height / 2 / np.tan(field / 2)
    x, y = vertices[:, :2].T * focal / -vertices[:, 2]
    pixels = np.stack([width / 2 + x - 0.5, height / 2 - y - 0.5, vertices[:, 2]], 1)
    seen = rasterize(
        pixels, triangles, height, width, attributes=colours, inverse_depth=-1 / vertices[:, 2], cull=culled
    )
    theirs = distance < 98.9
    assert theirs.sum() > 4000
    assert (theirs != (seen.triangles >= 0)).sum() <= 5  # corners are rounded here, not there
    both = theirs & (seen.triangles >= 0)
    off = np.abs(-seen.depth - distance)[both]
    assert np.quantile(off, 0.99) < 5e-3
    assert np.quantile(np.abs(seen.attributes - picture)[both], 0.99) < 5e-3
    assert (off > 0.1).sum() <= 5  # another ball


@pytest.mark.parametrize(
    "vertices",
    [
        np.zeros((3, 3)),
        [[0, 0, 0], [5, 5, 0], [9, 9, 0]],
        [[90, 90, 0], [95, 90, 0], [90, 95, 0]],
        [[0, 0, 0], [np.nan, 9, 0], [9, 0, 0]],
        [[0, 0, 0], [0, np.inf, 0], [9, 0, 0]],
        [[0, 0, 0], [0, 9, np.nan], [9, 0, 0]],
        [[0, 0, -np.inf], [0, 9, 0], [9, 0, 0]],
        [[1e30, 1e30, 0], [2e30, 1e30, 0], [1e30, 2e30, 0]],
    ],
    ids=["point", "line", "outside", "nan", "infinite", "nan depth", "infinite depth", "far away"],
)
def test_nothing_to_see(vertices):
    seen = rasterize(np.float32(vertices), np.array([[0, 1, 2]]), 20, 20, attributes=np.ones((3, 2)), samples=2)
    assert (seen.triangles == -1).all()
    assert not seen.depth.any()
    assert not seen.coverage.any()
    assert not seen.barycentrics.any()
    assert not seen.attributes.any()


@pytest.mark.parametrize("reach", [200.0, 1e4, 1e6, 1e12, 1e30])
def test_corners_far_outside(reach):
    """Two triangles whose shared edge crosses the picture cover it whole, each pixel once."""
    vertices = np.float32([[-reach, -reach, 1], [-reach, reach, 1], [reach, reach, 1], [reach, -reach, 1]])
    first, second = (
        rasterize(vertices, np.array([triangle]), 33, 47).triangles == 0 for triangle in ([0, 1, 2], [0, 2, 3])
    )
    assert (first ^ second).all()
    y, x = np.mgrid[:33, :47]
    assert reach > 1e20 or (first == (y > x)).all()  # beyond, a pixel is nothing beside float64's last digit


@pytest.mark.parametrize("far", [3e38, 1e20, 1e7])
def test_a_neighbour_that_reaches_far_leaves_no_gap(far):
    vertices = np.float32([[2.3, 3.7, 0], [40.1, 30.3, 0], [5.5, 39.9, 0], [far, -far, 0]])
    near, wide = (rasterize(vertices, np.array([t]), 48, 48).triangles == 0 for t in ([0, 2, 1], [0, 1, 3]))
    assert not (near & wide).any()
    for y in range(5, 30):
        both = np.flatnonzero((near | wide)[y])
        assert (np.diff(both) == 1).all()


def test_empty():
    seen = rasterize(np.zeros((0, 5, 3)), np.zeros((0, 3), int), 4, 6)
    assert seen.triangles.shape == (0, 4, 6)
    seen = rasterize(np.zeros((2, 0, 3)), np.zeros((0, 3), int), 4, 6, attributes=np.zeros((1, 0, 3)))
    assert seen.attributes.shape == (2, 4, 6, 3)
    assert (seen.triangles == -1).all()
    assert rasterize(np.zeros((1, 3, 3)), np.array([[0, 1, 2]]), 0, 6).triangles.shape == (1, 0, 6)


def test_batches_are_their_images(rng):
    vertices, triangles = soup(rng)
    batch = np.stack([vertices, vertices[::-1], vertices + 5])
    attributes = rng.normal(size=(3, len(vertices), 5))
    together = rasterize(batch, triangles, 50, 50, attributes=attributes, samples=2)
    for i in range(3):
        alone = rasterize(batch[i], triangles, 50, 50, attributes=attributes[i], samples=2)
        for part, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(whole[i], part)
    shared = rasterize(batch, triangles, 50, 50, attributes=attributes[:1]).attributes
    np.testing.assert_array_equal(
        shared[2], rasterize(batch[2], triangles, 50, 50, attributes=attributes[0]).attributes
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triangles": [[0, 1, 3]]}, "indices from 0 to 2, got 0 to 3"),
        ({"triangles": np.int32([[0, 1, 2], [0, -1, 2]])}, "triangle 1 names a vertex that is not one of the 3"),
        ({"triangles": np.array([[0, 1, 2**32]])}, "indices from 0 to 2, got 0 to 4294967296"),
        ({"triangles": [[0, 1]]}, r"triangles must be \[triangles, 3\]"),
        ({"triangles": [[0.5, 1, 2]]}, "triangles must be integers, got float64"),
        ({"vertices": np.zeros((3, 2))}, r"vertices must be \[batch, vertices, 3\]"),
        ({"vertices": np.zeros(3)}, r"vertices must be \[batch, vertices, 3\]"),
        ({"attributes": np.zeros((4, 2))}, r"attributes must be \[batch or 1, vertices, channels\]"),
        ({"inverse_depth": np.zeros(4)}, r"inverse_depth must be \[batch, vertices\]"),
        ({"samples": 0}, "samples must be from 1 to 4, got 0"),
        ({"samples": 5}, "samples must be from 1 to 4, got 5"),
        ({"width": -1}, "height and width must be from 0 to 32768, got 4 and -1"),
        ({"height": 20000, "samples": 2}, "height and width must be from 0 to 16384"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    arguments = {"vertices": np.zeros((3, 3)), "triangles": [[0, 1, 2]], "height": 4, "width": 4, **changes}
    with pytest.raises(ValueError, match=f"rasterize: .*{message}"):
        rasterize(**arguments)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bits(isa):
    from frnet import _core

    if isa not in _core.build_info()["cpu_instruction_sets_here"]:
        pytest.skip(f"this processor lacks {isa}")
    code = """if True:
        import hashlib, numpy as np
        from frnet.render.raster import rasterize
        rng = np.random.default_rng(3)
        digest = hashlib.sha256()
        for size, spread in ((40, 3), (150, 30), (300, 250)):
            vertices = (rng.uniform(-9, size + 9, (400, 1, 3)) + rng.normal(0, spread, (400, 3, 3))).reshape(-1, 3)
            triangles = np.arange(1200).reshape(-1, 3)
            for samples in (1, 3):
                for inverse_depth in (None, rng.uniform(0.5, 2, 1200)):
                    seen = rasterize(vertices, triangles, size, size, attributes=rng.normal(size=(1200, 9)),
                                     inverse_depth=inverse_depth, samples=samples)
                    for part in seen:
                        digest.update(part.tobytes())
        print(digest.hexdigest())
    """

    def run(name):
        environment = {**os.environ, "FRNET_CPU_ISA": name}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
        ).stdout

    assert run(isa) == run("baseline")


def test_normals_of_a_sphere():
    import trimesh

    sphere = trimesh.creation.icosphere(3)
    normals = vertex_normals(sphere.vertices, np.asarray(sphere.faces))
    np.testing.assert_allclose(normals, sphere.vertices, atol=0.012)
    assert not vertex_normals(np.zeros((4, 3)), np.array([[0, 1, 2]])).any()
