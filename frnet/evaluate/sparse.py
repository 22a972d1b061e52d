"""Sparse alignment: the NME of landmarks, by bins of yaw, under a stated protocol."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bins import BinSummary, summarise_bins
from .bootstrap import BootstrapIntervals, bootstrap_bins
from .configs_3ddfa import read_aflw2000_configs, read_aflw_configs
from .nme import nme_percent
from .predictions import CROP_SIZE, Predictions, require_finite
from .protocol import COORDINATES, Protocol
from .truth import Truth

__all__ = ["SparseResult", "ToImage", "aflw2000_sparse", "aflw_sparse", "landmarks_68_to_21", "measure", "to_image"]

# AFLW's 21 landmarks as means of iBUG's 68, counting from 0: brows, eyes with their centres, ears as points of
# the jaw, nose, mouth with its centre, chin. Source: 3DDFA, benchmark_aflw.py.
_EYE_RIGHT, _EYE_LEFT, _INNER_LIPS = range(36, 42), range(42, 48), range(60, 68)
_AFLW_21 = (
    *((17,), (19,), (21,), (22,), (24,), (26,)),
    *((36,), _EYE_RIGHT, (39,), (42,), _EYE_LEFT, (45,)),
    *((2,), (31,), (30,), (35,), (14,)),
    *((48,), _INNER_LIPS, (54,), (8,)),
)


@dataclass(frozen=True, eq=False)
class SparseResult:
    """NME of one method under one protocol; all figures in percent; n images, K landmarks.

    Attributes:
        method: its name.
        protocol: how the figures were taken.
        nme_percent: float64 [n], of each image; NaN where no face was found.
        yaw: float64 [n], degrees, as published.
        prediction: float64 [n, K, 2], pixels that count as the ground truth does.
        truth: float64 [n, K, 2], pixels that count from 1; NaN where a landmark is invisible.
        names: of the images.
    """

    method: str
    protocol: Protocol
    nme_percent: NDArray[np.float64]
    yaw: NDArray[np.float64]
    prediction: NDArray[np.float64]
    truth: NDArray[np.float64]
    names: list[str]

    @cached_property
    def summary(self) -> BinSummary:
        """All means."""
        return summarise_bins(self.nme_percent, self.yaw)

    @property
    def bins(self) -> NDArray[np.float64]:
        """Means of the three bins, float64 [3]; NaN where one is empty."""
        return self.summary.bins

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images per bin, int64 [3]."""
        return self.summary.counts

    @property
    def mean(self) -> float:
        """Unweighted mean of the three bin means, which the published tables call mean."""
        return self.summary.mean

    @property
    def std(self) -> float:
        """Population standard deviation of the three bin means, which they call std."""
        return self.summary.std

    @property
    def sample_mean(self) -> float:
        """Mean over all images."""
        return self.summary.sample_mean

    def intervals(self, samples: int = 1000, level: float = 0.95, seed: int = 0) -> BootstrapIntervals:
        """Bootstrap confidence intervals of the means; see :func:`bootstrap_bins`."""
        return bootstrap_bins(self.nme_percent, self.yaw, samples, level, seed)


class ToImage(NamedTuple):
    """``x -> scale x + offset`` for each face: float64 [n, 3] each; and what the protocol says of it."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    roi: str
    coordinates: str


def aflw2000_sparse(
    pred: ArrayLike,
    root: str | os.PathLike,
    split: str = "pose",
    annotation: str = "original",
    roi: str = "3ddfa-compat",
) -> SparseResult:
    """NME of 68 landmarks on AFLW2000-3D, as 3DDFA's evaluator computes it.

    Args:
        pred: [2000, 2, 68], x and y in 3DDFA's published crops of 120 x 120, counting from 1, y down, in their
            order: what its ``reconstruct_vertex(..., transform=True)[:2]`` returns. It is not changed.
        root: 3DDFA's folder ``test.configs``.
        split: ``"pose"`` or ``"new"``, whose yaw sorts the images into bins.
        annotation: ``"original"`` or ``"reannotated"``.
        roi: ``"3ddfa-compat"``: mapped back by the boxes as published, which are cut off at the image border
            although the crops are not; ``"exact"``: by the whole boxes.

    Returns:
        ``bins`` [3], ``mean`` and ``std`` in percent, ``counts``, ``sample_mean``, ``nme_percent`` per image and the
        ``protocol``.

    Raises:
        FileNotFoundError: ``root`` lacks a file.
        ValueError: another shape; a NaN, with the number of its face; an unknown argument; or a damaged file.
    """
    truth = read_aflw2000_configs(root, split, annotation)
    return measure(_published_crops(pred, len(truth), "aflw2000_sparse"), truth, roi)


def aflw_sparse(pred: ArrayLike, root: str | os.PathLike, roi: str = "3ddfa-compat") -> SparseResult:
    """NME of the visible ones of 21 landmarks on AFLW, as 3DDFA's evaluator computes it.

    Args:
        pred: [21080, 2, 68], as for :func:`aflw2000_sparse`; the 21 landmarks are made from the 68.
        root: 3DDFA's folder ``test.configs``, with ``AFLW_GT_pts68.npy`` in it.
        roi: as for :func:`aflw2000_sparse`.

    Returns:
        As :func:`aflw2000_sparse`.

    Raises:
        FileNotFoundError, ValueError: as for :func:`aflw2000_sparse`.
    """
    truth = read_aflw_configs(root)
    return measure(_published_crops(pred, len(truth), "aflw_sparse"), truth, roi)


def landmarks_68_to_21(landmarks: ArrayLike) -> NDArray[np.float64]:
    """AFLW's 21 landmarks from iBUG's 68.

    Args:
        landmarks: [..., 68, D].

    Returns:
        float64 [..., 21, D]; centres of eyes and mouth are means of their outlines.

    Raises:
        ValueError: another shape.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.ndim < 2 or landmarks.shape[-2] != 68:
        raise ValueError(f"landmarks_68_to_21: landmarks must be [..., 68, D], got {list(landmarks.shape)}")
    return np.stack([landmarks[..., list(points), :].mean(-2) for points in _AFLW_21], -2)


def measure(
    predictions: Predictions, truth: Truth, roi: str = "3ddfa-compat", coordinates: str = "as-stored"
) -> SparseResult:
    """NME of predictions in any frame against any ground truth.

    Args:
        predictions: one row per image of ``truth``, by name or by order.
        truth: n images.
        roi: for predictions in crops alone: ``"3ddfa-compat"`` or ``"exact"``; see :class:`Boxes`.
        coordinates: for predictions in image pixels that count from 0, against ground truth that counts from 1:
            ``"as-stored"`` compares the numbers as they are, one pixel apart, as figures for the weights of
            3DDFA_V2 are usually taken; ``"matched"`` adds 1 to the predictions first.

    Raises:
        ValueError: an unknown argument, images that do not match, values that are not finite, or predictions in
            crops where the ground truth has no boxes.
    """
    if coordinates not in COORDINATES:
        raise ValueError(f"coordinates must be one of {', '.join(COORDINATES)}, got {coordinates!r}")
    predictions = predictions.in_order_of(truth.names, len(truth))
    found = np.ones(len(truth), bool) if predictions.found is None else predictions.found
    which = np.flatnonzero(found)
    names = [truth.name(index) for index in range(len(truth))]
    named = None if truth.names is None else [names[index] for index in which]
    require_finite(predictions.landmarks[which], predictions.source, named)
    way = to_image(predictions, truth, roi, coordinates)
    xy = predictions.landmarks[..., :2].astype(np.float64) * way.scale[:, None, :2] + way.offset[:, None, :2]
    if truth.points.shape[1] == 21:
        xy = landmarks_68_to_21(xy)
    flat = np.ptp(truth.landmarks[..., :2], axis=1).prod(-1) == 0
    if flat.any():
        raise ValueError(f"{truth.data}: the true landmarks of {names[flat.argmax()]} span no area")
    errors = np.full(len(truth), np.nan)
    errors[which] = nme_percent(
        xy[which], truth.points[which], visible=truth.visible[which], box=truth.landmarks[which]
    )
    summary = summarise_bins(errors, truth.yaw)
    protocol = Protocol(
        data=truth.data,
        images=len(which),
        missed=len(truth) - len(which),
        counts=tuple(summary.counts.tolist()),
        points=truth.points.shape[1],
        annotation=truth.annotation,
        split=truth.split,
        roi=way.roi,
        coordinates=way.coordinates,
    )
    shown = np.where(truth.visible[..., None], truth.points[..., :2], np.nan)
    return SparseResult(predictions.method, protocol, errors, truth.yaw, xy, shown, names)


def to_image(predictions: Predictions, truth: Truth, roi: str, coordinates: str) -> ToImage:
    """How predicted points become image pixels that count as the ground truth does; see :func:`measure`."""
    scale, offset = np.ones((len(truth), 3)), np.zeros((len(truth), 3))
    if predictions.frame == "crop120":
        if truth.boxes is None:
            raise ValueError(
                f"{predictions.source} is in the frame of 3DDFA's published crops, whose boxes are in test.configs "
                "alone; evaluate it against that folder, or give landmarks in image pixels"
            )
        boxes = truth.boxes.of(roi)
        scale[:, :2] = (boxes[:, 2:] - boxes[:, :2]) / CROP_SIZE
        scale[:, 2] = scale[:, :2].mean(1)
        offset[:, :2] = boxes[:, :2]
        return ToImage(scale, offset, roi, "predictions and ground truth both count from 1")
    if predictions.pixel_origin == 1:
        text = "predictions and ground truth both count from 1"
    elif coordinates == "matched":
        offset[:, :2] = 1
        text = "predictions and ground truth matched to count alike"
    else:
        text = "predictions count from 0, ground truth from 1, compared as stored, which is usual"
    return ToImage(scale, offset, predictions.crops, text)


def _published_crops(pred: ArrayLike, count: int, caller: str) -> Predictions:
    pred = np.asarray(pred)
    if pred.shape != (count, 2, 68) or pred.dtype.kind not in "iuf":
        raise ValueError(f"{caller}: pred must hold numbers [{count}, 2, 68], got {pred.dtype} {list(pred.shape)}")
    return Predictions(caller, pred.transpose(0, 2, 1), "crop120", source=f"{caller}: pred")
