"""Data sets as they are published, in small: copies of the real samples."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frnet.morphable import MorphableModel


@pytest.fixture(scope="session")
def model(shared) -> MorphableModel:
    """3DDFA's model of the 68 landmarks, v2 whitening."""
    return MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")


@pytest.fixture
def wlp(tmp_path, shared) -> Path:
    """A folder like 300W-LP: the eight images of AFLW2000-3D (labelled alike) as AFW, the real sample as IBUG."""
    root = tmp_path / "300W_LP"
    for subset, files in (
        ("AFW", (shared / "aflw2000-3d-sample").glob("image*")),
        ("IBUG", (shared / "300w-lp-sample").glob("IBUG*")),
    ):
        (root / subset).mkdir(parents=True)
        for file in files:
            shutil.copy(file, root / subset)
    return root
