"""Rasterising a head of 17,000 vertices and 34,000 triangles, against NumPy and OpenCV; one thread each."""

import statistics
import time

import cv2
import numpy as np
import pytest
from plain_raster import rasterize as plain_rasterize

from frnet.render import rasterize

pytestmark = pytest.mark.cpu_only
CHANNELS = 8


@pytest.fixture(scope="module")
def head():
    """Vertices, triangles and attributes of an ellipsoid with bumps, about the origin and 2 high; y up."""
    rows, columns = 131, 132
    polar, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, rows), np.arange(columns) * 2 * np.pi / columns, indexing="ij"
    )
    radius = 1 + 0.03 * np.sin(9 * polar) * np.cos(7 * around)
    places = radius * np.stack(
        [0.75 * np.sin(polar) * np.sin(around), np.cos(polar), 0.9 * np.sin(polar) * np.cos(around)]
    )
    here = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(here, -1, 1)
    upper = np.stack([here[:-1], here[1:], right[1:]], -1).reshape(-1, 3)
    lower = np.stack([here[:-1], right[1:], right[:-1]], -1).reshape(-1, 3)
    vertices = places.reshape(3, -1).T.astype(np.float32)
    attributes = 0.5 + 0.5 * np.sin(vertices @ np.arange(3.0 * CHANNELS).reshape(3, -1)).astype(np.float32)
    return vertices, np.concatenate([upper, lower]).astype(np.int32), attributes


@pytest.mark.parametrize("size", [120, 800])
@pytest.mark.parametrize("peer", ["frnet", "frnet, 2 samples", "numpy"])
def test_flat(benchmark, head, peer, size):
    benchmark.group = f"rasterize {size} px, {CHANNELS} attributes"
    vertices, triangles, attributes = head
    pixels = (vertices * (1, -1, 1) * 0.48 + (0.5, 0.5, 0)) * size

    def ours(samples):
        seen = rasterize(
            pixels, triangles, size, size, attributes=attributes, cull=True, samples=samples, barycentrics=False
        )
        return seen.attributes, seen.coverage > 0

    contenders = {
        "frnet": lambda: ours(1),
        "frnet, 2 samples": lambda: ours(2),
        "numpy": lambda: plain_rasterize(pixels, triangles, size, size, attributes),
    }
    (image, seen), (plain, plain_seen) = contenders["frnet"](), contenders["numpy"]()
    assert (seen != plain_seen).mean() < 1e-3  # pixels on the outline
    # Corners are rounded to 1/256 of a pixel here, not there.
    assert np.quantile(np.abs(image - plain)[seen & plain_seen], 0.99) < 0.05
    run(benchmark, contenders, peer)


@pytest.mark.skipif(not hasattr(cv2, "triangleRasterize"), reason="OpenCV before 5 has no rasteriser")
@pytest.mark.parametrize("size", [120, 800])
@pytest.mark.parametrize("peer", ["frnet", "opencv"])
def test_in_perspective(benchmark, head, peer, size):
    benchmark.group = f"rasterize {size} px in perspective, colours"
    vertices, triangles, attributes = head
    colours = np.ascontiguousarray(attributes[:, :3])
    camera = np.eye(4, dtype=np.float32)
    camera[2, 3], field = -4, 0.6
    settings = cv2.TriangleRasterizeSettings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    inverse_depth = 1 / (4 - vertices[:, 2])
    focal = size / 2 / np.tan(field / 2)
    x, y = (size / 2 + sign * focal * vertices[:, k] * inverse_depth - 0.5 for k, sign in ((0, 1), (1, -1)))
    pixels = np.stack([x, y, vertices[:, 2]], 1).astype(np.float32)

    def opencv():
        image, depth = np.zeros((size, size, 3), np.float32), np.full((size, size), 100, np.float32)
        cv2.setNumThreads(1)
        cv2.triangleRasterize(vertices, triangles, colours, image, depth, camera[:3], field, 1, 100, settings)
        return image, depth < 99

    def ours():
        seen = rasterize(
            pixels, triangles, size, size, attributes=colours, inverse_depth=inverse_depth, barycentrics=False
        )
        return seen.attributes, seen.coverage > 0

    (image, seen), (theirs, theirs_seen) = ours(), opencv()
    assert (seen != theirs_seen).mean() < 1e-3
    assert np.quantile(np.abs(image - theirs)[seen & theirs_seen], 0.99) < 0.02
    run(benchmark, {"frnet": ours, "opencv": opencv}, peer)


def run(benchmark, contenders, peer):
    """Times one of them; the row of frnet also times all in turn, in seconds of this process."""
    benchmark(contenders[peer])
    benchmark.extra_info.update(peer=peer, threads=1)
    if peer != "frnet":
        return
    times = {name: [] for name in contenders}
    for _ in range(15):
        for name, function in contenders.items():
            begin = time.process_time()
            function()
            times[name].append(time.process_time() - begin)
    benchmark.extra_info["cpu_seconds"] = {name: statistics.median(values) for name, values in times.items()}
