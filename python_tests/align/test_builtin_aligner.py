"""FaceAligner without arguments: weights, face and detector that come with frnet, and each of them alone."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from frnet.align import FaceAligner, read_image
from frnet.datasets import FaceRanges, ProceduralFaces
from frnet.evaluate import nme_percent
from frnet.models import Checkpoint, CheckpointError, create_model
from frnet.morphable import MorphableModel
from frnet.weights import builtin_weights

OPEN_DETECTOR = importlib.import_module("frnet.align.open_detector")  # the package has a function of this name
PORTRAIT = Path(__file__).parents[2] / "docs" / "assets" / "portrait.jpg"
# NME in percent, of faces that look within 30 degrees of straight ahead; no training face is drawn so plainly.
LARGEST_MEDIAN = {"builtin": 5.0, "small": 7.5}


@pytest.fixture(scope="module")
def drawn() -> ProceduralFaces:
    """Faces whose truth is known."""
    return ProceduralFaces(24, MorphableModel.builtin(), ranges=FaceRanges(yaw=30, pitch=15, roll=15), data_seed=3)


def whole(image: np.ndarray) -> list[list[float]]:
    return [[0.0, 0.0, *map(float, image.shape[1::-1])]]


@pytest.mark.parametrize("weights", list(builtin_weights()))
def test_landmarks_lie_near_the_truth(drawn, weights):
    aligner = FaceAligner(weights)
    faces = [drawn.read(index) for index in range(len(drawn))]
    found = aligner([face.image for face in faces], rois=[whole(face.image) for face in faces])
    errors = [nme_percent(got.landmarks, face.landmarks) for (got,), face in zip(found, faces, strict=True)]
    assert np.median(errors) < LARGEST_MEDIAN[weights]
    (got,) = found[0]
    assert got.landmarks.shape == (68, 3)
    assert got.vertices.shape == (MorphableModel.builtin().num_vertices, 3)


def test_what_the_defaults_are():
    aligner = FaceAligner()
    assert aligner.checkpoint.path == builtin_weights()["builtin"]
    assert aligner.whitening_source == f"checkpoint: {builtin_weights()['builtin']}"
    np.testing.assert_array_equal(aligner.triangles, MorphableModel.builtin().triangles.numpy())
    assert aligner.morphable.name == MorphableModel.builtin().name
    np.testing.assert_array_equal(aligner.morphable.param_std.numpy(), np.float32(aligner.checkpoint.whitening.std))


def test_the_whole_way_without_arguments():
    (face,) = FaceAligner()(PORTRAIT)
    assert face.score > 0.6
    assert face.reliability > 0.5
    assert face.box is not None
    nose, mouth, chin = face.landmarks[30], face.landmarks[[48, 54]].mean(0), face.landmarks[8]
    assert nose[1] < mouth[1] < chin[1]
    # Read off the picture: the tip of the nose, and half a face is some 90 pixels.
    np.testing.assert_allclose(nose[:2], [446, 374], atol=30)
    assert FaceAligner()(np.zeros((90, 120, 3), np.uint8)) == []


def test_the_detector_is_opened_when_it_is_needed(monkeypatch, yunet):
    opened = []

    def builtin(**settings):
        opened.append(settings)
        return yunet

    monkeypatch.setattr(OPEN_DETECTOR, "_builtin", builtin)
    aligner, photo = FaceAligner("small"), read_image(PORTRAIT)
    assert opened == []
    (face,) = aligner(photo)
    assert len(aligner(photo)) == 1
    assert opened == [{}]
    assert aligner.detector is yunet
    assert face.score > 0.8


def test_each_part_can_be_given_alone(files, grid, yunet, monkeypatch):
    photo = read_image(PORTRAIT)
    (builtin,) = FaceAligner(detector=files.yunet)(photo)
    (named,) = FaceAligner(morphable="builtin", detector=yunet)(photo)
    np.testing.assert_array_equal(named.landmarks, builtin.landmarks)
    monkeypatch.setattr(OPEN_DETECTOR, "_builtin", lambda: yunet)
    (face,) = FaceAligner(files.weights, grid)(photo)
    assert len(face.vertices) == grid.num_vertices
    with pytest.raises(ValueError, match="without a detector pass rois= or boxes="):
        FaceAligner(detector=None)(photo)


def test_a_face_that_the_weights_were_not_trained_for(grid, files):
    trained = r"mobile_frnet\.safetensors was trained with the basis .*, the one given is '3ddfa-grid'"
    with pytest.raises(CheckpointError, match=trained):
        FaceAligner(morphable=grid)
    with pytest.raises(
        ValueError, match=r"mb05.*\.pth needs its morphable model and does not say for which.*morphable="
    ):
        FaceAligner(files.weights)
    other = Checkpoint(create_model("mobilenet_v1", width=0.125)).trained_for(grid)
    with pytest.raises(
        ValueError, match=r"the mobilenet_v1 needs its morphable model and was trained for '3ddfa-grid'"
    ):
        FaceAligner(other)
    with pytest.raises(FileNotFoundError, match="did you mean 'builtin'"):
        FaceAligner("builtins")
