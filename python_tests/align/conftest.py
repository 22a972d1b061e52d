"""The published network, the BFM grid and the face detector, opened once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from frnet.align import YuNetDetector
from frnet.models import load_checkpoint
from frnet.morphable import MorphableModel


@pytest.fixture(scope="session")
def files(shared) -> SimpleNamespace:
    """Paths of the files that alignment needs."""
    return SimpleNamespace(
        weights=shared / "3ddfa/weights/mb05_120x120.pth",
        whitening_v1=shared / "3ddfa/train.configs/param_whitening.pkl",
        whitening_v2=shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl",
        grid=shared / "3ddfa/bfm_grid64_basis.npz",
        landmarks=shared / "3ddfa/landmark_basis",
        yunet=next(Path(shared / "yunet").glob("*.onnx")),
        photo=shared / "photos/4.jpg",
        photos=shared / "photos",
        sample=shared / "aflw2000-3d-sample",
    )


@pytest.fixture(scope="session")
def checkpoint(files):
    return load_checkpoint(files.weights)


@pytest.fixture(scope="session")
def grid(files) -> MorphableModel:
    return MorphableModel.from_3ddfa_grid(files.grid, landmarks=files.landmarks)


@pytest.fixture(scope="session")
def yunet(files) -> YuNetDetector:
    return YuNetDetector(files.yunet)
