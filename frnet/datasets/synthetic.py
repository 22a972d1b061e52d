"""Training faces that ``tools/render_faces.py`` made: rendered heads and turned portraits, from a store on disk."""

from __future__ import annotations

import copy
import os
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from frnet.datasets.augment import AugmentationConfig
from frnet.datasets.dataset import FaceDataset
from frnet.datasets.faces.store import FaceStore
from frnet.datasets.sample import Face, LabelConvention, Sample
from frnet.geometry import resize_params
from frnet.morphable import LANDMARK_MIRROR, MorphableModel, load_whitening, resize_whitening

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SyntheticFaces"]

_LANDMARKS = 68


class SyntheticFaces(FaceDataset):
    """Faces of a store (:class:`frnet.datasets.faces.store.FaceStore`) with exact labels.

    A sample's parameters are those of the built-in face nearest to the head, its ``points`` where some hundred
    vertices of the head itself lie: a camera close by and shapes that the model lacks make the two differ by about a
    pixel. Everything that a photograph suffers has been done to the pictures already; they are only mirrored, every
    other time.

    Args:
        store: folder of the store.
        size: side of the crops; None: as they were made. Labels follow.
        mirrored: whether samples are mirrored at random.
        seed: of that.

    Attributes:
        morphable: the built-in face, its whitening for crops of this size.
        vertices: int64 [P], the vertices that points are: the landmarks of 300W-LP, those of Multi-PIE, and others.

    Raises:
        OSError, ValueError: no store, an empty or a damaged one; names the file.
    """

    def __init__(
        self, store: str | os.PathLike[str], *, size: int | None = None, mirrored: bool = True, seed: int = 0
    ) -> None:
        self._folder = os.fspath(store)
        held = self._store
        self._held = held.faces()
        if not len(self._held):
            raise ValueError(f"{store}: the store holds no face yet; tools/render_faces.py fills it")
        super().__init__(len(self._held), LabelConvention(size or held.size), seed=seed)
        self.mirrored = mirrored
        self.vertices = held.points
        self._factor = self.convention.size / held.size
        face = MorphableModel.builtin()
        self.morphable = face.with_whitening(
            *resize_whitening(load_whitening((face.param_mean, face.param_std)), self._factor)
        )
        self._across, self._signs = _mirror(face, held)

    @cached_property
    def _store(self) -> FaceStore:
        return FaceStore(self._folder)

    def read(self, row: int) -> Face:
        stored, image = self._read(row)
        points = stored.points[0, :_LANDMARKS, :2] * self._factor
        params = resize_params(stored.params, self._factor)[0]
        return Face(
            image, np.array([0.0, 0.0, *image.shape[1::-1]]), params.astype(np.float64), points.astype(np.float64)
        )

    def row_name(self, row: int) -> str:
        return f"face {self._held[row]}"

    def row_params(self, rows: np.ndarray) -> np.ndarray:
        return resize_params(self._store.read(self._held[rows]).params, self._factor).astype(np.float64)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        index = range(len(self))[index]
        row = int(self._rows[index])
        stored, image = self._read(row)
        points, params = stored.points[0], stored.params[0]
        if self.mirrored and np.random.default_rng((self.seed, epoch, row)).random() < 0.5:
            image = image[:, ::-1]
            points, params = self._reflected(points, params, float(stored.sides[0]))
        points = points * np.float32(self._factor)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(image)),
            torch.from_numpy(resize_params(params[None], self._factor)[0]),
            torch.from_numpy(np.ascontiguousarray(points[:_LANDMARKS, :2])),
            torch.tensor(index),
            torch.tensor(False),
            torch.from_numpy(points),
        )

    def with_augmentation(self, augmentation: AugmentationConfig | None) -> Self:
        """The same samples; None: as they are, not even mirrored.

        Raises:
            ValueError: an augmentation: everything has been done to these pictures already.
        """
        if augmentation is not None:
            raise ValueError("SyntheticFaces: pictures are augmented when they are made; there is no more to be added")
        other = copy.copy(self)
        other.mirrored = False
        return other

    def _read(self, row: int) -> tuple[object, np.ndarray]:
        stored = self._store.read(self._held[row : row + 1])
        image, size = stored.images[0], self.convention.size
        if size != len(image):
            image = cv2.resize(
                image, (size, size), interpolation=cv2.INTER_AREA if size < len(image) else cv2.INTER_LINEAR
            )
        return stored, image

    def _reflected(self, points: np.ndarray, params: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
        """The label of the mirrored picture: pixel x becomes ``width - 1 - x``, and label positions follow."""
        size = self._store.size
        edge = size - size / side
        points = points[self._across] * np.float32([-1, 1, 1])
        points[:, 0] += np.float32(edge)
        params = params * self._signs
        params[3] += edge + 2  # the crop frame counts from 1
        return points, params

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        state.pop("_store", None)  # mapped anew by whoever gets it
        return state


def _mirror(face: MorphableModel, store: FaceStore) -> tuple[np.ndarray, np.ndarray]:
    """Where each point's twin is, int64 [P], and the signs of mirrored parameters, float32 [62]."""
    from scipy.spatial import KDTree

    flip = np.array([-1.0, 1.0, 1.0])
    mean = face.mean.double().numpy().reshape(-1, 3)[store.points]
    across = np.arange(len(mean))
    for first in (0, _LANDMARKS):
        across[first : first + _LANDMARKS] = first + LANDMARK_MIRROR
    rest = mean[2 * _LANDMARKS :]
    across[2 * _LANDMARKS :] = 2 * _LANDMARKS + KDTree(rest).query(rest * flip)[1]
    basis = face.basis.double().numpy().reshape(-1, 3, face.basis.shape[1])[store.points]
    signs = np.sign(np.einsum("pik,pik->k", basis[across] * flip[:, None], basis))
    turn = np.array([1, -1, -1, -1, -1, 1, 1, 1, -1, 1, 1, 1])  # F R F, and the translation's x
    return across, np.concatenate([turn, signs]).astype(np.float32)
