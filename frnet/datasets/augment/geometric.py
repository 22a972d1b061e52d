"""Roi jitter, rotation and flip: one affine map from the source image to the crop, and the label under it."""

from __future__ import annotations

import numpy as np

from frnet import geometry
from frnet.datasets.augment.config import AugmentationConfig
from frnet.datasets.mirror import Mirror
from frnet.datasets.sample import Face, LabelConvention
from frnet.morphable import LANDMARK_MIRROR

__all__ = ["check_mirror", "draw_affine", "move_label"]


def check_mirror(config: AugmentationConfig, mirror: Mirror | None) -> None:
    """Refuses flips where labels cannot follow.

    Raises:
        ValueError: the augmentation flips and there is no ``mirror``.
    """
    if config.flip is not None and config.flip.probability > 0 and mirror is None:
        raise ValueError(
            "augmentation: flips need labels that can follow: give the model's mirror (frnet.datasets.find_mirror). "
            "The Basel Face Model has none; for 300W-LP use its mirrored images (*_Flip) and leave flip off"
        )


def draw_affine(config: AugmentationConfig, roi: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray | None:
    """Image pixels to label positions of the augmented crop, [2, 3]; None where it is the plain crop of ``roi``.

    Args:
        config: what may be done.
        roi: [4], square, the crop without augmentation.
        size: side of the crop.
        rng: drawn from.
    """
    angle, flip, plain = 0.0, False, True
    if config.roi_jitter is not None and rng.random() < config.roi_jitter.probability:
        side = roi[2] - roi[0]
        centre = (roi[:2] + roi[2:]) / 2 + rng.uniform(-1, 1, 2) * (config.roi_jitter.shift * side)
        half = side * rng.uniform(*config.roi_jitter.scale) / 2
        roi, plain = np.concatenate([centre - half, centre + half]), False
    if config.rotation is not None and rng.random() < config.rotation.probability:
        angle, plain = rng.uniform(-1, 1) * config.rotation.degrees, False
    if config.flip is not None and rng.random() < config.flip.probability:
        flip, plain = True, False
    return None if plain else geometry.crop_affine(roi, angle=angle, flip=flip, size=size)


def move_label(
    face: Face, affine: np.ndarray, convention: LabelConvention, mirror: Mirror | None
) -> tuple[np.ndarray, np.ndarray]:
    """The parameters and landmarks of a face in the crop of ``affine``.

    Args:
        face: with the label for its own roi.
        affine: [2, 3], image pixels to label positions, as :func:`draw_affine` gives it.
        convention: of the label.
        mirror: needed where ``affine`` mirrors.

    Returns:
        float64 [P] and [68, 2].
    """
    moved = geometry.relative_affine(geometry.crop_affine(face.roi, size=convention.size), affine)
    params = geometry.transform_params(
        face.params,
        moved,
        size=convention.size,
        frame=convention.frame,
        scale_depth=convention.scale_depth,
        mirror=None if mirror is None else mirror.coefficients,
    )
    landmarks = geometry.transform_points(face.landmarks, moved)
    return params, landmarks[LANDMARK_MIRROR] if np.linalg.det(moved[:, :2]) < 0 else landmarks
