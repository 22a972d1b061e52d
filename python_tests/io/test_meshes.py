"""Mesh files: y up, normals outwards, vertices in their order, colours of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from frnet.align import face_mesh, save_mesh, vertex_colors

TRIANGLES = np.array([[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 1, 4]])


@pytest.fixture
def nose():
    """A pyramid that points at the viewer, in image coordinates (y down)."""
    return np.array([[50, 40, 30], [40, 30, 0], [60, 30, 0], [60, 50, 0], [40, 50, 0]], np.float32)


@pytest.mark.parametrize("triangles", [TRIANGLES, TRIANGLES[:, ::-1]])
def test_normals_point_outwards_whatever_the_winding(nose, triangles):
    mesh = face_mesh(nose, triangles)
    assert (mesh.face_normals[:, 2] > 0).all()
    assert len(mesh.vertices) == 5


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_files_read_back(tmp_path, nose, suffix):
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :, 2] = 200  # red
    image[:45, :, 0] = 100
    save_mesh(tmp_path / f"a{suffix}", nose, TRIANGLES, vertex_colors(image, nose))
    mesh = trimesh.load(tmp_path / f"a{suffix}", process=False, maintain_order=True)
    np.testing.assert_allclose(mesh.vertices, nose * [1, -1, 1], atol=1e-4)
    assert len(mesh.faces) == 4
    assert (mesh.face_normals[:, 2] > 0).all()
    np.testing.assert_array_equal(mesh.visual.vertex_colors[0, :3], [200, 0, 100])
    np.testing.assert_array_equal(mesh.visual.vertex_colors[4, :3], [200, 0, 0])


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
