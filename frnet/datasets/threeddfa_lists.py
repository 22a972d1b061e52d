"""3DDFA's packed training lists: one array of whitened labels, one text file of names, a folder of 120x120 crops."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frnet import geometry
from frnet.datasets.augment import AugmentationConfig
from frnet.datasets.dataset import FaceDataset
from frnet.datasets.files import landmark_arrays, read_crop, read_names
from frnet.datasets.index import IndexReport, Skipped, cache_folder, fingerprint, open_index
from frnet.datasets.mat import LabelError
from frnet.datasets.mirror import Mirror
from frnet.datasets.packed import PackedStrings, pack_strings
from frnet.datasets.sample import Face, LabelConvention
from frnet.io.unpickle import load_pickle
from frnet.morphable import MorphableModel, load_whitening
from frnet.morphable.decoding import decode
from frnet.morphable.files import load_npy

__all__ = ["ThreeDDFALists"]

_VERSION = 1  # of what the index holds


class ThreeDDFALists(FaceDataset):
    """3DDFA's training set: ``param_all_norm.pkl``, ``train_aug_120x120.list.train``, ``train_aug_120x120/``.

    Labels are [N, 62] and whitened; SynergyNet's [N, 102] hold 40 texture coefficients more, which are left out.
    They are de-whitened once, into an index that is mapped into memory: 250 bytes and a name for each of 636,252
    samples. Rows with NaN and images that are not there are left out and stand in ``report``; whether an image can
    be decoded is seen when it is its turn.

    The published labels seem to be in the crop frame of 3DDFA's first version, with a depth that is not scaled.
    They are handed out in ``frame``, by default the one that the rest of frnet uses; ``frame="3ddfa-v1"`` leaves
    them as they are, for a network that is to be used with 3DDFA's own code.

    Args:
        params: ``.pkl`` (read without running what it names) or ``.npy``, [N, at least 12 + S + E].
        file_list: one name a line, N of them, relative to ``images``.
        images: the folder of crops.
        whitening: that of the labels: path of ``param_whitening.pkl``, or a pair (mean, std), each [12 + S + E].
        morphable: for the landmarks of the samples; without it they are NaN.
        stored_frame: the crop frame of the labels in the file.
        frame: the crop frame of the labels that come out.
        cache: folder of the index; default ``~/.cache/frnet``.
        augmentation, seed, mirror: see :class:`FaceDataset`.

    Raises:
        OSError: a file or the folder is missing.
        ValueError: not such files, lists of different lengths, a whitening or a model that does not fit, or no
            usable sample.
    """

    def __init__(
        self,
        params: str | os.PathLike[str],
        file_list: str | os.PathLike[str],
        images: str | os.PathLike[str],
        whitening: Any,
        morphable: MorphableModel | None = None,
        *,
        stored_frame: geometry.Frame = "3ddfa-v1",
        frame: geometry.Frame = "3ddfa-v2",
        cache: str | os.PathLike[str] | None = None,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        params, file_list, self.images = Path(params), Path(file_list), Path(images)
        pair = load_whitening(whitening)
        shift = np.zeros_like(pair.mean)
        step = geometry.first_pixel(frame) - geometry.first_pixel(stored_frame)
        shift[[3, 7]] = step, -step
        names = read_names(file_list)
        folders = sorted({os.path.dirname(name) for name in names})
        if not self.images.is_dir():
            raise NotADirectoryError(f"{self.images}: no such folder")
        held = {folder: _entries(self.images / folder) for folder in folders}
        place = fingerprint(_VERSION, *(str(path.resolve()) for path in (params, file_list, self.images)), *pair, shift)
        self._index, self.report = open_index(
            cache_folder(cache) / f"3ddfa-lists-{place[:16]}.safetensors",
            fingerprint(params, file_list, [sorted(entries) for entries in held.values()]),
            lambda: _build(params, file_list, names, held, *pair, shift),
        )
        self._landmarks = None if morphable is None else landmark_arrays(morphable, "ThreeDDFALists")
        if morphable is not None and morphable.num_params != len(pair.mean):
            raise ValueError(
                f"ThreeDDFALists: the whitening has {len(pair.mean)} parameters, the model {morphable.num_params}"
            )
        convention = LabelConvention(frame=frame, scale_depth=False)
        super().__init__(len(self._index["params"]), convention, augmentation=augmentation, seed=seed, mirror=mirror)

    def read(self, row: int) -> Face:
        image, roi = read_crop(self.images / self.row_name(row))
        params = self._index["params"][row].astype(np.float64)
        return Face(image, roi, params, self._landmarks_of(params))

    def _landmarks_of(self, params: np.ndarray) -> np.ndarray:
        if self._landmarks is None:
            return np.full((68, 2), np.nan)
        return geometry.label_positions(
            decode(params, *self._landmarks), size=self.convention.size, frame=self.convention.frame
        )

    def row_name(self, row: int) -> str:
        return PackedStrings(self._index["names"], self._index["name_ends"])[row]

    def row_params(self, rows: np.ndarray) -> np.ndarray:
        return self._index["params"][rows]


def _entries(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def _build(
    params: Path, file_list: Path, names: list[str], held: Mapping[str, set[str]], mean: np.ndarray, std: np.ndarray,
    shift: np.ndarray,
) -> tuple[Mapping[str, np.ndarray], IndexReport]:  # fmt: skip
    labels = load_npy(params) if params.suffix == ".npy" else load_pickle(params)
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind != "f":
        given = f"{list(labels.shape)} {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise LabelError(f"{params}: expected an array of labels [N, 62], got {given}")
    if labels.shape[1] < len(mean):
        raise LabelError(f"{params}: labels have {labels.shape[1]} numbers, the whitening has {len(mean)}")
    if len(labels) != len(names):
        raise LabelError(f"{params} has {len(labels)} labels, {file_list} has {len(names)} names: they must match")
    labels = labels[:, : len(mean)]
    finite = np.isfinite(labels).all(1)
    keep, skipped = [], []
    for row, name in enumerate(names):
        folder, base = os.path.split(name)
        if base not in held[folder]:
            skipped.append(Skipped(name, "no such image"))
        elif not finite[row]:
            skipped.append(Skipped(name, f"its label, row {row} of {params.name}, has NaN or infinite values"))
        else:
            keep.append(row)
    text, ends = pack_strings([names[row] for row in keep])
    dewhitened = np.empty((len(keep), len(mean)), np.float32)
    for first in range(0, len(keep), 65536):  # in parts, so that no float64 copy of all is made
        part = keep[first : first + 65536]
        dewhitened[first : first + len(part)] = labels[part] * std + mean + shift
    return {"params": dewhitened, "names": text, "name_ends": ends}, IndexReport(len(names), tuple(skipped))
