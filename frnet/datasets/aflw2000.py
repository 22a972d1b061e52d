"""AFLW2000-3D: images with 68 landmarks in 3D, as a folder of ``.jpg`` files with ``.mat`` files beside them.

Ground truth is handed out as it is stored, in pixels that count from 1. (Against coordinates that count from 0 it lies
one pixel to the right and below, which is how figures for the weights of 3DDFA_V2 are usually taken.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frnet import geometry
from frnet.datasets.mat import read_mat
from frnet.io.images import IMAGE_SUFFIXES

__all__ = ["AFLW2000Sample", "list_aflw2000", "read_aflw2000"]


@dataclass(eq=False)
class AFLW2000Sample:
    """Ground truth of one image.

    Attributes:
        image: the image file.
        landmarks: float32 [68, 3], pixels counted from 1, y down.
        yaw: degrees, as fitted (``Pose_Para``); a few values in the data set are beyond +-180.
        pose: float64 [3], yaw, pitch, roll in degrees, as fitted; None where it was not read.
        pose_para: float64 [7], ``Pose_Para`` as stored; None where it was not read.
    """

    image: Path
    landmarks: NDArray[np.float32]
    yaw: float
    pose: NDArray[np.float64] | None = None
    pose_para: NDArray[np.float64] | None = None

    def roi(self, rule: str, width: int, height: int) -> NDArray[np.float64]:
        """The crop that the ground truth gives.

        Args:
            rule: ``"exact"``: the box around the landmarks, enlarged as in training. ``"3ddfa-compat"``: the
                same rounded to whole pixels and then cut off at the image border, as in 3DDFA's published
                list ``AFLW2000-3D_crop.roi_box.npy``; for the few faces near a border it is not quite square.
            width: of the image, in pixels.
            height: of the image, in pixels.

        Returns:
            float64 [4]: x0, y0, x1, y1.

        Raises:
            ValueError: another rule.
        """
        return geometry.benchmark_roi(self.landmarks, rule, width, height)


def read_aflw2000(image: str | os.PathLike) -> AFLW2000Sample:
    """Ground truth from the ``.mat`` file beside an image.

    Raises:
        FileNotFoundError: there is no ``.mat`` file of that name.
        ValueError: it is damaged, does not hold 68 three-dimensional landmarks and a pose, or holds a NaN.
    """
    image = Path(image)
    label = read_mat(image.with_suffix(".mat"))
    pitch, yaw, roll = np.degrees(label.pose_para[:3]).tolist()
    landmarks = label.landmarks.astype(np.float32)
    return AFLW2000Sample(image, landmarks, yaw, np.array([yaw, pitch, roll]), label.pose_para)


def list_aflw2000(folder: str | os.PathLike) -> list[AFLW2000Sample]:
    """Every image of a folder that has a ``.mat`` file of its name, sorted by name.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: a ``.mat`` file has no image.
        ValueError: there is no such pair; or see :func:`read_aflw2000`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder")
    files = sorted(folder.iterdir())
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    stems = {path.stem for path in images}
    for path in files:
        if path.suffix == ".mat" and path.stem not in stems:
            raise FileNotFoundError(f"ground truth {path} has no image beside it: {path.stem}.jpg is missing")
    samples = [read_aflw2000(path) for path in images if path.with_suffix(".mat").is_file()]
    if not samples:
        raise ValueError(f"{folder} holds no image with a .mat file of the same name")
    return samples
