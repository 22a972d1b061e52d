"""Training faces by number: rendered heads and turned portraits, their labels exact."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from frnet.datasets.faces.backgrounds import Backgrounds
from frnet.datasets.faces.degrade import degrade, draw_side, to_crop
from frnet.datasets.faces.expressions import draw_expressions, draw_identities
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.patches import cover_with_patches, uneven_light
from frnet.datasets.faces.scene import Painter
from frnet.datasets.faces.warps import Portraits
from frnet.geometry.procrustes import similarity_alignment

__all__ = ["BLOCK", "Block", "FaceFactory", "fit_pose"]

BLOCK = 16
"""Faces that are made together, as one matrix product makes all their vertices."""

_DRAWN = 160


class Block(NamedTuple):
    """Faces that were made together.

    Attributes:
        images: uint8 [n, size, size, 3], BGR, as :func:`frnet.geometry.crop` cuts them.
        points: float32 [n, P, 3], where the label's vertices lie: label positions of the crop (x right, y down, see
            :mod:`frnet.geometry`) and depth towards the viewer, crop pixels, from the landmarks' mean.
        params: float32 [n, 62], parameters of the built-in face nearest to the head, for a crop of this size.
        sides: float32 [n], of the roi in the picture that the crop was cut of, pixels: by how much label positions and
            the crop's pixels part follows from it.
    """

    images: np.ndarray
    points: np.ndarray
    params: np.ndarray
    sides: np.ndarray


class FaceFactory:
    """Makes faces in blocks; block n of a seed is the same whatever was made before it.

    Args:
        ict: ICT-FaceKit's model (``FaceXModel`` or the npz of it).
        assets: folder that ``tools/make_face_assets.py`` wrote; None: colours and backgrounds are made up and there
            are no portraits.
        ingredients: what faces are made of; None: all there is.
        size: side of the crops.
        drawn: side of what is rendered, pixels; a block's crops are cut of it as of a photograph.

    Attributes:
        head: the mesh, with the vertices that labels hold in ``head.points``.

    Raises:
        OSError, ValueError: a folder that does not hold what it should.
    """

    def __init__(
        self,
        ict: str | os.PathLike[str],
        assets: str | os.PathLike[str] | None = None,
        ingredients: Ingredients | None = None,
        size: int = 120,
        drawn: int = _DRAWN,
    ) -> None:
        ingredients = ingredients or Ingredients()
        self.head, self.ingredients, self.size, self._drawn = Head(ict), ingredients, size, drawn
        held = {} if assets is None else _assets(Path(assets), self.head)
        photographs = held.get("backgrounds") if ingredients.photo_backgrounds else None
        self._observed = held.get("observed")
        self._backgrounds = Backgrounds(photographs, drawn)
        self._painter = Painter(self.head, held.get("colours"), ingredients, drawn)
        self._portraits = None
        if held and ingredients.portraits > 0:
            parts = (held[name] for name in ("patches", "depths", "poses", "coefficients"))
            self._portraits = Portraits(*parts, drawn)

    def block(self, seed: int, index: int) -> Block:
        """The faces of one block.

        Args:
            seed: of the data; a validation set needs another one.
            index: of the block.
        """
        rng = np.random.default_rng((seed, index))
        portraits = self._portraits is not None and rng.random() < self.ingredients.portraits
        pictures, shown, marks, alphas = self.draw(rng, portraits)
        self._fill(rng, pictures, shown)
        sides = draw_side(rng, len(pictures), self.ingredients.degradation)
        images = np.stack([self._photographed(rng, *each) for each in zip(pictures, sides, strict=True)])
        factor = self.size / self._drawn
        points = marks * factor
        # A crop's pixels and its label positions part by a share of a pixel that depends on how large the face was.
        points[:, :, :2] += 0.5 * factor - 0.5 * self.size / sides[:, None, None]
        points[:, :, 2] -= points[:, :68, 2].mean(1, keepdims=True)
        pose = fit_pose(self.model_points(alphas), points, self.size)
        params = np.concatenate([pose, alphas], 1)
        return Block(images, *(part.astype(np.float32) for part in (points, params, sides)))

    def draw(self, rng: np.random.Generator, portraits: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Faces before anything lies behind them.

        Args:
            rng: random numbers.
            portraits: turned ones, which want assets; else rendered heads.

        Returns:
            Pictures uint8 [n, drawn, drawn, 3], BGR; where they show anything, bool [n, drawn, drawn]; the label's
            vertices [n, P, 3] in pixels of the picture, y down; and the built-in face's coefficients [n, 50].

        Raises:
            ValueError: portraits are wanted and there are none.
        """
        if portraits and self._portraits is None:
            raise ValueError("FaceFactory: there are no portraits without assets")
        return self._turned_portraits(rng) if portraits else self._rendered(rng)

    def _rendered(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        head = self.head
        coefficients = np.concatenate(
            [
                draw_identities(rng, BLOCK, head.identities),
                draw_expressions(rng, BLOCK, head.names, self._observed),
            ],
            1,
        )
        return *self._painter.draw(rng, coefficients), head.alphas(coefficients)

    def _turned_portraits(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        portraits = self._portraits
        chosen = portraits.choose(rng, BLOCK)
        coefficients = portraits.coefficients[chosen]
        pictures, shown, marks = portraits.draw(
            rng, self.head.vertices(coefficients), chosen, self.ingredients.poses, self.head.points
        )
        pictures = np.stack([uneven_light(rng, picture) for picture in pictures])
        return pictures, shown, marks, self.head.alphas(coefficients)

    def _fill(self, rng: np.random.Generator, pictures: np.ndarray, shown: np.ndarray) -> None:
        for picture, seen in zip(pictures, shown, strict=True):
            cv2.copyTo(self._backgrounds.draw(rng), (~seen).view(np.uint8), picture)
            if self.ingredients.patches and rng.random() < 0.2:
                cover_with_patches(rng, picture, self._backgrounds)

    def _photographed(self, rng: np.random.Generator, picture: np.ndarray, side: float) -> np.ndarray:
        if side < len(picture):
            picture = cv2.resize(picture, (int(side), int(side)), interpolation=cv2.INTER_AREA)
        if self.ingredients.degradation:
            picture = degrade(rng, picture)
        return to_crop(picture, self.size)

    def model_points(self, alphas: np.ndarray) -> np.ndarray:
        """The label's vertices of built-in faces with coefficients [n, 50]: [n, P, 3], y up."""
        face, points = self.head.face, self.head.points
        rows = (3 * points[:, None] + np.arange(3)).reshape(-1)
        mean, basis = face.mean.numpy()[rows], face.basis.numpy()[rows]
        return (mean + alphas @ basis.T).reshape(len(alphas), -1, 3)


def fit_pose(model: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """The 3x4 matrix of the parameters, row by row, that brings model points nearest to label positions.

    Args:
        model: [n, P, 3], y up.
        points: [n, P, 3], label positions, y down, and depth.
        size: side of the crop.

    Returns:
        float64 [n, 12], a scaled rotation and a translation in the crop frame (counts from 1, y up).
    """
    target = np.stack([points[..., 0] + 1, size - points[..., 1], points[..., 2] + 1], -1)
    fit = similarity_alignment(model, target)
    pose = np.concatenate([fit.scale[:, None, None] * fit.rotation, fit.translation[..., None]], -1)
    return pose.reshape(len(model), 12)


def _assets(folder: Path, head: Head) -> dict[str, np.ndarray]:
    names = ("colours", "backgrounds", "patches", "depths", "poses", "coefficients", "observed")
    missing = [name for name in names if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(f'{name}.npy' for name in missing)}; tools/make_face_assets.py writes them"
        )
    held = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    if held["colours"].shape[1] != len(head.neutral):
        raise ValueError(
            f"{folder} holds colours of {held['colours'].shape[1]} vertices and the head has {len(head.neutral)}; make "
            "it anew with tools/make_face_assets.py"
        )
    return held
