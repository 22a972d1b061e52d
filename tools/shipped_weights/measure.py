"""Errors of a network on made faces, on photographs that another network labels, and on AFLW2000-3D."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from frnet import geometry, ops
from frnet.align import FaceAligner, read_image
from frnet.datasets import SyntheticFaces, network_input
from frnet.evaluate import evaluate_aflw2000, list_aflw2000, nme_percent, summarise_bins
from frnet.io.images import IMAGE_SUFFIXES
from frnet.morphable import MorphableModel, open_morphable
from frnet.weights import Checkpoint, choose_whitening

__all__ = [
    "Errors",
    "aflw2000_errors",
    "open_labeller",
    "open_store",
    "photo_errors",
    "predict_store",
    "rendered_errors",
]

JAW = slice(0, 17)
INNER = slice(17, 68)


@dataclass(eq=False)
class Errors:
    """Errors of the faces of one set, in percent of the size of the true face.

    Attributes:
        title: what was measured, and how.
        names: of the faces, n of them; empty where there are too many to name.
        yaw: float64 [n], degrees.
        nme: float64 [n], all 68 landmarks; NaN where no face was found.
        inner: float64 [n], brows, nose, eyes and mouth.
        jaw: float64 [n], the jaw line.
    """

    title: str
    yaw: NDArray[np.float64]
    nme: NDArray[np.float64]
    inner: NDArray[np.float64]
    jaw: NDArray[np.float64]
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, predicted: NDArray, truth: NDArray, yaw: NDArray, names: list[str] | None = None) -> Errors:
        """From landmarks [n, 68, 2 or 3] each; every part by the size of the whole face."""
        parts = [nme_percent(predicted[:, part], truth[:, part], box=truth) for part in (slice(0, 68), INNER, JAW)]
        return cls(title, np.asarray(yaw, np.float64), *parts, names or [])

    @property
    def found(self) -> int:
        """Faces that were found."""
        return int(np.isfinite(self.nme).sum())

    def summary(self) -> dict[str, object]:
        """Mean and worst, by part and by bin of |yaw|, as JSON can hold it."""
        bins = summarise_bins(self.nme, self.yaw)
        means = {name: _rounded(np.nanmean(getattr(self, name))) for name in ("nme", "inner", "jaw")}
        return {
            "title": self.title,
            "faces": len(self.nme),
            "found": self.found,
            "mean": means["nme"],
            "inner_51": means["inner"],
            "jaw_17": means["jaw"],
            "worst": _rounded(np.nanmax(self.nme)),
            "bins": [_rounded(value) for value in bins.bins],
            "in_bins": bins.counts.tolist(),
            "each": {name: _rounded(value) for name, value in zip(self.names, self.nme, strict=False)},
        }


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def predict_store(checkpoint: Checkpoint, faces: SyntheticFaces, morphable: MorphableModel) -> NDArray[np.float64]:
    """Landmarks [n, 68, 3] that a network gives for the crops of a store, label positions in crops of its size."""
    whitened = morphable.with_whitening(*choose_whitening(checkpoint, None, morphable).whitening)
    model, network = whitened.landmark_model().to(dtype=torch.float32), checkpoint.model.eval()
    landmarks = []
    with torch.inference_mode():
        for batch in DataLoader(faces, 64):
            params = model.dewhiten(network(network_input(batch.image)))
            vertices = ops.reconstruct_vertices(params, model).numpy()
            landmarks.append(geometry.label_positions(vertices, size=faces.convention.size))
    return np.concatenate(landmarks).astype(np.float64)


def open_store(store: str | os.PathLike[str], size: int, count: int) -> SyntheticFaces:
    """The first faces of a store as crops of this size, unmirrored."""
    faces = SyntheticFaces(store, size=size, mirrored=False)
    return faces.subset(range(min(len(faces), count)))


def rendered_errors(
    checkpoint: Checkpoint, morphable: MorphableModel, store: str | os.PathLike[str], count: int = 2000
) -> Errors:
    """Made faces whose truth is exact."""
    faces = open_store(store, checkpoint.input_size, count)
    samples = [faces[index] for index in range(len(faces))]
    truth = np.stack([sample.landmarks.numpy() for sample in samples]).astype(np.float64)
    yaw = geometry.pose_angles(np.stack([sample.params.numpy() for sample in samples]).astype(np.float64))[:, 0]
    predicted = predict_store(checkpoint, faces, morphable)
    return Errors.of(f"{len(faces)} rendered faces", predicted[..., :2], truth, yaw)


def open_labeller(shared: Path) -> FaceAligner:
    """3DDFA_V2's mb05 with YuNet, which finds faces in photographs and says where their landmarks are.

    Args:
        shared: folder of the public files.
    """
    (yunet,) = (shared / "yunet").glob("*.onnx")
    weights = shared / "3ddfa/weights/mb05_120x120.pth"
    return FaceAligner(weights, open_morphable(shared / "3ddfa/landmark_basis"), detector=yunet)


def photo_errors(aligner: FaceAligner, labeller: FaceAligner, folder: Path) -> Errors:
    """Photographs; what the labeller finds, in two looks at each face, stands for the truth, though it errs itself.

    Args:
        aligner: what is measured, in crops of the labeller's landmarks, one look.
        labeller: has a detector, and looks twice.
        folder: of photographs.
    """
    names, truth, predicted, yaw = [], [], [], []
    for path, image in _pictures(folder):
        found = sorted(labeller(image), key=lambda face: float(face.roi[0]))
        if not found:
            continue
        rois = np.stack([geometry.roi_from_landmarks(face.landmarks) for face in found])
        for number, (label, face) in enumerate(zip(found, aligner(image, rois=rois), strict=True)):
            names.append(f"{path.name} {number}")
            truth.append(label.landmarks)
            predicted.append(face.landmarks)
            yaw.append(label.pose.yaw)
    return Errors.of("photographs, against mb05", np.stack(predicted), np.stack(truth), np.array(yaw), names)


def aflw2000_errors(aligner: FaceAligner, folder: Path) -> Iterator[Errors]:
    """AFLW2000-3D: one look at crops of the true landmarks, by both ways of counting pixels; then whole pictures.

    Args:
        aligner: what is measured; where it has a detector, also in whole pictures, with two looks at each face.
        folder: images with ``.mat`` files.
    """
    samples = list_aflw2000(folder)
    stored = np.stack([sample.landmarks for sample in samples]).astype(np.float64)
    runs = [
        ("3ddfa-compat", "matched", "true crops, everything counted from 0"),
        ("3ddfa-compat", "as-stored", "true crops, as published figures are taken (truth counts from 1)"),
    ]
    if aligner.detector is not None:
        runs.append(("detector", "matched", "whole pictures, everything counted from 0"))
    for roi, coordinates, title in runs:
        evaluation = evaluate_aflw2000(aligner, samples, roi, coordinates=coordinates)
        predicted = np.full_like(stored, np.nan)
        for row, face in zip(predicted, evaluation.faces, strict=True):
            if face is not None:
                row[:] = face.landmarks
        truth = stored - np.array([1.0, 1.0, 0.0]) * (coordinates == "matched")
        yield Errors.of(f"AFLW2000-3D, {title}", predicted, truth, evaluation.yaw, evaluation.names)


def _pictures(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield path, read_image(path)
