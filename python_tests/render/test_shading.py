"""Light on vertices, against the same formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.datasets.faces.light import draw_lights
from frnet.morphable import MorphableModel
from frnet.render.shading import MeshLights, shade_mesh

_CELLS, _CELL, _BIAS = 72, 0.55, 1.2
_TAPS = ((0.0, 0.0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))


@pytest.fixture(scope="module")
def face():
    model = MorphableModel.builtin()
    rng = np.random.default_rng(4)
    coefficients = rng.standard_normal((3, 50)).astype(np.float32)
    vertices = (model.mean.numpy() + coefficients @ model.basis.numpy().T).reshape(3, -1, 3)
    return vertices, model.triangles.numpy(), rng


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    summed = np.zeros(vertices.shape)
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    for corner in range(3):
        np.add.at(summed, triangles[:, corner], np.cross(b - a, c - a))
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


def hidden_by_others(vertices: np.ndarray, direction: np.ndarray, casters: np.ndarray) -> np.ndarray:
    helper = np.array([0, 1, 0]) if abs(direction[1]) < 0.9 else np.array([1, 0, 0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    place = vertices @ np.stack([right, np.cross(direction, right)], 1) / _CELL + _CELLS / 2
    depth = vertices @ direction
    nearest = np.full((_CELLS, _CELLS), -1e9)
    cell = place[casters].clip(0, _CELLS - 1).astype(int)
    np.maximum.at(nearest, (cell[:, 1], cell[:, 0]), depth[casters])
    taps = [(place + np.array(tap)).clip(0, _CELLS - 1).astype(int) for tap in _TAPS]
    return np.mean([nearest[tap[:, 1], tap[:, 0]] > depth + _BIAS for tap in taps], axis=0)


def expected(vertices, triangles, albedo, lights: MeshLights, n, roughness, shine, casters):
    normals = normals_of(vertices, triangles) + roughness
    extended = np.concatenate([normals, np.ones((len(normals), 1))], 1)
    ambient = np.maximum(np.einsum("vi,ij,vj->v", extended, lights.ambient[n], extended), 0.02)
    direction = lights.direction[n].astype(np.float64)
    facing = normals @ direction
    visible = (facing > 0) * (1 - lights.shadow[n] * hidden_by_others(vertices, direction, casters))
    half = direction + np.array([0, 0, 1])
    spread = (normals @ (half / np.linalg.norm(half))).clip(0, 1)
    gloss = spread ** lights.sharpness[n] * visible * lights.shine[n] * shine
    diffuse = lights.tint[n] * ambient[:, None] + lights.lamp[n] * (facing.clip(0) * visible)[:, None]
    return albedo * diffuse + gloss[:, None] * lights.lamp[n], diffuse


def test_against_the_formula(face):
    vertices, triangles, rng = face
    count = vertices.shape[1]
    lights = draw_lights(rng, 3, True)
    lights.shadow[:] = [0, 0.5, 0.9]
    lights.shine[:] = [0.1, 0, 0.2]
    albedo = rng.random(vertices.shape, np.float32)
    roughness = rng.normal(0, 0.1, vertices.shape).astype(np.float32)
    shine = rng.random(count, np.float32)
    casters = rng.random(count) < 0.5
    seen = shade_mesh(
        vertices, triangles, albedo, lights.rows(), roughness=roughness, shine=shine, casters=casters, diffuse=True
    )
    for n in range(3):
        colours, diffuse = expected(vertices[n], triangles, albedo[n], lights, n, roughness[n], shine, casters)
        # A tap on the border of two cells may fall on either side.
        assert (np.abs(seen.colours[n] - colours).max(1) < 1e-4).mean() > (0.999 if n else 0.99999)
        assert (np.abs(seen.diffuse[n] - diffuse).max(1) < 1e-4).mean() > (0.999 if n else 0.99999)


def test_seen_from_both_sides(face):
    vertices, triangles, rng = face
    lights = draw_lights(rng, 3, False).rows()
    white = np.ones_like(vertices)
    both = shade_mesh(vertices, triangles, white, lights, two_sided=True).colours
    turned = shade_mesh(vertices, triangles[:, ::-1], white, lights, two_sided=True).colours
    np.testing.assert_allclose(both, turned, atol=1e-5)
    assert not np.allclose(both, shade_mesh(vertices, triangles, white, lights).colours)


def test_what_does_not_fit(face):
    vertices, triangles, rng = face
    lights, white = draw_lights(rng, 3, False).rows(), np.ones_like(vertices)
    for change, message in (
        ({"lights": lights[:2]}, r"lights must be \[batch, 22\]"),
        ({"albedo": white[:, :5]}, r"albedo must be \[batch, vertices, 3\]"),
        ({"triangles": triangles + len(white[0])}, "a triangle names a vertex that is none"),
        ({"vertices": vertices[0]}, r"vertices must be \[batch, vertices, 3\]"),
        ({"shine": np.ones(4)}, r"shine must be \[vertices\]"),
    ):
        given = {"vertices": vertices, "triangles": triangles, "albedo": white, "lights": lights} | change
        with pytest.raises(ValueError, match=message):
            shade_mesh(**given)
    assert shade_mesh(vertices[:0], triangles, white[:0], lights[:0]).colours.shape == (0, *vertices.shape[1:])
