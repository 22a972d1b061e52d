"""What light, lens, sensor and compression do to a crop. Every function takes a uint8 crop and returns a new one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from frnet.datasets.augment.config import Blur, Colour, Downscale, Jpeg, MotionBlur, Noise, Occlusion

__all__ = ["blur", "colour", "downscale", "jpeg", "motion_blur", "noise", "occlude"]

_SHIFT = 4  # OpenCV's fixed-point drawing: 1/16 pixel


def occlude(
    crop: np.ndarray,
    config: Occlusion,
    rng: np.random.Generator,
    donor: Callable[[np.random.Generator], np.ndarray] | None,
) -> np.ndarray:
    """A rectangle or an ellipse over the crop, turned by any angle, filled with one colour or from another crop.

    Args:
        crop: [size, size, 3].
        config: how large.
        rng: drawn from.
        donor: gives another crop of this size; without it the filling is a colour.
    """
    size = crop.shape[0]
    sides = rng.uniform(*config.side, 2) * size
    centre, angle = rng.uniform(0, size, 2), rng.uniform(0, 180)
    mask = np.zeros(crop.shape[:2], np.uint8)
    if rng.random() < 0.5:
        corners = cv2.boxPoints((tuple(centre.tolist()), tuple(sides.tolist()), angle))
        cv2.fillPoly(mask, [np.rint(corners * 2**_SHIFT).astype(np.int32)], 255, shift=_SHIFT)
    else:
        place, axes = (np.rint(values * 2**_SHIFT).astype(int).tolist() for values in (centre, sides / 2))
        cv2.ellipse(mask, tuple(place), tuple(axes), angle, 0, 360, 255, -1, shift=_SHIFT)
    if donor is not None and rng.random() < config.other_face:
        filling = donor(rng)
    else:
        filling = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), crop.shape)
    return np.where(mask[..., None] > 0, filling, crop)


def colour(crop: np.ndarray, config: Colour, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, gamma and gain as one table for each channel, then saturation."""
    brightness = rng.uniform(-1, 1) * config.brightness
    contrast, gamma = rng.uniform(*config.contrast), rng.uniform(*config.gamma)
    gain, saturation = rng.uniform(*config.gain, 3), rng.uniform(*config.saturation)
    level = contrast * (np.arange(256) / 255 - 0.5) + 0.5 + brightness
    table = 255 * np.clip(np.clip(level, 0, 1)[:, None] ** gamma * gain, 0, 1)
    crop = cv2.LUT(crop, np.rint(table).astype(np.uint8)[None])
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(crop, saturation, grey, 1 - saturation, 0)


def blur(crop: np.ndarray, config: Blur, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian blur; beyond the border the crop is mirrored."""
    return cv2.GaussianBlur(crop, (0, 0), rng.uniform(*config.sigma))


def motion_blur(crop: np.ndarray, config: MotionBlur, rng: np.random.Generator) -> np.ndarray:
    """The mean along a line of some length and direction."""
    half, angle = rng.uniform(*config.length) / 2, rng.uniform(0, np.pi)
    reach = int(np.ceil(half))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.abs(x * np.cos(angle) + y * np.sin(angle))
    across = np.abs(y * np.cos(angle) - x * np.sin(angle))
    kernel = np.clip(half + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return cv2.filter2D(crop, -1, kernel / kernel.sum())


def downscale(crop: np.ndarray, config: Downscale, rng: np.random.Generator) -> np.ndarray:
    """Made smaller by averaging, then large again by interpolation."""
    size = crop.shape[0]
    small = max(1, round(size / rng.uniform(*config.factor)))
    return cv2.resize(cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA), (size, size))


def noise(crop: np.ndarray, config: Noise, rng: np.random.Generator) -> np.ndarray:
    """Normal noise of one strength."""
    values = rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(*config.sigma))
    return np.clip(np.rint(values + crop), 0, 255).astype(np.uint8)


def jpeg(crop: np.ndarray, config: Jpeg, rng: np.random.Generator) -> np.ndarray:
    """Compressed and decoded."""
    quality = round(rng.uniform(*config.quality))
    return cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
