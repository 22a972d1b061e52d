"""Pictures in, landmarks and vertices out, by a session alone."""

from __future__ import annotations

import numpy as np
import pytest

from frnet import _core, geometry
from frnet.align import FaceAligner, read_image
from frnet.morphable import MorphableModel
from frnet.ops import reconstruct_vertices
from frnet.runtime import Session
from frnet.weights import builtin_weights


@pytest.fixture(scope="module")
def session():
    return Session(builtin_weights()["small"])


def picture(height=90, width=130):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_it_is_what_the_aligner_gives(session):
    image = picture(480, 640)
    rois = np.array([[100.4, 90.6, 300.4, 290.6], [-40.5, -20.0, 200.5, 221.0]])
    faces = FaceAligner("small", detector=None)(image, rois=rois)
    found = session.align(image, rois)
    for index, face in enumerate(faces):
        np.testing.assert_allclose(found.params[index], face.params, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.landmarks[index], face.landmarks, atol=0.01)
        np.testing.assert_allclose(found.vertices[index], face.vertices, atol=0.01)
    assert session.align(image, np.zeros((0, 4))).landmarks.shape == (0, 68, 3)


@pytest.mark.parametrize("size", [64, 120])
def test_crops_are_those_of_opencv(size):
    random = np.random.default_rng(size)
    differing = []
    for _ in range(60):
        image = picture(*random.integers(5, 400, 2))
        side = random.uniform(3, 600)
        corner = random.uniform(-0.8, 0.9, 2) * side
        roi = np.concatenate([corner, corner + side])
        if not geometry.roi_is_valid(roi, image.shape[1], image.shape[0]):
            continue
        wanted = geometry.crop(image, roi, size)
        corners = np.rint(roi).astype(np.int64)[None]
        seen = _core.crop(image, corners, size, 0.0, 1.0)[0].transpose(1, 2, 0)
        assert np.abs(seen - wanted).max() <= 1
        differing.append((seen != wanted).mean())
        np.testing.assert_array_equal(
            _core.crop(image, corners, size, 0.0, 1.0, True)[0][::-1], seen.transpose(2, 0, 1)
        )
    assert len(differing) > 20
    assert np.mean(differing) < 0.005


def test_pictures_of_any_strides(session):
    image, rois = picture(), [[10, 10, 80, 80]]
    wanted = session.align(image, rois).landmarks
    wide = np.zeros((90, 260, 3), np.uint8)
    wide[:, ::2] = image
    for same in (wide[:, ::2], np.ascontiguousarray(image[::-1])[::-1], np.asfortranarray(image)):
        np.testing.assert_array_equal(session.align(same, rois).landmarks, wanted)


@pytest.mark.parametrize(
    ("image", "rois", "error"),
    [
        (np.zeros((9, 9, 3), np.float32), [[0, 0, 5, 5]], TypeError),
        (np.zeros((9, 9), np.uint8), [[0, 0, 5, 5]], ValueError),
        (np.zeros((0, 9, 3), np.uint8), [[0, 0, 5, 5]], ValueError),
        (np.zeros((9, 9, 3), np.uint8), [0, 0, 5, 5], ValueError),
        (np.zeros((9, 9, 3), np.uint8), [[0, 0, 0, 5]], ValueError),
        (np.zeros((9, 9, 3), np.uint8), [[20, 20, 30, 30]], ValueError),
        (np.zeros((9, 9, 3), np.uint8), [[0, 0, np.nan, 5]], ValueError),
        (np.zeros((9, 9, 3), np.uint8), [[0, 0, 1e30, 5]], ValueError),
    ],
)
def test_what_is_none(session, image, rois, error):
    with pytest.raises(error, match="Session"):
        session.align(image, rois)


def test_another_face_model(tmp_path):
    path = tmp_path / "face.safetensors"
    MorphableModel.builtin("multi-pie").save(path)
    session = Session(builtin_weights()["small"], morphable=path)
    found, usual = (one.align(picture(), [[0, 0, 90, 90]]) for one in (session, Session(builtin_weights()["small"])))
    np.testing.assert_allclose(found.vertices[..., :2], usual.vertices[..., :2], atol=1e-3)
    assert np.abs(found.landmarks - usual.landmarks).max() > 1
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"face\.safetensors"):
        Session(builtin_weights()["small"], morphable=path).align(picture(), [[0, 0, 90, 90]])


def test_vertices_are_those_of_the_op():
    import torch

    model = MorphableModel.builtin()
    params = torch.randn(3, 62, generator=torch.Generator().manual_seed(0))
    basis = model.basis.numpy().reshape(-1, 3, 50)
    indices = model.landmarks.numpy()
    vertices = _core.reconstruct_vertices(params.numpy(), model.mean.numpy().reshape(-1, 3), basis)
    np.testing.assert_allclose(vertices, reconstruct_vertices(params, model).numpy(), rtol=1e-6, atol=1e-5)
    some = _core.reconstruct_vertices(params.numpy(), model.mean.numpy().reshape(-1, 3), basis, indices)
    np.testing.assert_array_equal(some, vertices[:, indices])
    with pytest.raises(ValueError, match="out of range"):
        _core.reconstruct_vertices(params.numpy(), model.mean.numpy().reshape(-1, 3), basis, np.array([99_999]))


def test_read_image_feeds_it(session, tmp_path):
    import cv2

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture())
    assert session.align(read_image(path), [[0, 0, 90, 90]]).params.shape == (1, 62)
