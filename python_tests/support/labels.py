"""Labels read without the package's own geometry."""

from __future__ import annotations

import numpy as np

from frnet.morphable import MorphableModel


def landmarks_of(model: MorphableModel, params, frame: str = "3ddfa-v2") -> np.ndarray:
    """Label positions of the 68 landmarks of a label, in plain NumPy."""
    params = np.asarray(params, np.float64)
    landmarks = model.landmark_model()
    shape = landmarks.mean.double().numpy() + landmarks.basis.double().numpy() @ params[12:]
    pose = params[:12].reshape(3, 4)
    x, y, _ = (shape.reshape(-1, 3) @ pose[:, :3].T + pose[:, 3]).T
    return np.stack([x - 1, 120 - y] if frame == "3ddfa-v2" else [x, 121 - y], -1)
