"""Evaluation of a method on AFLW2000-3D.

Ground truth counts pixels from 1. By default it is used as it is stored, which is how figures for the weights of
3DDFA_V2 are usually taken: it then lies one pixel right of and below our 0-based coordinates, and so do crops cut by
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from frnet.datasets.aflw2000 import AFLW2000Sample
from frnet.io.images import read_image

from .nme import nme_percent
from .predict import Predict, PredictedFace
from .predictions import Predictions
from .protocol import COORDINATES
from .truth import Truth

__all__ = ["Evaluation", "evaluate_aflw2000", "truth_of_aflw2000"]

_CROPS = ("exact", "3ddfa-compat", "detector")


@dataclass(eq=False)
class Evaluation:
    """What :func:`evaluate_aflw2000` measured.

    Attributes:
        names: file names of the images, n of them.
        nme_percent: float64 [n]; NaN where no face was found.
        yaw: float64 [n], degrees.
        faces: the face that was compared, per image; None where none was found.
        crops: where the crops came from, in words.
    """

    names: list[str]
    nme_percent: NDArray[np.float64]
    yaw: NDArray[np.float64]
    faces: list[PredictedFace | None]
    crops: str = ""

    @property
    def mean_nme_percent(self) -> float:
        """Mean over the images with a face; NaN if there are none."""
        found = self.nme_percent[np.isfinite(self.nme_percent)]
        return float(found.mean()) if len(found) else float("nan")

    @property
    def missed(self) -> list[str]:
        """Names of the images in which no face was found."""
        return [name for name, face in zip(self.names, self.faces, strict=True) if face is None]

    def predictions(self, method: str, vertices: bool = False) -> Predictions:
        """The faces as predictions in image pixels; NaN where there is none.

        Args:
            method: name for the tables.
            vertices: whether to take the dense vertices too.

        Raises:
            ValueError: vertices are wanted, and no face was found in any image.
        """
        found = np.array([face is not None for face in self.faces])
        if vertices and not found.any():
            raise ValueError(f"{method}: no face was found in any of the {len(found)} images, so there are no vertices")

        def rows(value, shape: tuple[int, ...]) -> NDArray[np.float32]:
            array = np.full((len(self.faces), *shape), np.nan, np.float32)
            array[found] = [value(face) for face in self.faces if face is not None] or array[:0]
            return array

        mesh = next((face.vertices.shape for face in self.faces if face is not None), ())
        return Predictions(
            method=method,
            landmarks=rows(lambda face: face.landmarks, (68, 3)),
            frame="image",
            names=self.names,
            vertices=rows(lambda face: face.vertices, mesh) if vertices else None,
            pose=rows(lambda face: face.pose, (3,)),
            found=found,
            crops=self.crops,
            source=method,
        )


def truth_of_aflw2000(samples: list[AFLW2000Sample]) -> Truth:
    """The samples as ground truth for :func:`frnet.evaluate.measure`."""
    points = np.stack([sample.landmarks for sample in samples]).astype(np.float64)
    poses = [sample.pose for sample in samples]
    return Truth(
        data="AFLW2000-3D",
        points=points,
        visible=np.ones(points.shape[:2], bool),
        landmarks=points,
        yaw=np.array([sample.yaw for sample in samples]),
        annotation="original (pt3d_68)",
        split="Pose_Para",
        names=[sample.image.name for sample in samples],
        images=[sample.image for sample in samples],
        pose=None if any(pose is None for pose in poses) else np.stack(poses),
    )


def evaluate_aflw2000(
    predict: Predict,
    samples: list[AFLW2000Sample],
    roi: str = "3ddfa-compat",
    batch: int = 64,
    coordinates: str = "as-stored",
) -> Evaluation:
    """Find the face in every image and compare with its ground truth.

    Args:
        predict: the method, such as a :class:`frnet.align.FaceAligner`; finds faces itself if ``roi`` is
            ``"detector"``. Its attribute ``passes``, if it has one, is named with the results.
        samples: from :func:`list_aflw2000`.
        roi: where the crop comes from: ``"exact"`` or ``"3ddfa-compat"`` (see :meth:`AFLW2000Sample.roi`), or
            ``"detector"``; of several detected faces the one whose crop is centred nearest to the true face.
        batch: images read at a time.
        coordinates: ``"as-stored"`` cuts by and compares with ground truth that counts from 1, as published
            figures usually do; ``"matched"`` subtracts 1 from it first, as our coordinates count from 0.

    Raises:
        ValueError: another ``roi`` or ``coordinates``.
        FileNotFoundError, ImageError: see :func:`frnet.io.images.read_image`.
    """
    if roi not in _CROPS:
        raise ValueError(f"evaluate_aflw2000: roi must be one of {', '.join(_CROPS)}, got {roi!r}")
    if coordinates not in COORDINATES:
        raise ValueError(f"evaluate_aflw2000: coordinates must be one of {', '.join(COORDINATES)}, got {coordinates!r}")
    shift = np.float32(coordinates == "matched")
    faces: list[PredictedFace | None] = []
    for first in range(0, len(samples), batch):
        part = samples[first : first + batch]
        images = [read_image(sample.image) for sample in part]
        rois = None
        if roi != "detector":
            rois = [s.roi(roi, i.shape[1], i.shape[0])[None] - shift for s, i in zip(part, images, strict=True)]
        for sample, found in zip(part, predict(images, rois=rois), strict=True):
            faces.append(min(found, key=partial(_distance, sample), default=None))
    errors = [
        np.nan if face is None else float(nme_percent(face.landmarks, sample.landmarks - [shift, shift, 0]))
        for face, sample in zip(faces, samples, strict=True)
    ]
    yaw = np.array([sample.yaw for sample in samples])
    passes = getattr(predict, "passes", None)
    crops = roi if roi != "detector" or passes is None else f"detector, {passes} passes"
    return Evaluation([sample.image.name for sample in samples], np.array(errors), yaw, faces, crops)


def _distance(sample: AFLW2000Sample, face: PredictedFace) -> float:
    true = sample.landmarks[:, :2]
    centre = (face.roi[:2] + face.roi[2:]) / 2
    return float(np.linalg.norm(centre - (true.min(axis=0) + true.max(axis=0)) / 2))
