"""Scenes: faces are where the labels say, hidden ones are not asked for, and a number makes the same scene again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from frnet.datasets.faces.scene_parts import Person, load_cutouts, load_people, load_pictures
from frnet.datasets.faces.scenes import SceneMaker
from frnet.datasets.faces.sprites import BEHIND, RENDERED, Sprites, SpriteStore

SIZE = 64


class DrawnHeads:
    """Discs with one bright and one dark half: the landmarks lie on their rims, bright is up."""

    def block(self, seed: int, index: int) -> Sprites:
        rng = np.random.default_rng((seed, index))
        count = 6
        images, marks = np.zeros((count, SIZE, SIZE, 4), np.uint8), np.zeros((count, 68, 2), np.float32)
        rolls = rng.uniform(-20, 20, count).astype(np.float32)
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        for image, points, roll in zip(images, marks, rolls, strict=True):
            cv2.circle(image, (32, 32), 18, (20, 20, 20, 255), -1)
            cv2.ellipse(image, (32, 32), (18, 18), float(roll), 180, 360, (240, 240, 240, 255), -1)
            points[:] = np.stack([32 + 16 * np.cos(angle), 32 + 16 * np.sin(angle)], 1)
        kinds = np.full(count, RENDERED, np.uint8)
        kinds[0] = BEHIND
        return Sprites(images, marks, rolls, kinds)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sprites")
    SpriteStore.make(folder, DrawnHeads(), 4, 3, {"seed": 3})
    return SpriteStore(folder)


@pytest.fixture(scope="module")
def scenes(store):
    rng = np.random.default_rng(0)
    pictures = [cv2.resize(rng.integers(90, 130, (9, 12, 3), np.uint8), (160, 120)) for _ in range(3)]
    return SceneMaker(store, pictures, size=128)


def test_a_store_holds_what_was_made(store):
    assert len(store) == 24
    assert store.settings == {"seed": 3}
    assert (store.kinds == BEHIND).sum() == 4
    again = DrawnHeads().block(3, 2)
    np.testing.assert_array_equal(store.images[12:18], again.images)
    np.testing.assert_array_equal(store.rolls[12:18], again.rolls)


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        SpriteStore(tmp_path)
    (tmp_path / "sprites.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="not a store of sprites"):
        SpriteStore(tmp_path)


def test_a_number_is_a_scene(scenes):
    for number in range(5):
        one, other = scenes.scene(1, number), scenes.scene(1, number)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.faces, other.faces)
    assert not np.array_equal(scenes.scene(1, 0).image, scenes.scene(2, 0).image)


def test_scenes_are_of_all_kinds(scenes):
    faces = [scenes.scene(5, number).faces for number in range(200)]
    counts = np.array([(each[:, 6] > 0).sum() for each in faces])
    assert 0.2 < (counts == 0).mean() < 0.65
    assert counts.max() >= 3
    sure = np.concatenate(faces)
    sure = sure[sure[:, 6] > 0]
    sizes, rolls = sure[:, 2:4].max(1), np.abs(np.rad2deg(np.arctan2(sure[:, 5], sure[:, 4])))
    assert sizes.min() < 16
    assert sizes.max() > 100
    assert 0.5 < (rolls < 30).mean() < 0.85
    assert rolls.max() > 150


def test_bright_is_up(scenes):
    """What the labels say of place, size and roll is what the picture shows."""
    right = []
    for number in range(120):
        scene = scenes.scene(9, number)
        for x, y, width, height, cosine, sine, sure in scene.faces:
            up = 0.3 * height * np.array([sine, -cosine])
            places = [np.array([x, y]) + up, np.array([x, y]) - up]
            if sure and width > 24 and all((place > 1).all() and (place < 126).all() for place in places):
                above, below = (scene.image[int(place[1]), int(place[0])].mean() for place in places)
                right.append(above > below + 20)
    assert len(right) > 40
    assert np.mean(right) > 0.8  # others hide behind something, or are blurred


def test_hidden_and_tiny_faces_are_not_asked_for(scenes):
    faces = np.concatenate([scenes.scene(13, number).faces for number in range(150)])
    unsure = faces[faces[:, 6] == 0]
    assert len(unsure) > 5
    assert (faces[faces[:, 6] > 0][:, 2:4].max(1) > 10).all()
    inside = ((faces[:, :2] > 20) & (faces[:, :2] < 108)).all(1)
    assert faces[inside, 6].mean() > faces[~inside, 6].mean()


def test_people_bring_their_faces(store):
    image = np.full((100, 100, 4), 128, np.uint8)
    marks = np.stack(np.meshgrid(np.linspace(30, 70, 17), np.linspace(45, 55, 4)), -1).reshape(1, 68, 2)
    person = Person((image,), marks.astype(np.float32), np.zeros(1, np.float32))
    ground = [np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)]
    maker = SceneMaker(store, ground, people=(person,), size=96, faceless=0)
    faces = np.concatenate([maker.scene(1, number).faces for number in range(60)])
    wide = faces[faces[:, 2] > 2 * faces[:, 3]]
    assert len(wide) > 5
    np.testing.assert_allclose(wide[:, 2] / wide[:, 3], 4, rtol=1e-3)


def test_parts_are_read(tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 255, (900, 1800, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((100, 100, 3), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "cut.png"), rng.integers(0, 255, (40, 30, 4), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    assert [picture.shape for picture in load_pictures([tmp_path / "a.png", tmp_path / "plain.png"])] == [
        (500, 1000, 3)
    ]
    assert [picture.shape for picture in load_cutouts([tmp_path / "a.png", tmp_path / "cut.png"])] == [(40, 30, 4)]
    with pytest.raises(FileNotFoundError, match=r"text\.png"):
        load_pictures([tmp_path / "text.png"])
    marks = np.zeros((1, 68, 2))
    marks[0, 42:48] = [100, 100]  # one eye below the other: the face leans clockwise
    (person,) = load_people(tmp_path, np.array(["a.png"]), marks)
    assert person.levels[0].shape == (700, 1400, 4)
    assert person.levels[1].shape == (350, 700, 4)
    assert person.rolls == pytest.approx(45)
    np.testing.assert_allclose(person.landmarks[0, 42], (100.5 * 1400 / 1800) - 0.5)
