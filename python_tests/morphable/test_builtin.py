"""The face that the package brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import frnet.morphable
from frnet.datasets import find_mirror
from frnet.morphable import LANDMARK_MIRROR, MorphableModel
from frnet.morphable.builtin import builtin_parts

DATA = Path(frnet.morphable.__file__).parent / "data"
FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def face() -> MorphableModel:
    return MorphableModel.builtin()


@pytest.fixture(scope="module")
def points(face) -> np.ndarray:
    return face.mean.double().numpy().reshape(-1, 3)


def test_what_it_has(face):
    assert (face.layout.num_shape, face.layout.num_expression, face.num_params) == (40, 10, 62)
    assert 5000 <= face.num_vertices <= 12000
    assert len(set(face.expression_names)) == 10
    assert (face.whitening, face.dtype) == ("custom", torch.float32)
    assert len(set(face.landmarks.tolist())) == 68


def test_its_size_and_licence():
    assert (DATA / "builtin_face.safetensors").stat().st_size < 4e6
    assert "Permission is hereby granted, free of charge" in (DATA / "LICENSE.ICT-FaceKit").read_text()
    assert "USC Institute for\nCreative Technologies" in (DATA / "builtin_face.md").read_text()


def test_one_face_per_definition_of_landmarks(face):
    other = MorphableModel.builtin(landmarks="multi-pie")
    assert torch.equal(other.mean, face.mean)
    assert torch.equal(other.basis, face.basis)
    moved = (other.mean.reshape(-1, 3)[other.landmarks] - face.mean.reshape(-1, 3)[face.landmarks]).norm(dim=1)
    assert moved[:17].max() > 2  # the jaw lies centimetres further back
    assert moved[36:48].max() < 0.2  # eyes are eyes
    with pytest.raises(ValueError, match="landmarks must be one of '300w-lp', 'multi-pie', got 'ibug'"):
        MorphableModel.builtin("ibug")


@pytest.mark.parametrize("landmarks", ["300w-lp", "multi-pie"])
def test_landmarks_are_in_the_fields_order(landmarks):
    face = MorphableModel.builtin(landmarks)
    at = face.mean.double().numpy().reshape(-1, 3)[face.landmarks.numpy()]
    np.testing.assert_allclose(at[LANDMARK_MIRROR] * FLIP, at, atol=0.01)
    assert (np.diff(at[:17, 0]) > 0).all()  # the jaw, from the viewer's left
    assert at[:17, 1].argmin() == 8
    assert at[30, 2] == at[:, 2].max()  # the tip of the nose
    assert at[36:42, 0].max() < 0 < at[42:48, 0].min()
    assert at[17:27, 1].min() > at[36:48, 1].max() > at[27:36, 1].mean() > at[48:68, 1].max()
    assert (at[[61, 62, 63], 1] > at[[67, 66, 65], 1]).all()  # the upper lip above the lower


def test_jaw_opens_downwards_and_lips_part(face):
    move = face.basis_expression.numpy().reshape(-1, 3, 10)[face.landmarks.numpy()]
    jaw = move[:, 1, face.expression_names.index("jaw open")]
    assert jaw[[8, 66]].max() < -0.5
    assert abs(jaw[62]) < 0.1
    lids = move[:, 1, face.expression_names.index("eyes closed")]
    assert lids[[37, 38, 43, 44]].max() < -0.1
    smile = move[:, :, face.expression_names.index("smile")]
    assert smile[54, 0] > 0.1 > -0.1 > smile[48, 0]
    assert smile[[48, 54], 1].min() > 0.1
    sideways = move[:, 0, face.expression_names.index("mouth sideways")]
    assert sideways[48:].min() > 0.05


def test_triangles_look_outwards(face, points):
    """From the inside of the head, every part of the skin's front is seen from behind."""
    triangles = face.triangles.numpy()
    parts = builtin_parts().parts
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    middle = (a + b + c) / 3
    skin = (parts[triangles] == 0).all(1)
    forehead = skin & (middle[:, 1] > 6) & (np.abs(middle[:, 0]) < 6)
    outwards = ((middle - [0, 2, 0]) * normals).sum(1)
    assert (outwards[forehead] > 0).all()
    assert (outwards[skin] > 0).mean() > 0.85  # but for ears, nostrils and lips


def test_the_mesh_is_clean(face, points):
    """No edge has more than two triangles, none is walked twice in one direction, no triangle lacks area."""
    triangles = face.triangles.numpy()
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert (np.unique(np.sort(edges, 1), axis=0, return_counts=True)[1] <= 2).all()
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-6
    assert len(np.unique(triangles)) == face.num_vertices


def test_its_border_is_one_line(face):
    """About the face skin ends at one closed line, which touches itself nowhere."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    parts, triangles = builtin_parts().parts, face.triangles.numpy()
    names = builtin_parts().names
    inner = [
        names.index(name) for name in ("gums", "tongue", "teeth", "left eye", "right eye", "left iris", "right iris")
    ]
    triangles = triangles[~np.isin(parts, inner)[triangles].any(1)]
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    border = edges[uses == 1]
    graph = coo_matrix((np.ones(len(border)), (border[:, 0], border[:, 1])), (face.num_vertices, face.num_vertices))
    _, label = connected_components(graph, directed=False)
    sizes = np.bincount(label[np.unique(border)])
    ring = np.flatnonzero(label == sizes.argmax())
    assert sizes.max() > 150
    assert (np.bincount(border.reshape(-1), minlength=face.num_vertices)[ring] == 2).all()
    lengths = face.mean.reshape(-1, 3)[border[np.isin(border, ring).all(1)]].diff(dim=1).norm(dim=2)
    assert lengths.max() < 1.2  # centimetres


def test_it_mirrors(face):
    mirror = find_mirror(face)
    np.testing.assert_allclose(np.abs(np.diag(mirror.coefficients)), 1, atol=1e-2)


def test_deviation_of_coefficients_is_that_of_the_population(face, ict_facekit):
    """Fitted to faces of all of ICT-FaceKit's modes, they have mean and deviation of the whitening."""
    rows, neutral, modes = ict_facekit
    rng = np.random.default_rng(3)
    faces = rng.standard_normal((300, 100)) @ modes[:100] + neutral
    skin = np.repeat(builtin_parts().parts == 0, 3)
    basis, mean = face.basis.double().numpy()[skin], face.mean.double().numpy()[skin]
    fitted = np.linalg.lstsq(basis, (faces[:, skin] - mean).T, rcond=None)[0].T
    np.testing.assert_allclose(fitted[:, :40].std(0).mean(), 1, atol=0.1)
    assert np.abs(fitted[:, :40].mean(0)).max() < 0.4
    left = np.linalg.norm((fitted @ basis.T + mean - faces[:, skin]).reshape(300, -1, 3), axis=2)
    assert np.median(left) < 0.08  # centimetres
    assert rows == face.num_vertices


@pytest.fixture(scope="module")
def ict_facekit(shared) -> tuple[int, np.ndarray, np.ndarray]:
    """How many vertices the face has, and ICT-FaceKit's neutral face and modes on them, as they are mixed."""
    from scipy.sparse import csr_matrix

    import frnet.datasets.faces

    path = shared / "ict-facekit" / "ict_face_model_light.npz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with np.load(path) as stored, np.load(Path(frnet.datasets.faces.__file__).parent / "data" / "head.npz") as head:
        size = (len(head["indptr"]) - 1, len(stored["neutral"]))
        rows = csr_matrix((head["weights"], head["indices"], head["indptr"]), size)[: head["face"][0]]
        modes = np.stack([rows @ mode.astype(np.float32) for mode in stored["identity"]])
        return rows.shape[0], (rows @ stored["neutral"]).reshape(-1), modes.reshape(len(modes), -1)
