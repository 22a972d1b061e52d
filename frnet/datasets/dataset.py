"""What all training sets have in common: reading, augmentation, replacement of bad samples, splits."""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from frnet import geometry
from frnet.datasets.augment import AugmentationConfig, augment, check_mirror
from frnet.datasets.mat import LabelError
from frnet.datasets.mirror import Mirror
from frnet.datasets.sample import Face, LabelConvention, Sample
from frnet.io.images import ImageError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FaceDataset", "init_worker"]

_log = logging.getLogger(__name__)
_MOST_REPLACED = 100  # in a row; more is no bad sample but a disk that is gone


class FaceDataset(Dataset[Sample], ABC):
    """A training set: ``dataset[index]``, or ``dataset[epoch, index]`` as :class:`EpochSampler` asks for it.

    A sample depends on ``seed``, epoch and its row in the data alone, not on workers, their start method or what was
    read before it; in a subset too, except that a face that hides a part of another is one of the subset. Without
    augmentation all epochs are alike. Pickling sends paths, not data.

    A sample that cannot be read is replaced by the next one that can, logged once per process and marked
    ``replaced``; so a batch is never short, and a training loop counts ``batch.replaced.sum()``. What can be known
    beforehand is left out when the data set is made, and stands in its ``report``.

    Args:
        rows: how many there are.
        convention: of the labels.
        augmentation: None for crops as they are.
        seed: of the augmentation.
        mirror: how the labels follow a mirrored image; needed if ``augmentation`` flips.

    Raises:
        ValueError: ``augmentation`` flips and there is no ``mirror``.
    """

    def __init__(
        self,
        rows: int,
        convention: LabelConvention,
        *,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        self.convention, self.seed, self.mirror = convention, seed, mirror
        self._rows = np.arange(rows)
        self._logged: set[int] = set()
        self._set_augmentation(augmentation)

    @abstractmethod
    def read(self, row: int) -> Face:
        """The face of a row of the data, unchanged.

        Raises:
            ImageError, LabelError, OSError: it cannot be read; the message names the file.
        """

    @abstractmethod
    def row_name(self, row: int) -> str:
        """What the file of a row is called, relative to the data set."""

    @abstractmethod
    def row_params(self, rows: np.ndarray) -> np.ndarray:
        """The labels [n, 12 + S + E] of rows [n], not whitened, without reading their images."""

    def row_group(self, row: int) -> str:
        """What belongs together in a split: rows of one group never fall on different sides."""
        return self.row_name(row)

    # -- samples ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """What the file of a sample is called, relative to the data set."""
        return self.row_name(int(self._rows[index]))

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        wanted = range(len(self))[index]
        face, index = self._readable(wanted)
        row = int(self._rows[index])
        rng = np.random.default_rng((self.seed, epoch, row))
        if self.augmentation is None:
            image, params, landmarks = geometry.crop(face.image, face.roi, self.convention.size), *face[2:]
        else:
            image, params, landmarks = augment(
                face, self.augmentation, rng, self.convention, mirror=self.mirror, donor=self._donor
            )
        return Sample(
            torch.from_numpy(image),
            torch.from_numpy(params.astype(np.float32)),
            torch.from_numpy(landmarks.astype(np.float32)),
            torch.tensor(index),
            torch.tensor(index != wanted),
        )

    def _readable(self, wanted: int) -> tuple[Face, int]:
        order = itertools.chain(range(wanted, len(self)), range(wanted))
        for index in itertools.islice(order, _MOST_REPLACED):
            try:
                return self.read(int(self._rows[index])), index
            except (ImageError, LabelError, OSError) as error:
                if index not in self._logged:
                    self._logged.add(index)
                    _log.warning("sample %d is replaced by the next one: %s", index, error)
        count = min(len(self), _MOST_REPLACED)
        raise ImageError(f"not one of {count} samples in a row can be read, the first of them {self.name(wanted)}")

    def _donor(self, rng: np.random.Generator) -> np.ndarray:
        """The crop of some other face, to hide a part of this one behind."""
        face, _ = self._readable(int(rng.integers(len(self))))
        return geometry.crop(face.image, face.roi, self.convention.size)

    def params(self) -> np.ndarray:
        """All labels, [n, 12 + S + E], not whitened nor augmented: what a whitening is computed from."""
        return self.row_params(self._rows)

    # -- data sets made from it ---------------------------------------------------------------------------

    def with_augmentation(self, augmentation: AugmentationConfig | None) -> Self:
        """The same samples, augmented otherwise (None: not at all)."""
        other = copy.copy(self)
        other._set_augmentation(augmentation)
        return other

    def subset(self, indices: Any) -> Self:
        """Some of the samples, in this order; they are augmented as here.

        Args:
            indices: whole numbers [n], or bool [len(self)].

        Raises:
            ValueError: no number at all.
            IndexError: a number out of range.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or not len(indices) or (indices.dtype == bool and not indices.any()):
            raise ValueError(f"subset: expected numbers of at least one sample of {len(self)}, got {indices.tolist()}")
        other = copy.copy(self)
        other._rows = self._rows[indices]
        other._logged = set()
        return other

    def split(self, share: float, seed: int = 0) -> tuple[Self, Self]:
        """A training and a validation part, the second without augmentation.

        The side of a sample follows from a hash of ``seed`` and its group alone, so it stays when others come or go.

        Args:
            share: of the validation part, about; above 0 and below 1.
            seed: another one gives another split.

        Raises:
            ValueError: a share out of range, or a side without a sample.
        """
        if not 0 < share < 1:
            raise ValueError(f"split: share must be above 0 and below 1, got {share}")
        sides: dict[str, bool] = {}
        held_out = np.empty(len(self), bool)
        for index, row in enumerate(self._rows.tolist()):
            group = self.row_group(row)
            if group not in sides:
                digest = hashlib.blake2b(f"{seed}:{group}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
                sides[group] = int.from_bytes(digest, "big") < share * 2**64
            held_out[index] = sides[group]
        if held_out.all() or not held_out.any():
            raise ValueError(
                f"split: {len(self)} samples in {len(sides)} groups leave one side empty at a share of {share} "
                f"and seed {seed}"
            )
        return self.subset(~held_out), self.subset(held_out).with_augmentation(None)

    def _set_augmentation(self, augmentation: AugmentationConfig | None) -> None:
        if augmentation is not None:
            check_mirror(augmentation, self.mirror)
        self.augmentation = augmentation

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_logged": set()}


def init_worker(worker: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: OpenCV keeps to the worker's own thread, as torch does."""
    cv2.setNumThreads(0)
