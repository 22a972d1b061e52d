"""Scenes for a face detector: heads of all sizes and rolls among things that are none, as one photograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from frnet.datasets.faces.degrade import degrade
from frnet.datasets.faces.scene_parts import Person, halved
from frnet.datasets.faces.sprites import BEHIND, PORTRAIT, SpriteStore
from frnet.geometry import clockwise, upright_box

__all__ = ["Scene", "SceneMaker"]

_SMALLEST, _LARGEST = 12.0, 1.2  # of a face: longer side of its landmarks' box, pixels; and in sides of the scene
_ENLARGED = 2.0  # photographs of people, at most
_UNSURE = 10.0  # pixels; what is smaller is neither demanded nor forbidden
_VISIBLE, _HIDDEN = 0.45, 0.12  # shares of a face that are to be seen: of one that is demanded, of one that is none


class Scene(NamedTuple):
    """One picture.

    Attributes:
        image: uint8 [size, size, 3], BGR.
        faces: float32 [n, 7]: x, y of the middle, width and height of the upright box about a face's 68 landmarks,
            as it is where the face stands upright; cosine and sine of its roll, clockwise; and 1 for a face that is
            to be found, 0 for one too small or too much hidden to say. Pixels.
    """

    image: np.ndarray
    faces: np.ndarray


class _Layer(NamedTuple):
    """Something to be put into a scene."""

    levels: tuple[np.ndarray, ...]  # uint8 [h, w, 4], and smaller copies of half the size each
    landmarks: np.ndarray  # float32 [n, 68, 2]
    rolls: np.ndarray  # [n]
    unit: float  # what is to be so large as wanted, pixels of the image
    middle: np.ndarray  # [2], what is to come to lie at a place


class SceneMaker:
    """Makes scenes; scene n of a seed is the same whatever was made before it.

    Args:
        sprites: heads.
        pictures: without faces, uint8 [height, width, 3] each.
        cutouts: things with an alpha channel, uint8 [height, width, 4] each; may be empty.
        people: photographs with faces; may be empty.
        size: side of the scenes.
        faceless: share of scenes without a face.
    """

    def __init__(
        self,
        sprites: SpriteStore,
        pictures: Sequence[np.ndarray],
        cutouts: Sequence[np.ndarray] = (),
        people: Sequence[Person] = (),
        size: int = 256,
        faceless: float = 0.28,
    ) -> None:
        self._sprites, self._pictures, self._cutouts, self._people = sprites, pictures, cutouts, people
        self.size, self._faceless = size, faceless
        self._behind = np.flatnonzero(sprites.kinds == BEHIND)
        self._faces = np.flatnonzero(sprites.kinds != BEHIND)

    def scene(self, seed: int, index: int) -> Scene:
        """One scene.

        Args:
            seed: of the data; a validation set needs another one.
            index: of the scene.
        """
        rng = np.random.default_rng((seed, index))
        with_faces = rng.random() >= self._faceless
        canvas = _Canvas(self._ground(rng))
        if with_faces and self._people and rng.random() < 0.35:
            self._put_person(rng, canvas)
        layers = [self._thing(rng) for _ in range(rng.poisson(1.3))]
        layers += [self._head(rng, self._behind) for _ in range(rng.poisson(0.3))] if len(self._behind) else []
        wanted = [self._size_of(rng) for _ in layers]
        if with_faces:
            base = self._size_of(rng)
            room = max(1, int(2.0 * (self.size / base) ** 2))
            sizes = [base] + [
                min(base * np.exp(rng.normal(0, 0.4)), self.size) if rng.random() < 0.5 else self._size_of(rng)
                for _ in range(min(rng.geometric(0.28), room, 12) - 1)
            ]
            layers += [self._head(rng, self._faces) for _ in sizes]
            wanted += sizes
        for number in np.argsort(np.array(wanted) * np.exp(rng.normal(0, 0.4, len(wanted)))):  # the near ones last
            self._put(rng, canvas, layers[number], wanted[number])
        if rng.random() < 0.08:
            canvas.frame(rng)
        faces = canvas.faces()
        sure = faces[faces[:, 6] > 0]
        scale = faces[:, 2:4].max(1).min() * 1.4 if len(sure) else np.exp(rng.uniform(np.log(30), np.log(self.size)))
        image = canvas.image
        if rng.random() < 0.15:  # seen from afar, and enlarged
            few = int(self.size * rng.uniform(max(0.35, min(1.0, 20 / scale)), 1.0))
            image = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return Scene(degrade(rng, image, float(np.clip(scale, 20, self.size))), faces)

    def _size_of(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(_LARGEST * self.size))))

    def _ground(self, rng: np.random.Generator) -> np.ndarray:
        size, kind = self.size, rng.random()
        if kind < 0.85:
            picture = self._pictures[rng.integers(len(self._pictures))]
            shorter = min(picture.shape[:2])
            side = int(np.exp(rng.uniform(np.log(min(64, shorter)), np.log(shorter))))
            top, left = (int(rng.integers(extent - side + 1)) for extent in picture.shape[:2])
            square = np.rot90(picture[top : top + side, left : left + side], rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))
            square = np.ascontiguousarray(square[:, ::-1] if rng.random() < 0.5 else square)
            return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
        colours = rng.uniform(0, 255, (2, 2, 3)) if kind < 0.93 else rng.uniform(0, 255) + rng.normal(0, 15, (2, 2, 3))
        ground = cv2.resize(colours.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.7:
            cells = int(rng.integers(3, size))
            noise = rng.normal(0, rng.uniform(3, 40), (cells, cells, 3 if rng.random() < 0.5 else 1))
            noise = cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
            ground += noise.reshape(size, size, -1)
        return ground.clip(0, 255).astype(np.uint8)

    def _thing(self, rng: np.random.Generator) -> _Layer:
        """A cut-out, or a piece of a picture in the outline of a head."""
        if self._cutouts and rng.random() < 0.6:
            image = self._cutouts[rng.integers(len(self._cutouts))]
            return _plain_layer(image, max(image.shape[:2]) * rng.uniform(0.5, 1.0))
        alpha = self._sprites.images[self._faces[rng.integers(len(self._faces))], :, :, 3]
        side = len(alpha)
        piece = cv2.resize(self._ground(rng), (side, side), interpolation=cv2.INTER_LINEAR)
        piece = cv2.merge([*cv2.split(piece), np.ascontiguousarray(alpha)])
        return _plain_layer(_outlined(rng, piece, side / 2, side / 2, side / 2.5, 0.0), side / 2.2)

    def _head(self, rng: np.random.Generator, among: np.ndarray) -> _Layer:
        chosen = among[rng.integers(len(among))]
        image, marks = np.array(self._sprites.images[chosen]), self._sprites.landmarks[chosen]
        roll, kind = float(self._sprites.rolls[chosen]), self._sprites.kinds[chosen]
        x, y, width, height = upright_box(marks, roll)
        unit = max(width, height)
        # Portraits come with what was around them, of which more or less is kept.
        reach = rng.uniform(0.68, 1.15) if kind == PORTRAIT else rng.uniform(1.0, 1.3)
        image = _outlined(rng, image, x, y, reach * unit, roll)
        if rng.random() < 0.5:
            gain, lift = np.exp(rng.normal(0, 0.2)), rng.normal(0, 12, 3)
            table = (np.arange(256)[:, None] * gain + [*lift, 0]).clip(0, 255).astype(np.uint8)
            table[:, 3] = np.arange(256)
            image = cv2.LUT(image, table[None])
        shown = kind != BEHIND
        return _Layer((image,), marks[None][: int(shown)], np.array([roll])[: int(shown)], unit, np.array([x, y]))

    def _put(self, rng: np.random.Generator, canvas: _Canvas, layer: _Layer, size: float) -> None:
        place = rng.uniform(-0.06, 1.06, 2) * self.size
        if size > 0.6 * self.size:
            place = self.size * (0.5 + rng.normal(0, 0.16, 2))
        canvas.put(rng, layer, size / layer.unit, _roll(rng), place, rng.random() < 0.5)

    def _put_person(self, rng: np.random.Generator, canvas: _Canvas) -> None:
        person = self._people[rng.integers(len(self._people))]
        face = int(rng.integers(len(person.rolls)))
        x, y, width, height = upright_box(person.landmarks[face], person.rolls[face])
        layer = _Layer(person.levels, person.landmarks, person.rolls, max(width, height), np.array([x, y]))
        scale = min(self._size_of(rng) / layer.unit, _ENLARGED)
        canvas.put(rng, layer, scale, _roll(rng), rng.uniform(0.0, 1.0, 2) * self.size, rng.random() < 0.5)


class _Canvas:
    """A picture that things are put into, and what of the faces in it is still to be seen."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self._owner = np.zeros(image.shape[:2], np.int16)
        self._known: list[tuple[np.ndarray, np.ndarray, float]] = []  # box, hull, area

    def put(
        self, rng: np.random.Generator, layer: _Layer, scale: float, turn: float, place: np.ndarray, mirrored: bool
    ) -> None:
        """Puts a layer with its middle at a place, scaled, and turned clockwise by degrees."""
        size = len(self.image)
        flip = np.diag([-1.0, 1.0]) if mirrored else np.eye(2)
        linear = scale * clockwise(turn) @ flip
        offset = place - linear @ layer.middle
        source, shrink = layer.levels[0], 1
        while scale * shrink < 0.5 and min(source.shape[:2]) > 2:
            shrink *= 2
            source = layer.levels[shrink.bit_length() - 1] if shrink < 1 << len(layer.levels) else halved(source)
        ratio = np.array(layer.levels[0].shape[1::-1]) / source.shape[1::-1]
        affine = np.column_stack([linear * ratio, offset + linear @ ((ratio - 1) / 2)])
        corners = np.array([[-0.5, -0.5], [1, -0.5], [-0.5, 1], [1, 1]]) * source.shape[1::-1]
        reach = corners @ affine[:, :2].T + affine[:, 2]
        low = np.floor(reach.min(0)).astype(int).clip(0, size)
        high = np.ceil(reach.max(0) + 1).astype(int).clip(0, size)
        if (high <= low).any():
            return
        affine[:, 2] -= low
        patch = cv2.warpAffine(source, affine, tuple((high - low).tolist()), flags=cv2.INTER_LINEAR)
        alpha = patch[:, :, 3]
        if rng.random() < 0.6:
            alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.4, 1.4))
        there = (slice(low[1], high[1]), slice(low[0], high[0]))
        behind = cv2.multiply(self.image[there], cv2.merge([255 - alpha] * 3), scale=1 / 255)
        before = cv2.multiply(cv2.cvtColor(patch, cv2.COLOR_BGRA2BGR), cv2.merge([alpha] * 3), scale=1 / 255)
        self.image[there] = cv2.add(behind, before)
        self._owner[there][alpha > 127] = 0
        for marks, roll in zip(layer.landmarks, layer.rolls, strict=True):
            turned = -roll + turn if mirrored else roll + turn
            self._remember((marks @ linear.T + offset).astype(np.float32), turned, alpha, low)

    def frame(self, rng: np.random.Generator) -> None:
        """Covers two opposite margins with one colour, as letterboxes do."""
        size = len(self.image)
        width, colour = int(size * rng.uniform(0.03, 0.35)), rng.choice([0, 0, 127, 255])
        for margin in (slice(0, width), slice(size - width, size)):
            there = (margin, slice(None)) if rng.random() < 0.5 else (slice(None), margin)
            self.image[there], self._owner[there] = colour, 0

    def faces(self) -> np.ndarray:
        """As :attr:`Scene.faces`."""
        counts = np.bincount(self._owner.reshape(-1), minlength=len(self._known) + 1)
        kept = []
        for number, (box, _, area) in enumerate(self._known, 1):
            visible = counts[number] / max(area, 1.0)
            if visible > _HIDDEN:
                kept.append([*box, float(visible > _VISIBLE and box[2:4].max() > _UNSURE)])
        return np.array(kept, np.float32).reshape(-1, 7)

    def _remember(self, marks: np.ndarray, roll: float, alpha: np.ndarray, low: np.ndarray) -> None:
        hull = cv2.convexHull(marks)[:, 0]
        area = cv2.contourArea(hull)
        angle = np.deg2rad(roll)
        box = np.array([*upright_box(marks, roll), np.cos(angle), np.sin(angle)])
        self._known.append((box, hull, area))
        inside = np.zeros(self._owner.shape, np.uint8)
        if np.abs(hull).max() < 1e4:
            cv2.fillConvexPoly(inside, np.round(hull).astype(np.int32), 1)
        there = (slice(low[1], low[1] + alpha.shape[0]), slice(low[0], low[0] + alpha.shape[1]))
        self._owner[there][(inside[there] > 0) & (alpha > 127)] = len(self._known)


def _roll(rng: np.random.Generator) -> float:
    return float(rng.normal(0, 10) if rng.random() < 0.6 else rng.uniform(-180, 180))


def _plain_layer(image: np.ndarray, unit: float) -> _Layer:
    middle = (np.array(image.shape[1::-1]) - 1) / 2
    return _Layer((image,), np.empty((0, 68, 2), np.float32), np.empty(0), unit, middle)


def _outlined(rng: np.random.Generator, image: np.ndarray, x: float, y: float, reach: float, roll: float) -> np.ndarray:
    """The picture with what lies beyond a box or an ellipse made transparent; its edge is soft or hard."""
    mask = np.zeros(image.shape[:2], np.uint8)
    half = reach * np.exp(rng.normal(0, 0.06, 2))
    up = clockwise(roll) @ [0.0, -rng.uniform(0.0, 0.25) * reach]
    if rng.random() < 0.5:
        cv2.ellipse(mask, ((x + up[0], y + up[1]), tuple(2 * half), roll), 255, -1)
    else:
        corners = cv2.boxPoints(((x + up[0], y + up[1]), tuple(2 * half), roll + rng.normal(0, 6)))
        cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255)
    if rng.random() < 0.6:
        spread = 2 * int(reach * rng.uniform(0.02, 0.12)) + 1
        mask = cv2.blur(cv2.blur(mask, (spread, spread)), (spread, spread))
    *colours, alpha = cv2.split(image)
    return cv2.merge([*colours, cv2.min(alpha, mask)])
