"""Whole heads cut out, with their landmarks, kept on disk: what scenes for a detector are put together of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from frnet.datasets.faces.factory import BLOCK, FaceFactory, fit_pose
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.poses import PoseRanges
from frnet.io.files import write_whole

__all__ = ["BEHIND", "PORTRAIT", "RENDERED", "SpriteMaker", "SpriteStore", "Sprites"]

RENDERED, PORTRAIT, BEHIND = 0, 1, 2
"""Kinds of sprites: a rendered head, a turned portrait, a head that shows no face."""

_FORMAT = "frnet.sprites/1"
_SEEN, _UNSEEN = np.cos(np.deg2rad([97.0, 112.0]))  # of a head turned by so much there is a face, there is none


class _WholeHeads(PoseRanges):
    """Poses of training faces; the picture reaches beyond the hair and down to the shoulders."""

    margin: ClassVar[float] = 1.75


class Sprites(NamedTuple):
    """Some heads.

    Attributes:
        images: uint8 [n, size, size, 4], BGR and alpha.
        landmarks: float32 [n, 68, 2], pixels.
        rolls: float32 [n], degrees by which the head's upward axis is turned clockwise.
        kinds: uint8 [n], RENDERED, PORTRAIT or BEHIND.
    """

    images: np.ndarray
    landmarks: np.ndarray
    rolls: np.ndarray
    kinds: np.ndarray


class SpriteMaker:
    """Makes sprites in blocks; block n of a seed is the same whatever was made before it.

    Args:
        ict: ICT-FaceKit's model, see :class:`frnet.datasets.faces.factory.FaceFactory`.
        assets: folder of portraits and colours, or None.
        size: side of the pictures.
        portraits: share of turned portraits; none without assets.
        behind: share of heads that are turned so far that many show no face.
    """

    def __init__(
        self,
        ict: str | os.PathLike[str],
        assets: str | os.PathLike[str] | None = None,
        size: int = 256,
        portraits: float = 0.45,
        behind: float = 0.12,
    ) -> None:
        self._portraits, self._behind = (portraits if assets is not None else 0.0), behind
        poses = _WholeHeads(roll=30)
        self._seen = FaceFactory(ict, assets, Ingredients(poses=poses), drawn=size)
        around = _WholeHeads(frontal=0, turned=0, yaw=180, pitch=40, roll=30)
        self._around = FaceFactory(ict, assets, Ingredients(portraits=0, poses=around), drawn=size)

    def block(self, seed: int, index: int) -> Sprites:
        """At most :data:`frnet.datasets.faces.factory.BLOCK` heads; those that hardly show their face are left out."""
        rng = np.random.default_rng((seed, index))
        kind = rng.random()
        portraits = kind < self._portraits
        factory = self._around if kind > 1 - self._behind else self._seen
        pictures, shown, marks, alphas = factory.draw(rng, portraits)
        images = np.concatenate([pictures, np.where(shown, np.uint8(255), np.uint8(0))[..., None]], 3)
        pose = fit_pose(factory.model_points(alphas), marks, pictures.shape[1]).reshape(-1, 3, 4)
        rolls = np.degrees(np.arctan2(pose[:, 0, 1], pose[:, 1, 1]))
        facing = pose[:, 2, 2] / np.linalg.norm(pose[:, 2, :3], axis=1)
        kinds = np.where(facing < _UNSEEN, BEHIND, PORTRAIT if portraits else RENDERED)
        clear = (facing < _UNSEEN) | (facing > _SEEN)
        return Sprites(
            images[clear],
            marks[clear, :68, :2].astype(np.float32),
            rolls[clear].astype(np.float32),
            kinds[clear].astype(np.uint8),
        )


class SpriteStore:
    """A folder of sprites, memory-mapped.

    Args:
        folder: that :meth:`make` filled.

    Attributes:
        images, landmarks, rolls, kinds: see :class:`Sprites`.
        settings: what :meth:`make` was told.

    Raises:
        OSError, ValueError: no such store.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        folder = Path(folder)
        stored = json.loads((folder / "sprites.json").read_text(encoding="utf-8"))
        if stored.get("format") != _FORMAT:
            raise ValueError(f"{folder / 'sprites.json'}: not a store of sprites")
        self.settings = stored["settings"]
        self.images, self.landmarks, self.rolls, self.kinds = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in Sprites._fields
        )

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def make(cls, folder: str | os.PathLike[str], maker: SpriteMaker, blocks: int, seed: int, settings: dict) -> None:
        """Fills a folder with the sprites of some blocks.

        Args:
            folder: made if it is not there; what it holds is replaced.
            maker: of the sprites.
            blocks: how many.
            seed: of them.
            settings: what they depend on, to be written down; a dictionary that JSON can hold.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sprites.json").unlink(missing_ok=True)
        first = maker.block(seed, 0)
        shape = (blocks * BLOCK, *first.images.shape[1:])
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
        rest: list[tuple[np.ndarray, ...]] = []
        count = 0
        for index in range(blocks):
            sprites = first if index == 0 else maker.block(seed, index)
            images[count : count + len(sprites.kinds)] = sprites.images
            count += len(sprites.kinds)
            rest.append(sprites[1:])
        for name, parts in zip(Sprites._fields[1:], zip(*rest, strict=True), strict=True):
            np.save(folder / f"{name}.npy", np.concatenate(parts))
        del images
        write_whole(folder / "sprites.json", json.dumps({"format": _FORMAT, "settings": settings}).encode())
