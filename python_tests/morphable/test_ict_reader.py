"""ICT Face Model Light: the published folder and the npz of it."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from frnet.morphable import MorphableModel
from frnet.morphable.ict_facekit import read_obj


@pytest.fixture(scope="module")
def whole(shared):
    return MorphableModel.from_ict_facekit(shared / "ict-facekit/ict_face_model_light.npz")


@pytest.fixture(scope="module")
def part(shared):
    return MorphableModel.from_ict_facekit(shared / "ict-facekit/FaceXModel")


def test_npz(shared, whole):
    stored = np.load(shared / "ict-facekit/ict_face_model_light.npz")
    assert whole.num_vertices == 26719
    assert (whole.layout.num_shape, whole.layout.num_expression) == (100, 57)
    assert whole.expression_names == tuple(stored["expression_names"])
    assert whole.shape_names[0] == "identity000"
    np.testing.assert_array_equal(whole.mean.reshape(-1, 3), stored["neutral"])
    np.testing.assert_array_equal(whole.basis_shape[:, 7].reshape(-1, 3), stored["identity"][7])
    np.testing.assert_array_equal(whole.basis_expression[:, 56].reshape(-1, 3), stored["expression"][56])
    assert whole.landmarks.tolist() == stored["landmarks68"].tolist()
    assert whole.whitening is None


def test_quads_become_triangles(shared, whole):
    faces = np.load(shared / "ict-facekit/ict_face_model_light.npz")["faces"]
    assert whole.triangles.shape[0] == len(faces) + (faces[:, 3] >= 0).sum()
    triangles = whole.triangles.numpy()
    quad = faces[np.flatnonzero(faces[:, 3] >= 0)[0]]
    at = int(np.flatnonzero((triangles == quad[:3]).all(1))[0])
    assert triangles[at + 1].tolist() == quad[[0, 2, 3]].tolist()
    # Counter-clockwise from outside: the volume is positive, and the nose tip faces the viewer.
    corners = whole.mean.double().numpy().reshape(-1, 3)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((corners[:, 0] - corners.mean((0, 1))) * normals).sum() > 0
    nose = int(whole.landmarks[30])
    assert (normals[(triangles == nose).any(1), 2] > 0).all()


def test_axes_and_landmark_order(whole):
    points = whole.landmark_model().mean.reshape(68, 3)
    assert points[0, 0] < 0 < points[16, 0]  # the jaw runs from the viewer's left to the right
    assert points[8, 1] < points[30, 1] < points[27, 1]  # chin, nose tip, nose bridge: y up
    assert points[30, 2] == points[:, 2].max()  # the nose tip is nearest to the viewer


def test_the_folder_gives_what_the_npz_gives(whole, part):
    assert part.shape_names == ("identity000", "identity001")
    assert part.expression_names == ("jawOpen", "mouthSmile_L")
    np.testing.assert_allclose(part.mean, whole.mean, rtol=0, atol=1e-6)
    assert (part.triangles == whole.triangles).all()
    assert (part.landmarks == whole.landmarks).all()
    np.testing.assert_allclose(part.basis_shape, whole.basis_shape[:, :2], rtol=2**-11, atol=1e-5)  # float16 npz
    chosen = [whole.expression_names.index(name) for name in part.expression_names]
    np.testing.assert_allclose(part.basis_expression, whole.basis_expression[:, chosen], rtol=2**-11, atol=1e-5)


def test_a_partial_folder_says_what_it_read(shared, caplog):
    with caplog.at_level(logging.WARNING, "frnet.morphable"):
        MorphableModel.from_ict_facekit(shared / "ict-facekit/FaceXModel")
    assert "['identity000', 'identity001']" in caplog.text
    assert "['jawOpen', 'mouthSmile_L']" in caplog.text
    assert "98 of 100 identities, 51 of 53" in caplog.text


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # trimesh, on the materials that are absent
def test_obj_agrees_with_an_independent_reader(shared):
    trimesh = pytest.importorskip("trimesh")
    path = shared / "ict-facekit/FaceXModel/jawOpen.obj"
    vertices, faces = read_obj(path)
    mesh = trimesh.load(path, force="mesh", process=False, maintain_order=True, skip_materials=True)
    other = np.unique(np.asarray(mesh.vertices).round(5), axis=0)
    np.testing.assert_allclose(np.unique(vertices[np.unique(faces[faces >= 0])].round(5), axis=0), other, atol=1e-5)
    assert len(mesh.faces) == len(faces) + (faces[:, 3] >= 0).sum()


@pytest.fixture
def small(tmp_path):
    """A folder of the published form with four vertices."""
    head = "# comment\nmtllib x.mtl\n"
    body = "vt 0 0\nusemtl a\nf 1/1 2/1 3/1 4/1\nf 1 2 3\n"

    def mesh(name, points):
        rows = "".join("v " + " ".join(map(str, p)) + "\n" for p in points)
        (tmp_path / name).write_text(head + rows + body)

    neutral = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    mesh("generic_neutral_mesh.obj", neutral)
    mesh("identity000.obj", neutral + 0.5)
    mesh("jawOpen.obj", neutral * [1, 2, 1])
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"expressions": [], "idx_to_landmark_verts": [2, 0]}))
    return tmp_path


def test_small_folder(small):
    model = MorphableModel.from_ict_facekit(small)
    assert model.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert model.landmarks.tolist() == [2, 0]
    np.testing.assert_allclose(model.basis_shape[:, 0], 0.5)
    np.testing.assert_allclose(model.basis_expression[:, 0].reshape(4, 3)[:, 1], [0, 0, 1, 1])
    (small / "jawOpen.obj").unlink()
    assert MorphableModel.from_ict_facekit(small).layout.num_expression == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generic_neutral_mesh.obj", None, r"missing .*generic_neutral_mesh\.obj"),
        ("vertex_indices.json", None, r"missing .*vertex_indices\.json"),
        ("vertex_indices.json", "{}", r"vertex_indices\.json: expected JSON with idx_to_landmark_verts"),
        ("vertex_indices.json", "{", r"vertex_indices\.json: expected JSON"),
        (
            "vertex_indices.json",
            '{"idx_to_landmark_verts": [4]}',
            r"landmarks \(from .*json\): .*0 to 3, got 4",
        ),
        ("identity000.obj", "v 0 0 0\n", r"identity000\.obj: expected 4 vertices, as generic.* has, got 1"),
        ("identity000.obj", "v 0 0\n" * 4, r"identity000\.obj: expected vertices of three numbers"),
        ("identity000.obj", "v 0 0 x\n" * 4, r"identity000\.obj: a vertex that is not three numbers"),
        (
            "generic_neutral_mesh.obj",
            "v 0 0 0\nf 1 2\n",
            r"generic_neutral_mesh\.obj: expected a face of three",
        ),
        ("generic_neutral_mesh.obj", "", r"generic_neutral_mesh\.obj: expected vertices"),
        (
            "generic_neutral_mesh.obj",
            "v 0 0 0\n" * 4 + "f 1 2 9\n",
            r"triangles \(from .*mesh\.obj\): .*got 0 to 8",
        ),
    ],
)
def test_a_damaged_folder(small, name, content, message):
    path = small / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        MorphableModel.from_ict_facekit(small)


def test_a_damaged_npz(shared, tmp_path):
    path = tmp_path / "ict.npz"
    with pytest.raises(FileNotFoundError):
        MorphableModel.from_ict_facekit(path)
    np.savez(path, neutral=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"ict\.npz: .*missing identity"):
        MorphableModel.from_ict_facekit(path)
    shutil.copyfile(shared / "ict-facekit/FaceXModel/vertex_indices.json", path)
    with pytest.raises(ValueError, match=r"ict\.npz"):
        MorphableModel.from_ict_facekit(path)


def test_the_folder_one_level_up(shared, tmp_path):
    whole = MorphableModel.from_ict_facekit(shared / "ict-facekit")  # holds the npz beside FaceXModel
    assert (whole.layout.num_shape, whole.layout.num_expression) == (100, 57)
    (tmp_path / "FaceXModel").symlink_to(shared / "ict-facekit" / "FaceXModel")
    part = MorphableModel.from_ict_facekit(tmp_path)
    assert part.num_vertices == whole.num_vertices
