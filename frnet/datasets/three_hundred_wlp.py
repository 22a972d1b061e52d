"""300W-LP: photographs turned to large poses, with a fit of the Basel Face Model beside each as a ``.mat`` file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frnet import geometry
from frnet.datasets.augment import AugmentationConfig
from frnet.datasets.dataset import FaceDataset
from frnet.datasets.files import landmark_arrays
from frnet.datasets.index import IndexReport, Skipped, cache_folder, fingerprint, open_index
from frnet.datasets.mat import LabelError, read_mat
from frnet.datasets.mirror import Mirror
from frnet.datasets.packed import PackedStrings, pack_strings
from frnet.datasets.parallel import Progress, map_in_order
from frnet.datasets.sample import Face, LabelConvention
from frnet.io.images import IMAGE_SUFFIXES, ImageError, image_size, read_image
from frnet.morphable import MorphableModel
from frnet.morphable.decoding import face_shape

__all__ = ["SUBSETS", "ThreeHundredWLP"]

_log = logging.getLogger(__name__)

SUBSETS = tuple(f"{name}{twin}" for twin in ("", "_Flip") for name in ("AFW", "HELEN", "IBUG", "LFPW"))
"""The folders of 300W-LP: four sources, and the same images mirrored, with labels of their own."""

_VERSION = 1  # of what the index holds
_FIRST_INNER_LANDMARK = 17  # before it the 2D annotation follows the visible contour, not the jaw
_USUAL_MISFIT = 0.1  # of the face's size; the published fit at hand lies at 0.02, its mean face at 0.04


class ThreeHundredWLP(FaceDataset):
    """300W-LP as it is published: ``AFW/*.jpg`` with ``AFW/*.mat``, and so on.

    The crop is the square of whole pixels that 3DDFA's rule gives for the landmarks of the fit
    (:func:`frnet.geometry.roi_from_landmarks`, corner and side rounded). Its label is made from ``Pose_Para``,
    ``Shape_Para`` and ``Exp_Para`` by :func:`frnet.geometry.params_from_pose_para`, which documents the formula:
    pose as fitted, and the first 40 + 10 of 199 + 29 coefficients. What is cut off moves the landmarks by 1.3
    pixels of the image on average, an NME of 0.7 percent. Landmarks are those of the fit with all the components
    ``morphable`` has, so with the whole Basel Face Model they are exact and with a truncated one they are the
    label's own.

    The folders are indexed once: every ``.mat`` is read, every image's header looked at. The index lies in
    ``cache`` and is made anew when a file is added, removed or changed; another model or setting has another one.
    ``report`` says what was left out, and why.

    Args:
        root: the folder that holds the subsets.
        morphable: the Basel Face Model in the scaling of 300W-LP's coefficients, with the 68 landmarks
            (``MorphableModel.from_bfm(path, None, None)``, or 3DDFA's models, which are truncated).
        subsets: folders in ``root``, ``"."`` for itself; default those of :data:`SUBSETS` that exist.
        num_shape: shape coefficients of the label.
        num_expression: expression coefficients of the label.
        convention: of the label.
        cache: folder of the index; default ``~/.cache/frnet``.
        workers: processes that index.
        progress: called with files done and files in all.
        augmentation, seed, mirror: see :class:`FaceDataset`.

    Raises:
        NotADirectoryError: ``root`` or a subset is missing.
        ValueError: no usable sample; a model without 68 landmarks or with too few components.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        morphable: MorphableModel,
        *,
        subsets: Sequence[str] | None = None,
        num_shape: int = 40,
        num_expression: int = 10,
        convention: LabelConvention = LabelConvention(),  # noqa: B008  (frozen)
        cache: str | os.PathLike[str] | None = None,
        workers: int = 0,
        progress: Progress | None = None,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        self.root = Path(root)
        mean, basis = landmark_arrays(morphable, "ThreeHundredWLP")
        maker = _LabelMaker(self.root, mean, basis, morphable.layout.num_shape, num_shape, num_expression, convention)
        scan = _scan(self.root, _existing(self.root, subsets))
        settings = fingerprint(
            _VERSION, str(self.root.resolve()), scan.subsets, mean, basis, num_shape, num_expression, convention
        )
        path = cache_folder(cache) / f"300w-lp-{settings[:16]}.safetensors"
        self._index, self.report = open_index(
            path, fingerprint(scan.statuses), lambda: _build(scan, maker, workers, progress)
        )
        super().__init__(len(self._index["roi"]), convention, augmentation=augmentation, seed=seed, mirror=mirror)

    def read(self, row: int) -> Face:
        arrays = self._index
        image = read_image(self.root / self.row_name(row))
        return Face(image, *(arrays[name][row].astype(np.float64) for name in ("roi", "params", "landmarks")))

    def row_name(self, row: int) -> str:
        return PackedStrings(self._index["names"], self._index["name_ends"])[row]

    def row_params(self, rows: np.ndarray) -> np.ndarray:
        return self._index["params"][rows]

    def row_group(self, row: int) -> str:
        """The photograph: ``AFW_134212_1`` of ``AFW_Flip/AFW_134212_1_0.jpg``."""
        return re.sub(r"_\d+$", "", Path(self.row_name(row)).stem)


class _Scan(NamedTuple):
    subsets: list[str]
    pairs: list[str]  # images with a .mat file, relative to the root, sorted
    lone: list[Skipped]
    statuses: list[tuple[str, int, int]]  # name, size, time of change


class _Row(NamedTuple):
    roi: np.ndarray  # int32 [4]
    params: np.ndarray  # float32 [P]
    landmarks: np.ndarray  # float32 [68, 2]
    misfit: float  # mean distance to the 2D annotation over its size; NaN without one


def _existing(root: Path, subsets: Sequence[str] | None) -> list[str]:
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: no such folder")
    if subsets is None:
        found = [name for name in SUBSETS if (root / name).is_dir()]
        if not found:
            raise NotADirectoryError(f'{root} holds none of {", ".join(SUBSETS)}; subsets=["."] reads it alone')
        return found
    for name in subsets:
        if not (root / name).is_dir():
            raise NotADirectoryError(f"{root / name}: no such folder")
    return list(subsets)


def _scan(root: Path, subsets: list[str]) -> _Scan:
    pairs, lone, statuses = [], [], []
    for subset in subsets:
        images, labels = {}, {}
        with os.scandir(root / subset) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                group = images if suffix.lower() in IMAGE_SUFFIXES else labels if suffix == ".mat" else None
                if group is None:
                    continue
                group[entry.name] = stem
                status = entry.stat()
                statuses.append((f"{subset}/{entry.name}", status.st_size, status.st_mtime_ns))
        for name, stem in images.items():
            relative = os.path.normpath(f"{subset}/{name}")
            if f"{stem}.mat" in labels:
                pairs.append(relative)
            else:
                lone.append(Skipped(relative, "no .mat file"))
        stems = set(images.values())
        orphans = (name for name, stem in labels.items() if stem not in stems)
        lone += [Skipped(os.path.normpath(f"{subset}/{name}"), "no image") for name in orphans]
    return _Scan(subsets, sorted(pairs), sorted(lone), sorted(statuses))


@dataclass(frozen=True, eq=False)
class _LabelMaker:
    """The row of one image, or why there is none."""

    root: Path
    mean: np.ndarray  # [204]
    basis: np.ndarray  # [204, model_shape + model_expression]
    model_shape: int
    num_shape: int
    num_expression: int
    convention: LabelConvention

    def __post_init__(self) -> None:
        held = self.model_shape, self.basis.shape[1] - self.model_shape
        if held[0] < self.num_shape or held[1] < self.num_expression:
            raise ValueError(
                f"ThreeHundredWLP: labels of {self.num_shape} + {self.num_expression} coefficients need a model with "
                f"at least as many, got {held[0]} + {held[1]}"
            )

    def __call__(self, relative: str) -> _Row | Skipped:
        try:
            return self._row(self.root / relative)
        except (ImageError, LabelError, OSError) as error:
            return Skipped(relative, str(error))

    def _row(self, path: Path) -> _Row:
        width, height = image_size(path)
        label = read_mat(path.with_suffix(".mat"))
        pose = label.pose_para
        if not pose[6] > 0:
            raise LabelError(f"label {label.path}: the scale in Pose_Para must be positive, got {pose[6]}")
        shape, expression = label.shape_para(self.model_shape), label.exp_para(self.basis.shape[1] - self.model_shape)
        vertices = face_shape(np.concatenate([shape, expression]), self.mean, self.basis)
        points = geometry.project_300wlp(vertices, pose, height)[:, :2]
        roi = _whole_roi(points, width, height, label.path)
        params = geometry.params_from_pose_para(
            pose,
            shape,
            expression,
            roi,
            height,
            num_shape=self.num_shape,
            num_expression=self.num_expression,
            size=self.convention.size,
            frame=self.convention.frame,
            scale_depth=self.convention.scale_depth,
        )
        landmarks = geometry.transform_points(points, geometry.crop_affine(roi, size=self.convention.size))
        misfit = np.nan if label.pt2d is None else _misfit(points, label.pt2d - 1)
        return _Row(roi.astype(np.int32), params.astype(np.float32), landmarks.astype(np.float32), misfit)


def _misfit(points: np.ndarray, annotated: np.ndarray) -> float:
    inner = slice(_FIRST_INNER_LANDMARK, None)
    distance = np.linalg.norm(points[inner] - annotated[inner], axis=1).mean()
    return float(distance / np.sqrt(np.ptp(annotated, axis=0).prod()))


def _whole_roi(points: np.ndarray, width: int, height: int, path: Path) -> np.ndarray:
    """The square of whole pixels next to 3DDFA's roi, so that the crop and its label share every corner exactly."""
    try:
        roi = geometry.roi_from_landmarks(points)
        corner, side = np.rint(roi[:2]), np.rint(roi[2] - roi[0])
        return geometry.require_roi(np.concatenate([corner, corner + side]), width, height)
    except ValueError as error:
        raise LabelError(f"label {path}: the landmarks give no crop ({error})") from None


def _build(
    scan: _Scan, maker: _LabelMaker, workers: int, progress: Progress | None
) -> tuple[Mapping[str, np.ndarray], IndexReport]:
    rows = list(map_in_order(maker, scan.pairs, workers, progress))
    kept = [(name, row) for name, row in zip(scan.pairs, rows, strict=True) if isinstance(row, _Row)]
    skipped = [row for row in rows if isinstance(row, Skipped)]
    report = IndexReport(len(scan.pairs) + len(scan.lone), tuple(sorted([*skipped, *scan.lone])))
    misfits = np.array([row.misfit for _, row in kept])
    known = misfits[~np.isnan(misfits)]
    if known.size and np.median(known) > _USUAL_MISFIT:
        _log.warning(
            "%s: the landmarks of the model lie %.0f %% of the face's size off the 2D annotations, where about 2 %% is "
            "usual: were these labels made with another model, or with one scaled otherwise?",
            maker.root,
            100 * np.median(known),
        )
    names, ends = pack_strings([name for name, _ in kept])
    arrays: dict[str, Any] = {"names": names, "name_ends": ends}
    for field in ("roi", "params", "landmarks") if kept else ():
        arrays[field] = np.stack([getattr(row, field) for _, row in kept])
    return arrays, report
