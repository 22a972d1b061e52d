"""A store of made faces without what making them needs: labels of the built-in face, pictures of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frnet.datasets.faces.factory import BLOCK, Block
from frnet.datasets.faces.poses import draw_rotations, place_in_crop
from frnet.datasets.faces.store import FaceStore
from frnet.morphable import MorphableModel

SIZE = 32


def points_of(face: MorphableModel) -> np.ndarray:
    """The landmarks of both definitions and 44 vertices more, in mirrored pairs."""
    own = MorphableModel.builtin("multi-pie").landmarks.numpy()
    landmarks = face.landmarks.numpy()
    return np.concatenate([landmarks, own, np.concatenate([landmarks[:22], landmarks[:22][::-1]])])


def noise_store(folder: Path, blocks: int, seed: int = 0) -> FaceStore:
    """Faces whose points their parameters make exactly, in crops of 32 pixels, from pictures of 64."""
    face, rng = MorphableModel.builtin(), np.random.default_rng(seed)
    points = points_of(face)
    store = FaceStore.create(folder, blocks * BLOCK, SIZE, points, {"seed": seed})
    rows = (3 * points[:, None] + np.arange(3)).reshape(-1)
    mean, basis = face.mean.double().numpy()[rows], face.basis.double().numpy()[rows]
    for index in range(blocks):
        alphas = rng.standard_normal((BLOCK, 50))
        rotation = draw_rotations(rng, BLOCK)
        shape = (mean + alphas @ basis.T).reshape(BLOCK, -1, 3) @ rotation.transpose(0, 2, 1)
        scale, offset = place_in_crop(rng, shape[:, :68], SIZE)
        depth = shape[:, :, 2] - shape[:, :68, 2].mean(1, keepdims=True)
        label = np.concatenate([shape[:, :, :2] * [1, -1], depth[:, :, None]], 2) * scale[:, None, None]
        label[:, :, :2] += offset[:, None]
        moved = np.stack([offset[:, 0] + 1, SIZE - offset[:, 1], 1 - scale * shape[:, :68, 2].mean(1)], 1)
        pose = np.concatenate([scale[:, None, None] * rotation, moved[:, :, None]], 2).reshape(BLOCK, 12)
        images = rng.integers(0, 256, (BLOCK, SIZE, SIZE, 3), np.uint8)
        params = np.concatenate([pose, alphas], 1).astype(np.float32)
        store.write(index, Block(images, label.astype(np.float32), params, np.full(BLOCK, 64, np.float32)))
    return store
