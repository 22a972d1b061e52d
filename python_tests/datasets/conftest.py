"""Data sets as they are published, in small: copies of the real samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.three_hundred_wlp import make_three_hundred_wlp

from frnet.morphable import MorphableModel


@pytest.fixture(scope="session")
def model(shared) -> MorphableModel:
    """3DDFA's model of the 68 landmarks, v2 whitening."""
    return MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")


@pytest.fixture
def wlp(tmp_path, shared) -> Path:
    """A folder like 300W-LP: nine images."""
    return make_three_hundred_wlp(tmp_path / "300W_LP", shared)
