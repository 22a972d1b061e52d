"""Landmark errors on the validation split."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, Subset

from frnet import geometry, ops
from frnet.datasets import FaceDataset, network_input
from frnet.evaluate import YAW_BINS, nme_percent, summarise_bins
from frnet.morphable import MorphableModel

from .run_folder import TrainingError
from .stop import init_training_worker

__all__ = ["Validation", "Validator"]


@dataclass(frozen=True, eq=False)
class Validation:
    """What a network does on the validation split.

    Attributes:
        nme_percent: float64 [n], of each face: 68 landmarks in the plane, by the size of their box; NaN where the face
            could not be read.
        yaw: float64 [n], degrees, of the labels.
        landmarks: float64 [n, 68, 2], predicted, crop pixels.
    """

    nme_percent: np.ndarray
    yaw: np.ndarray
    landmarks: np.ndarray

    @property
    def unread(self) -> int:
        """Faces that could not be read."""
        return int(np.isnan(self.nme_percent).sum())

    def figures(self) -> dict[str, float]:
        """Mean NME over the faces that could be read, and of the three bins of yaw; NaN for an empty bin."""
        summary = summarise_bins(self.nme_percent, self.yaw)
        names = [f"nme_percent_{name.replace('-', '_')}" for name in YAW_BINS]
        return {"nme_percent": summary.sample_mean, **dict(zip(names, summary.bins.tolist(), strict=True))}


class Validator:
    """Runs a network over the validation split, each process over a share of it.

    Args:
        fabric: of the run.
        faces: the split, without augmentation.
        morphable: the model of the labels, with its whitening and landmarks.
        batch_size: of a process.
        workers: that read.

    Raises:
        ValueError: the model has no 68 landmarks.
    """

    def __init__(
        self, fabric: Fabric, faces: FaceDataset, morphable: MorphableModel, batch_size: int, workers: int
    ) -> None:
        if morphable.landmarks is None or len(morphable.landmarks) != 68:
            raise ValueError(f"validation needs a morphable model with 68 landmarks, got {morphable!r}")
        self._fabric, self._faces = fabric, faces
        self._model = morphable.landmark_model().to(fabric.device)
        self._mine = range(fabric.global_rank, len(faces), fabric.world_size)
        self._loader = DataLoader(
            Subset(faces, self._mine),
            batch_size,
            num_workers=workers,
            worker_init_fn=init_training_worker,
            pin_memory=fabric.device.type == "cuda",
            generator=torch.Generator(),  # its own, so that torch's stays as the training left it
        )

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> Validation:
        """In evaluation mode, to which the network is switched and from which it is switched back.

        Raises:
            TrainingError: the network predicts NaN or infinite values.
        """
        count, training = len(self._faces), network.training
        mine = iter(self._mine)
        rows = torch.zeros(count, 2 + 68 * 2, dtype=torch.float64)
        network.eval()
        for batch in self._loader:
            with self._fabric.autocast():
                z = network(network_input(batch.image.to(self._fabric.device, non_blocking=True), self._model.dtype))
            params = self._model.dewhiten(z.to(self._model.dtype))
            if not torch.isfinite(params).all():
                raise TrainingError("the network predicts values that are not finite: its training has diverged")
            vertices = ops.reconstruct_vertices(params, self._model).cpu().numpy()
            landmarks = self._positions(vertices)
            truth = batch.landmarks.double().numpy()
            errors = np.where(batch.replaced.numpy(), np.nan, nme_percent(landmarks, truth))
            yaw = geometry.pose_angles(batch.params.double().numpy())[..., 0]
            values = np.concatenate([errors[:, None], yaw[:, None], landmarks.reshape(len(truth), -1)], 1)
            rows[list(itertools.islice(mine, len(values)))] = torch.from_numpy(values)
        network.train(training)
        rows = self._fabric.all_reduce(rows.to(self._fabric.device), reduce_op="sum").cpu().numpy()
        return Validation(rows[:, 0], rows[:, 1], rows[:, 2:].reshape(count, 68, 2))

    def _positions(self, vertices: np.ndarray) -> np.ndarray:
        convention = self._faces.convention
        return geometry.label_positions(vertices, size=convention.size, frame=convention.frame)
