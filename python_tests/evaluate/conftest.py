"""Ground truth as published, and a small copy of it that tests may damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frnet import geometry
from frnet.align import FaceAligner, read_image
from frnet.models import load_checkpoint
from frnet.morphable import MorphableModel

FILES = (
    "AFLW2000-3D.pts68",
    "AFLW2000-3D-Reannotated.pts68",
    "AFLW2000-3D.pose",
    "AFLW2000-3D-new.pose",
    "AFLW2000-3D_crop.roi_box",
)


@pytest.fixture(scope="session")
def configs(shared) -> Path:
    """3DDFA's own folder."""
    return shared / "3ddfa/test.configs"


@pytest.fixture(scope="session")
def golden(shared):
    """Predictions for 2000 images, and what 3DDFA's evaluator says of them."""
    with np.load(shared / "golden/aflw2000_protocol.npz") as data:
        return dict(data)


@pytest.fixture(scope="session")
def sample_truth(shared):
    """Names and places in test.configs of the eight images at hand."""
    with np.load(shared / "aflw2000-3d-sample/ground_truth.npz") as data:
        return dict(data)


@pytest.fixture
def small_configs(configs, sample_truth, tmp_path) -> Path:
    """Test.configs of the eight images alone; the first yaw of "new" is as in "pose"."""
    folder = tmp_path / "test.configs"
    folder.mkdir()
    for name in FILES:
        np.save(folder / f"{name}.npy", np.load(configs / f"{name}.npy")[sample_truth["index"]])
    return folder


@pytest.fixture
def crops(shared, sample_truth, tmp_path) -> Path:
    """The eight faces, cut by their whole roi boxes to 120 x 120."""
    folder = tmp_path / "crops"
    folder.mkdir()
    import cv2

    for name, points in zip(sample_truth["names"].tolist(), sample_truth["pts68"], strict=True):
        roi = geometry.roi_from_landmarks_benchmark(points.T)
        face = geometry.crop(read_image(shared / "aflw2000-3d-sample" / name), roi)
        (folder / name).with_suffix(".png").write_bytes(cv2.imencode(".png", face)[1].tobytes())
    return folder


@pytest.fixture(scope="session")
def make_aligner(shared):
    checkpoint = load_checkpoint(shared / "3ddfa/weights/mb05_120x120.pth")
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    whitening = shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl"
    return lambda **settings: FaceAligner(checkpoint, model, whitening, **settings)
