"""Rendered faces: whether labels are where the pictures show them, and whether a store keeps them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from frnet import ops
from frnet.datasets import SyntheticFaces
from frnet.datasets.faces import scene
from frnet.datasets.faces.factory import BLOCK, FaceFactory, fit_pose
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.poses import PoseRanges, draw_rotations, place_in_crop
from frnet.datasets.faces.skin import Skin
from frnet.datasets.faces.store import FaceStore
from frnet.geometry import euler_from_rotation, roi_from_landmarks
from frnet.morphable import LANDMARK_MIRROR, MorphableModel
from frnet.render.shading import Shaded

_SPAN = 4.0  # centimetres, painted from dark to bright
PLAIN = {
    name: False
    for name in (
        *("brows_and_lips", "beard", "make_up", "wrinkles", "gaze", "hair", "hats", "glasses", "things", "torso"),
        *("shadows", "degradation", "patches"),
    )
}


@pytest.fixture(scope="module")
def ict(shared):
    path = shared / "ict-facekit" / "ict_face_model_light.npz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture(scope="module")
def factory(ict):
    return FaceFactory(ict)


@pytest.fixture(scope="module")
def store(factory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    kept = FaceStore.create(folder, 3 * BLOCK, factory.size, factory.head.points, {"seed": 5})
    for index in range(2):
        kept.write(index, factory.block(5, index))
    return folder


@pytest.mark.parametrize("degradation", [False, True])
def test_landmarks_are_seen_where_labels_say(ict, monkeypatch, degradation):
    """Each vertex painted with its own place: what is seen at a landmark's label is the landmark's place."""
    poses = PoseRanges(frontal=1, turned=0, pitch=8, roll=40)
    factory = FaceFactory(ict, None, Ingredients(poses=poses, **PLAIN))
    at = factory.head.neutral
    monkeypatch.setattr(scene, "shade_mesh", lambda vertices, triangles, albedo, lights, **_: Shaded(albedo, None))
    monkeypatch.setattr(scene, "_exposed", lambda rng, picture, shown: 255 * picture)
    if degradation:  # pictures of all sizes, otherwise as they are
        sides = np.rint(np.geomspace(90, 400, BLOCK))
        monkeypatch.setattr("frnet.datasets.faces.factory.draw_side", lambda *_: sides)
    for number, landmark in enumerate((30, 33, 27, 21, 22, 48, 54, 57)):
        place = at[factory.head.landmarks[landmark]]

        def paint(self, rng, count, place=place):
            return np.tile(((at - place) / _SPAN + 0.5).clip(0, 1)[None], (count, 1, 1)).astype(np.float32)

        monkeypatch.setattr(Skin, "paint", paint)
        block = factory.block(1, number)
        scale = block.sides / factory.size
        away = []
        for image, point, shift in zip(block.images, block.points[:, landmark], (1 - 1 / scale) / 2, strict=True):
            shown = (point[:2] - shift).reshape(1, 1, 2).astype(np.float32)  # where resizing puts a label position
            seen = cv2.remap(image.astype(np.float32), shown, None, cv2.INTER_LINEAR)[0, 0]
            away.append(np.linalg.norm(seen / 255 - 0.5) * _SPAN)
        away = np.array(away) * factory.size / np.sqrt(2) / 17  # a face is 17 cm long, and that part of the crop
        assert np.median(away) < 0.25  # pixels
        assert (away < 0.5).mean() > 0.8  # but for what is hidden, or lies beside an edge


def test_parameters_make_nearly_the_points(factory, store):
    faces = SyntheticFaces(store, mirrored=False)
    batch = [faces[index] for index in range(len(faces))]
    params, points = (torch.stack([getattr(sample, name) for sample in batch]) for name in ("params", "points"))
    placed = ops.reconstruct_vertices(params, faces.morphable.subset(faces.vertices)).numpy()
    across = np.stack([placed[..., 0] - 1, factory.size - placed[..., 1]], -1)
    away = np.linalg.norm(across - points[..., :2].numpy(), axis=2)
    assert away.mean() < 2.0  # pixels: perspective, and what 50 components lack
    assert torch.equal(points[:, :68, :2], torch.stack([sample.landmarks for sample in batch]))


def test_pose_is_found_exactly_where_there_is_one():
    rng = np.random.default_rng(0)
    model = rng.normal(0, 5, (6, 40, 3))
    rotation, scale = draw_rotations(rng, 6), rng.uniform(3, 7, 6)
    placed = scale[:, None, None] * model @ rotation.transpose(0, 2, 1) + rng.normal(60, 5, (6, 1, 3))
    points = np.stack([placed[..., 0] - 1, 120 - placed[..., 1], placed[..., 2] - 1], -1)
    pose = fit_pose(model, points, 120).reshape(6, 3, 4)
    np.testing.assert_allclose(pose[:, :, :3], scale[:, None, None] * rotation, atol=1e-9)
    np.testing.assert_allclose(model @ pose[:, :, :3].transpose(0, 2, 1) + pose[:, None, :, 3], placed, atol=1e-9)


def test_the_same_block_is_the_same_whatever_came_before(factory, store):
    again = factory.block(5, 1)
    kept = FaceStore(store).read(np.arange(BLOCK, 2 * BLOCK))
    np.testing.assert_array_equal(again.images, kept.images)
    np.testing.assert_array_equal(again.params, kept.params)
    assert not np.array_equal(factory.block(6, 1).images, again.images)


def test_crops_follow_the_rule_of_the_aligner():
    """Without jitter, the crop is the roi of the landmarks, cut to its whole side."""
    rng = np.random.default_rng(2)
    points = rng.normal(0, 6, (20, 68, 3))
    scale, offset = place_in_crop(rng, points, 120.0, PoseRanges(scale=0, shift=0))
    placed = points[:, :, :2] * [1, -1] * scale[:, None, None] + offset[:, None]
    np.testing.assert_allclose(roi_from_landmarks(placed), np.tile([0, 0, 120, 120], (20, 1)), atol=1e-9)
    _, jittered = place_in_crop(rng, np.repeat(points, 50, 0), 120.0)
    assert 0.02 < np.std(jittered[:50, 0] - offset[0, 0]) / 120 < 0.1


def test_poses_cover_what_they_should():
    angles = euler_from_rotation(draw_rotations(np.random.default_rng(1), 5000))
    assert np.percentile(np.abs(angles[:, 0]), 99) > 75
    assert 0.25 < (np.abs(angles[:, 0]) > 45).mean() < 0.45
    assert np.percentile(np.abs(angles[:, 1]), 95) > 40
    with pytest.raises(ValueError, match="frontal and turned must be shares"):
        PoseRanges(frontal=0.7, turned=0.5)


def test_mirrored_labels_follow_the_picture(store):
    """A mirrored sample is the picture mirrored; its points and parameters are those of the mirrored face."""
    plain, mirrored = SyntheticFaces(store, mirrored=False), SyntheticFaces(store, seed=3)
    flipped = [index for index in range(len(plain)) if not torch.equal(plain[index].image, mirrored[index].image)]
    assert 0.2 < len(flipped) / len(plain) < 0.8
    sides = FaceStore(store).read(FaceStore(store).faces()).sides
    model = mirrored.morphable.subset(mirrored.vertices)
    mirror = LANDMARK_MIRROR
    for index in flipped[:5]:
        before, after = plain[index], mirrored[index]
        assert torch.equal(after.image, before.image.flip(1))
        # A label position u is shown at pixel u - (1 - 1 / s) / 2, and pixel x of 120 becomes 119 - x.
        shift = (1 - 120 / float(sides[index])) / 2
        shown = before.landmarks.numpy() - shift
        expected = np.stack([119 - shown[:, 0], shown[:, 1]], 1)[mirror] + shift
        np.testing.assert_allclose(after.landmarks.numpy(), expected, atol=1e-3)
        placed = ops.reconstruct_vertices(torch.stack([before.params, after.params]), model).numpy()
        errors = [
            np.linalg.norm(
                np.stack([face[:, 0] - 1, 120 - face[:, 1]], 1) - sample.points[:, :2].numpy(), axis=1
            ).mean()
            for face, sample in zip(placed, (before, after), strict=True)
        ]
        assert errors[1] == pytest.approx(errors[0], abs=0.02)


def test_other_sizes(store):
    whole, half = SyntheticFaces(store, mirrored=False), SyntheticFaces(store, mirrored=False, size=60)
    assert half[3].image.shape == (60, 60, 3)
    np.testing.assert_allclose(half[3].points, whole[3].points / 2, atol=1e-4)
    vertices = [
        ops.reconstruct_vertices(faces[3].params[None], faces.morphable.landmark_model())[0] for faces in (whole, half)
    ]
    np.testing.assert_allclose(vertices[1][:, 0] - 1, (vertices[0][:, 0] - 1) / 2, atol=1e-3)
    np.testing.assert_allclose(60 - vertices[1][:, 1], (120 - vertices[0][:, 1]) / 2, atol=1e-3)
    z = [faces.morphable.whiten(faces[3].params).numpy() for faces in (whole, half)]
    np.testing.assert_allclose(z[0][:12], z[1][:12], atol=1e-3)


def test_store_goes_on_where_it_was(factory, store, tmp_path):
    kept = FaceStore(store)
    assert kept.next_block(0, 1) == 2
    assert kept.next_block(1, 2) == 3
    assert kept.next_block(0, 2) == 2
    assert len(kept.faces()) == 2 * BLOCK
    ring = FaceStore.create(tmp_path, 2 * BLOCK, factory.size, factory.head.points, {})
    block = factory.block(5, 0)
    for index in range(3):
        ring.write(index, block)
    assert len(ring.faces()) == 2 * BLOCK  # the third has taken the place of the first
    assert ring.made == 3 * BLOCK
    assert ring.next_block(0, 1) == 3


def test_stores_that_do_not_fit(factory, store, tmp_path):
    with pytest.raises(ValueError, match=r"store\.json describes other faces"):
        FaceStore.create(store, 3 * BLOCK, factory.size, factory.head.points, {"seed": 6})
    with pytest.raises(FileNotFoundError, match=r"store\.json"):
        FaceStore(tmp_path)
    FaceStore.create(tmp_path, BLOCK, factory.size, factory.head.points, {})
    with pytest.raises(ValueError, match="holds no face yet"):
        SyntheticFaces(tmp_path)
    (tmp_path / "params.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"params\.bin: expected 3968 bytes, got 0"):
        FaceStore(tmp_path)


def test_assets_that_are_missing(ict, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks colours\.npy.*tools/make_face_assets\.py"):
        FaceFactory(ict, tmp_path)


def test_it_wants_the_whole_of_ict_facekit(shared):
    with pytest.raises(ValueError, match="expected ICT Face Model Light with 26719 vertices, 100 identities"):
        FaceFactory(shared / "ict-facekit" / "FaceXModel")


def test_the_built_in_face_is_the_front_of_the_head(factory):
    face = MorphableModel.builtin()
    np.testing.assert_allclose(factory.head.neutral[: face.num_vertices], face.mean.numpy().reshape(-1, 3), atol=0.02)
    np.testing.assert_array_equal(factory.head.triangles[: len(face.triangles)], face.triangles.numpy())
