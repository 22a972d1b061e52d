"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the public data files that tests compare with: FRNET_SHARED, which has to be there if it is set."""
    named = os.environ.get("FRNET_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        leave = pytest.fail if named else pytest.skip
        leave(f"no test data at {folder}; set FRNET_SHARED to the folder that holds 3ddfa/, ict-facekit/ ...")
    return folder


@pytest.fixture(scope="session")
def files(shared) -> SimpleNamespace:
    """Paths of the public files that alignment needs."""
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
    """The published network."""
    from frnet.weights import load_checkpoint

    return load_checkpoint(files.weights)


@pytest.fixture(scope="session")
def grid(files):
    """The face model on a grid, with landmarks."""
    from frnet.morphable import MorphableModel

    return MorphableModel.from_3ddfa_grid(files.grid, landmarks=files.landmarks)


@pytest.fixture(scope="session")
def yunet(files):
    """A detector, opened once."""
    from frnet.align import YuNetDetector

    return YuNetDetector(files.yunet)


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(20190527)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
