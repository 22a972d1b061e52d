"""Mesh files: y up, normals outwards, vertices in their order, colours of the picture; read back by trimesh."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from frnet.align import face_mesh, save_mesh, vertex_colors

TRIANGLES = np.array([[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 1, 4]])


@pytest.fixture
def nose():
    """A pyramid that points at the viewer, in image coordinates (y down)."""
    return np.array([[50, 40, 30], [40, 30, 0], [60, 30, 0], [60, 50, 0], [40, 50, 0]], np.float32)


@pytest.fixture
def trimesh():
    return pytest.importorskip("trimesh", reason="pip install '.[test]'")


@pytest.mark.parametrize("triangles", [TRIANGLES, TRIANGLES[:, ::-1]])
def test_normals_point_outwards_whatever_the_winding(nose, triangles, trimesh):
    mesh = face_mesh(nose, triangles)
    assert (mesh.face_normals[:, 2] > 0).all()
    assert len(mesh.vertices) == 5


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".PLY"])
@pytest.mark.parametrize("colored", [True, False])
def test_files_read_back(tmp_path, rng, suffix, colored, trimesh):
    """Of many sizes and signs, every shade among the colours: exact in either format."""
    vertices = (rng.normal(size=(300, 3)) * 10.0 ** rng.integers(-6, 5, (300, 3))).astype(np.float32)
    triangles = rng.permutation(300).reshape(100, 3)
    colors = np.stack([np.arange(300) % 256, rng.integers(0, 256, 300), np.arange(300)[::-1] % 256], 1).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    save_mesh(path, vertices, triangles, colors if colored else None)
    mesh = trimesh.load(path, process=False, maintain_order=True, file_type=suffix[1:].lower())
    np.testing.assert_array_equal(np.float32(mesh.vertices), vertices * np.float32([1, -1, 1]))
    assert any(np.array_equal(mesh.faces, order) for order in (triangles, triangles[:, ::-1]))
    assert (mesh.visual.kind == "vertex") is colored
    if colored:
        np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_files_show_the_face_upright(tmp_path, nose, suffix, trimesh):
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :, 2] = 200  # red
    image[:45, :, 0] = 100
    save_mesh(tmp_path / f"a{suffix}", nose, TRIANGLES, vertex_colors(image, nose))
    mesh = trimesh.load(tmp_path / f"a{suffix}", process=False, maintain_order=True)
    assert (mesh.face_normals[:, 2] > 0).all()
    np.testing.assert_array_equal(mesh.visual.vertex_colors[0, :3], [200, 0, 100])
    np.testing.assert_array_equal(mesh.visual.vertex_colors[4, :3], [200, 0, 0])


def test_the_obj_format_word_for_word(tmp_path, nose):
    save_mesh(tmp_path / "a.obj", nose[:3], TRIANGLES[:1], np.uint8([[255, 0, 51]] * 3))
    corners = ["v 50 -40 30 1.0000 0.0000 0.2000", "v 40 -30 0 1.0000 0.0000 0.2000", "v 60 -30 0 1.0000 0.0000 0.2000"]
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert lines[:3] == corners
    assert re.fullmatch(r"f (1 2 3|2 3 1|3 1 2|3 2 1|2 1 3|1 3 2)", lines[3])


def test_files_need_no_trimesh(tmp_path, nose, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    save_mesh(tmp_path / "a.ply", nose, TRIANGLES)
    with pytest.raises(ImportError, match=r"face_mesh needs trimesh .*pip install 'frnet\[mesh\]'"):
        face_mesh(nose, TRIANGLES)


def test_colours_outside_the_image_are_those_of_its_border():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    points = np.array([[-5, -5, 0], [1e9, 0, 0], [0.4, 0.6, 0], [np.nan, 0, 0]])
    np.testing.assert_array_equal(vertex_colors(image, points)[:, 2], [0, 3, 6, 0])


def test_what_is_no_mesh(tmp_path, nose):
    with pytest.raises(ValueError, match=r"triangles must be \[T, 3\] with T >= 1, got \[0, 3\]"):
        face_mesh(nose, np.empty((0, 3), int))
    with pytest.raises(ValueError, match="refer to vertices 0 to 5, there are 5"):
        face_mesh(nose, np.array([[0, 1, 5]]))
    with pytest.raises(ValueError, match=r"a\.stl must end in .obj or .ply"):
        save_mesh(tmp_path / "a.stl", nose, TRIANGLES)
    with pytest.raises(ValueError, match=r"save_mesh: vertices must be \[N, 3\] and finite"):
        save_mesh(tmp_path / "a.ply", nose * np.nan, TRIANGLES)
    with pytest.raises(ValueError, match=r"save_mesh: colors must be uint8 \[5, 3\], got \[4, 3\]"):
        save_mesh(tmp_path / "a.ply", nose, TRIANGLES, np.zeros((4, 3), np.uint8))
    assert not list(tmp_path.iterdir())
