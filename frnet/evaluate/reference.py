"""Comparison with landmarks that another program computed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .aflw2000 import Evaluation


def landmark_difference(evaluation: Evaluation, reference: str | os.PathLike) -> NDArray[np.float64]:
    """Largest difference of any landmark coordinate (x, y or z), per image.

    Args:
        evaluation: what was measured.
        reference: an ``.npz`` file with ``names`` [n] and ``landmarks68`` [n, 3, 68], pixels, 0-based.

    Returns:
        float64 [images], pixels; NaN where no face was found.

    Raises:
        ValueError: the file is damaged, lacks an array, or lacks an image.
    """
    path = Path(reference)
    try:
        with np.load(path, allow_pickle=False) as data:
            names, landmarks = data["names"].tolist(), data["landmarks68"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"reference {path}: wanted arrays names and landmarks68 in an .npz ({error})") from error
    if landmarks.shape != (len(names), 3, 68):
        raise ValueError(f"reference {path}: landmarks68 must be [{len(names)}, 3, 68], got {list(landmarks.shape)}")
    missing = [name for name in evaluation.names if name not in names]
    if missing:
        raise ValueError(f"reference {path} has no landmarks of {', '.join(missing[:3])}")
    return np.array(
        [
            np.nan if face is None else np.abs(face.landmarks - landmarks[names.index(name)].T).max()
            for name, face in zip(evaluation.names, evaluation.faces, strict=True)
        ]
    )
