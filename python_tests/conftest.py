"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the public data files that tests compare with; see FRNET_SHARED."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FRNET_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set FRNET_SHARED to the folder that holds 3ddfa/, ict-facekit/ ...")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every run."""
    return np.random.default_rng(20190527)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
