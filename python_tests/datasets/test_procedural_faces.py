"""Rendered faces: where the label says, and the same in every process."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import torch
from support.labels import landmarks_of

from frnet import geometry, ops
from frnet.datasets import FaceRanges, ProceduralFaces
from frnet.morphable import MorphableModel, procedural_face
from frnet.render import faces as render_module
from frnet.render.faces import FaceRenderer


@pytest.fixture(scope="module")
def faces():
    return ProceduralFaces(40)


def vertices_of(faces, sample):
    """[N, 3] in pixels of the crop, through the package's op."""
    model = faces.morphable
    vertices = ops.reconstruct_vertices(sample.params[None], model)[0].double().numpy()
    return np.column_stack([vertices[:, 0] - 1, 120 - vertices[:, 1], vertices[:, 2]])


def test_landmarks_are_the_labels(faces):
    for index in range(10):
        sample = faces[index]
        got = landmarks_of(faces.morphable, sample.params)
        np.testing.assert_allclose(got, sample.landmarks.numpy(), rtol=0, atol=1e-3)
        np.testing.assert_allclose(
            vertices_of(faces, sample)[faces.morphable.landmarks, :2], sample.landmarks.numpy(), rtol=0, atol=1e-3
        )


def test_the_face_is_drawn_where_the_label_is(faces, monkeypatch):
    """Against OpenCV's polygons of the triangles that face the viewer."""
    monkeypatch.setattr(render_module, "_background", lambda size, rng: np.zeros((size, size, 3), np.float32))
    monkeypatch.setattr(FaceRenderer, "_colours", lambda self, rng: np.full((3317, 3), 255, np.float32))
    monkeypatch.setattr(FaceRenderer, "_light", lambda self, normals, rng: np.float32(1))
    triangles = faces.morphable.triangles.numpy()
    for index in range(12):
        sample = faces[index]
        corners = vertices_of(faces, sample)[triangles][:, :, :2]
        (x1, y1), (x2, y2) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        wanted = np.zeros((480, 480), np.uint8)  # four times as large, so that a polygon's border counts little
        for triangle in corners[x1 * y2 - y1 * x2 < 0]:  # y is down
            cv2.fillPoly(wanted, [np.rint((triangle * 4 + 1.5) * 16).astype(np.int32)], 255, shift=4)
        wanted = cv2.resize(wanted, (120, 120), interpolation=cv2.INTER_AREA) > 127
        drawn = sample.image.numpy()[..., 0] > 127
        assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.97
        y, x = np.mgrid[:120, :120]
        centres = [(x[mask].mean(), y[mask].mean()) for mask in (drawn, wanted)]
        np.testing.assert_allclose(*centres, atol=0.2)


def test_eyes_are_dark_where_their_landmarks_are(faces):
    """Seen from the front, the iris is darker than the white of its eye, and that is where the landmarks say."""
    frontal = ProceduralFaces(30, ranges=FaceRanges(yaw=15, pitch=10, roll=10))
    darker = 0
    for index in range(30):
        sample = frontal[index]
        grey = cv2.GaussianBlur(sample.image.numpy().mean(-1).astype(np.float32), (3, 3), 0)
        eye = sample.landmarks[42:48].numpy()
        centre, corners = eye.mean(0), eye[[0, 3]]
        beside = [(centre + 3 * corner) / 4 for corner in corners]
        values = [cv2.getRectSubPix(grey, (1, 1), tuple(map(float, place)))[0, 0] for place in (centre, *beside)]
        darker += values[0] < max(values[1:])
    assert darker >= 24


def test_faces_fill_the_crop_as_3ddfas_rule_wants():
    exact = ProceduralFaces(20, ranges=FaceRanges(shift=0, scale=0))
    for index in range(20):
        roi = geometry.roi_from_landmarks(exact[index].landmarks.numpy())
        np.testing.assert_allclose(roi, [0, 0, 120, 120], atol=1e-3)


def test_ranges_are_kept_and_reached():
    ranges = FaceRanges(yaw=50, pitch=10, roll=20, shift=0.05, scale=0.1, coefficients=0.5)
    faces = ProceduralFaces(400, ranges=ranges)
    labels = np.stack([faces._source.label(index)[0] for index in range(400)])
    largest = np.abs(geometry.pose_angles(labels)).max(0)
    for got, wanted in zip(largest, (50, 10, 20), strict=True):
        assert 0.95 * wanted < got <= wanted + 1e-6
    assert np.abs(labels[:, 12:].std(0) - 0.5).max() < 0.08
    boxes = np.stack([np.ptp(faces._source.label(index)[1], axis=0).max() for index in range(400)])
    assert 0.9 - 1e-6 <= (boxes / (120 / np.sqrt(2))).min() < 0.91
    assert 1.09 < (boxes / (120 / np.sqrt(2))).max() <= 1.1 + 1e-6


def test_the_whitening_is_that_of_the_labels(faces):
    assert faces.morphable.whitening == "custom"
    labels = np.stack([faces._source.label(index)[0] for index in range(2000, 4000)])
    whitened = faces.morphable.whiten(labels)
    assert np.abs(whitened.mean(0)).max() < 0.15
    assert np.abs(whitened.std(0) - 1).max() < 0.1
    # Another data set with these ranges has the very same one, one with other ranges has not.
    other = ProceduralFaces(1, data_seed=9).morphable
    assert torch.equal(other.param_mean, faces.morphable.param_mean)
    assert not torch.equal(ProceduralFaces(1, ranges=FaceRanges(yaw=10)).morphable.param_std, other.param_std)


def test_numbers_and_seeds(faces):
    again, other = ProceduralFaces(20), ProceduralFaces(20, data_seed=1)
    for index in (0, 19):
        assert torch.equal(again[index].image, faces[index].image)
        assert torch.equal(again[index].params, faces[index].params)
        assert not torch.equal(other[index].image, faces[index].image)
    sent = pickle.loads(pickle.dumps(faces))
    assert torch.equal(sent[7].image, faces[7].image)
    assert faces.name(3) == "face 3"


def test_a_cache_holds_the_same_pictures(tmp_path, faces):
    """Drawn by processes of their own, which get 64 faces at a time."""
    seen = []
    kept = ProceduralFaces(70, cache=tmp_path, workers=2, progress=lambda *done: seen.append(done))
    assert seen == [(64, 70), (70, 70)]
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert np.load(files[0], mmap_mode="r").shape == (70, 120, 120, 3)
    for index in (0, 13, 39):
        for one, other in zip(kept[index], faces[index], strict=True):
            assert torch.equal(one, other)
    ProceduralFaces(70, cache=tmp_path, progress=lambda *done: seen.append(done))
    assert len(seen) == 2  # found
    ProceduralFaces(10, cache=tmp_path, data_seed=1)
    ProceduralFaces(10, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(pickle.dumps(kept)) < len(pickle.dumps(faces)) + 1000


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        ProceduralFaces(1, cache=tmp_path / "file")


def test_any_model_with_triangles(shared):
    grid = MorphableModel.from_3ddfa_grid(
        shared / "3ddfa/bfm_grid64_basis.npz", shared / "3ddfa/landmark_basis", expression="landmarks"
    )
    faces = ProceduralFaces(4, grid)
    assert faces.morphable is grid  # it has its whitening
    for index in range(4):
        np.testing.assert_allclose(
            landmarks_of(grid, faces[index].params), faces[index].landmarks.numpy(), rtol=0, atol=2e-3
        )
    half = ProceduralFaces(1, procedural_face().truncate(5, 2), size=64)
    assert half[0].image.shape == (64, 64, 3)
    assert half[0].params.shape == (19,)


def test_what_cannot_be_drawn():
    model = procedural_face()
    bare = MorphableModel(model.mean, model.basis_shape, model.basis_expression, landmarks=model.landmarks)
    with pytest.raises(ValueError, match="expected a model with triangles"):
        FaceRenderer(bare)
    with pytest.raises(ValueError, match="ProceduralFaces: expected a model with 68 landmarks"):
        ProceduralFaces(3, model.subset(range(3249)))
    with pytest.raises(ValueError, match="at least one face, got 0"):
        ProceduralFaces(0)
    for name, value in (("yaw", -1), ("shift", 1.2), ("scale", 0.95), ("coefficients", float("nan"))):
        with pytest.raises(ValueError, match=f"FaceRanges: {name} must be from 0 to"):
            FaceRanges(**{name: value})
