"""Faces drawn from a morphable model and rendered on the spot: training data with exact labels and no files."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from frnet import geometry
from frnet.datasets.augment import AugmentationConfig
from frnet.datasets.dataset import FaceDataset
from frnet.datasets.files import landmark_arrays
from frnet.datasets.index import fingerprint
from frnet.datasets.mirror import Mirror, find_mirror
from frnet.datasets.packed import MappedNpy
from frnet.datasets.parallel import Progress, map_in_order
from frnet.datasets.sample import Face, LabelConvention
from frnet.io.files import open_whole
from frnet.morphable import MorphableModel, procedural_face
from frnet.morphable.decoding import decode, face_shape
from frnet.render.faces import FaceRenderer

__all__ = ["FaceRanges", "ProceduralFaces"]

_VERSION = 1  # of what a seed gives
_WHITENING_DRAWS = 2048
_LABELS, _WHITENING, _PICTURES = range(3)  # streams of random numbers


@dataclass(frozen=True)
class FaceRanges:
    """Where synthetic faces are drawn from; all but the coefficients uniform.

    Attributes:
        yaw: largest angle to either side, degrees.
        pitch: likewise.
        roll: likewise.
        shift: largest move of the face from the middle of the crop along each axis, as a share of the crop's side.
        scale: largest change of its size, as a share of the size that 3DDFA's rule for crops gives.
        coefficients: standard deviations of shape and expression, as a factor of the model's own.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # as the augmentation's settings

    yaw: float = 90.0
    pitch: float = 30.0
    roll: float = 30.0
    shift: float = 0.03
    scale: float = 0.05
    coefficients: float = 1.0

    def __post_init__(self) -> None:
        limits = {"yaw": 180, "pitch": 180, "roll": 180, "shift": 1, "scale": 0.9, "coefficients": 10}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"FaceRanges: {name} must be from 0 to {limit}, got {getattr(self, name)}")


class ProceduralFaces(FaceDataset):
    """Rendered faces of a morphable model. Face n depends on ``data_seed``, n, the model and the ranges alone.

    A pose and coefficients are drawn; the face is put into the crop by its landmarks as 3DDFA's rule would
    (:func:`frnet.geometry.roi_from_landmarks`); :class:`frnet.render.faces.FaceRenderer` draws it there, with the
    centre of pixel u at label position u. Coefficients are normal with the mean and standard deviation of the
    model's whitening, or of 0 and 1 where it has none. Drawing a face takes some milliseconds: without ``cache``
    that is done whenever one is asked for, with it once, all of them.

    Args:
        count: of faces.
        morphable: with triangles and 68 landmarks; None: :func:`frnet.morphable.procedural_face`.
        ranges: what is drawn.
        data_seed: of the faces; a validation set needs another one.
        size: side of the crops.
        cache: a folder: all faces are drawn now and kept there as one mapped ``.npy`` file, 43 kB each, which is
            drawn anew if anything that it depends on is another. None: nothing is kept.
        workers: processes that draw.
        progress: called with faces done and faces in all.
        augmentation, seed, mirror: see :class:`FaceDataset`; of the procedural face the mirror is known.

    Attributes:
        morphable: the model, with the whitening of such faces where it had none: the mean and standard deviation of
            2048 labels with a seed of their own, so all data sets with these ranges have the same one.

    Raises:
        ValueError: a model without triangles or landmarks, or less than one face.
        OSError: ``cache`` cannot be written.
    """

    def __init__(
        self,
        count: int,
        morphable: MorphableModel | None = None,
        *,
        ranges: FaceRanges = FaceRanges(),
        data_seed: int = 0,
        size: int = 120,
        cache: str | os.PathLike[str] | None = None,
        workers: int = 0,
        progress: Progress | None = None,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"ProceduralFaces: expected at least one face, got {count}")
        whitened = morphable
        if morphable is None:
            morphable, known = _procedural_face()
            mirror, whitened = mirror or known, _whitened_procedural_face(ranges, size)
        source = _FaceSource(morphable, ranges, data_seed, size)
        self.morphable = whitened if whitened.param_mean is not None else source.with_whitening(morphable)
        self._source = source
        self._pictures = None if cache is None else _kept_pictures(source, count, Path(cache), workers, progress)
        super().__init__(count, LabelConvention(size), augmentation=augmentation, seed=seed, mirror=mirror)

    def read(self, row: int) -> Face:
        params, landmarks = self._source.label(row)
        picture = self._source.picture(row) if self._pictures is None else np.array(self._pictures.array[row])
        return Face(picture, np.array([0.0, 0.0, *picture.shape[1::-1]]), params, landmarks)

    def row_name(self, row: int) -> str:
        return f"face {row}"

    def row_params(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self._source.label(int(row))[0] for row in rows])


class _FaceSource:
    """Labels and pictures by number."""

    def __init__(self, morphable: MorphableModel, ranges: FaceRanges, data_seed: int, size: int) -> None:
        self.ranges, self.data_seed, self.size = ranges, data_seed, size
        self._mean = morphable.mean.float().cpu().numpy()
        self._basis = morphable.basis.float().cpu().numpy()
        self._landmarks = landmark_arrays(morphable, "ProceduralFaces")
        count = self._basis.shape[1]
        self._centre, self._spread = np.zeros(count), np.ones(count)
        if morphable.param_mean is not None:
            self._centre, self._spread = (
                part[12:].double().cpu().numpy() for part in (morphable.param_mean, morphable.param_std)
            )
        self._renderer = FaceRenderer(morphable, size)

    def label(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """float64 [12 + S + E] parameters and [68, 2] label positions."""
        return self._drawn(np.random.default_rng((_LABELS, self.data_seed, index)))

    def _drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ranges = self.ranges
        rotation = geometry.rotation_from_euler(*(rng.uniform(-1, 1, 3) * (ranges.yaw, ranges.pitch, ranges.roll)))
        alpha = self._centre + self._spread * ranges.coefficients * rng.standard_normal(len(self._centre))
        points = face_shape(alpha, *self._landmarks) @ rotation.T
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        # 3DDFA's crop is sqrt(2) times the longer side of the landmarks' box.
        scale = self.size / np.sqrt(2) / (high - low).max() * (1 + rng.uniform(-1, 1) * ranges.scale)
        centre = self.size * (0.5 + rng.uniform(-1, 1, 2) * ranges.shift)
        one = geometry.first_pixel(LabelConvention.frame)
        middle = np.array([centre[0] + one, self.size + 1 - one - centre[1], one])  # in the crop frame
        offset = middle - scale * np.array([*(low + high) / 2, points[:, 2].mean()])
        params = np.concatenate([np.column_stack([scale * rotation, offset]).reshape(-1), alpha])
        return params, geometry.label_positions(decode(params, *self._landmarks), size=self.size)

    def picture(self, index: int) -> np.ndarray:
        """uint8 [size, size, 3]."""
        params = self.label(index)[0].astype(np.float32)
        vertices = decode(params, self._mean, self._basis)
        vertices[:, :2] = geometry.label_positions(vertices, size=self.size)
        return self._renderer(vertices, np.random.default_rng((_PICTURES, self.data_seed, index)))

    def with_whitening(self, morphable: MorphableModel) -> MorphableModel:
        """The model with the mean and standard deviation of labels that no data set holds."""
        rng = np.random.default_rng(_WHITENING)
        drawn = np.stack([self._drawn(rng)[0] for _ in range(_WHITENING_DRAWS)])
        spread = drawn.std(0)
        return morphable.with_whitening(drawn.mean(0), np.where(spread > 0, spread, 1.0))

    def digest(self, count: int) -> str:
        """Of all that the pictures depend on."""
        settings = (self.ranges, self.data_seed, self.size, count, self._mean, self._basis)
        return fingerprint(_VERSION, *settings, self._centre, self._spread)


@functools.cache
def _procedural_face() -> tuple[MorphableModel, Mirror]:
    """Made once: a training and a validation set have the same one."""
    morphable = procedural_face()
    return morphable, find_mirror(morphable)


@functools.lru_cache(maxsize=16)
def _whitened_procedural_face(ranges: FaceRanges, size: int) -> MorphableModel:
    morphable, _ = _procedural_face()
    return _FaceSource(morphable, ranges, 0, size).with_whitening(morphable)


def _kept_pictures(source: _FaceSource, count: int, cache: Path, workers: int, progress: Progress | None) -> MappedNpy:
    path = cache / f"synthetic-faces-{source.digest(count)[:16]}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:  # written, not mapped: a full disk is an error, not a crash
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, source.size, source.size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for picture in map_in_order(source.picture, range(count), workers, progress):
                file.write(picture.tobytes())
    return MappedNpy(path)
