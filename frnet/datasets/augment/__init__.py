"""Augmentation of training faces: documented, each kind switchable, labels taken along exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from frnet import geometry
from frnet.datasets.augment import photometric
from frnet.datasets.augment.config import (
    AugmentationConfig,
    Blur,
    Colour,
    Downscale,
    Flip,
    Jpeg,
    MotionBlur,
    Noise,
    Occlusion,
    RoiJitter,
    Rotation,
)
from frnet.datasets.augment.geometric import check_mirror, draw_affine, move_label
from frnet.datasets.mirror import Mirror
from frnet.datasets.sample import Face, LabelConvention

__all__ = [
    "AugmentationConfig",
    "Blur",
    "Colour",
    "Downscale",
    "Flip",
    "Jpeg",
    "MotionBlur",
    "Noise",
    "Occlusion",
    "RoiJitter",
    "Rotation",
    "augment",
    "check_mirror",
]

_AFTER_OCCLUSION = ("colour", "blur", "motion_blur", "downscale", "noise", "jpeg")


def augment(
    face: Face,
    config: AugmentationConfig,
    rng: np.random.Generator,
    convention: LabelConvention,
    *,
    mirror: Mirror | None = None,
    donor: Callable[[np.random.Generator], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop of a face, and its label.

    Args:
        face: the image, and the label for its roi.
        config: what may be done to it.
        rng: all that is random.
        convention: of the label.
        mirror: how the label follows a flip; :func:`check_mirror` says whether it is needed.
        donor: gives another face's crop, for occlusions.

    Returns:
        uint8 [size, size, 3], float64 [P] and float64 [68, 2]: crop, parameters, landmarks.

    Example:
        >>> image, roi = np.zeros((450, 450, 3), np.uint8), np.array([100.0, 90, 340, 330])
        >>> face = Face(image, roi, np.zeros(62), np.zeros((68, 2)))
        >>> crop, params, landmarks = augment(face, AugmentationConfig(), np.random.default_rng(0), LabelConvention())
        >>> crop.shape, params.shape, landmarks.shape
        ((120, 120, 3), (62,), (68, 2))
    """
    affine = draw_affine(config, face.roi, convention.size, rng)
    if affine is None:
        crop, params, landmarks = geometry.crop(face.image, face.roi, convention.size), face.params, face.landmarks
    else:
        crop = geometry.crop_view(face.image, affine, convention.size)
        params, landmarks = move_label(face, affine, convention, mirror)
    if config.occlusion is not None and rng.random() < config.occlusion.probability:
        crop = photometric.occlude(crop, config.occlusion, rng, donor)
    for name in _AFTER_OCCLUSION:
        part = getattr(config, name)
        if part is not None and rng.random() < part.probability:
            crop = getattr(photometric, name)(crop, part, rng)
    return crop, params, landmarks
