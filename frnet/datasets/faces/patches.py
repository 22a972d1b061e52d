"""Changes to finished pictures: shapes that cover a part, and light that is uneven."""

from __future__ import annotations

import cv2
import numpy as np

from frnet.datasets.faces.backgrounds import Backgrounds

__all__ = ["cover_with_patches", "uneven_light"]


def cover_with_patches(rng: np.random.Generator, picture: np.ndarray, backgrounds: Backgrounds) -> None:
    """One or two polygons or bars with a texture of their own; in place."""
    side = len(picture)
    for _ in range(int(rng.integers(1, 3))):
        corners = int(rng.integers(4, 12))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = rng.uniform(0.05, 0.22) * side * rng.uniform(0.5, 1.5, corners)
        stretch = [1.0, rng.uniform(0.3, 2.5)]
        outline = (
            rng.uniform(0.1, 0.9, 2) * side + np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None] * stretch
        )
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
        cv2.copyTo(backgrounds.draw(rng), mask, picture)


def uneven_light(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """A picture uint8 [H, W, 3] with a smooth gain and a tint."""
    if rng.random() < 0.5:
        gain = rng.standard_normal((3, 3, 1)).astype(np.float32) * np.float32(rng.uniform(0, 0.4))
        gain = np.repeat(np.exp(gain), 3, 2) * np.exp(rng.normal(0, 0.1, 3)).astype(np.float32)
        gain = cv2.resize(gain, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        picture = cv2.multiply(picture, gain, dtype=cv2.CV_8U)
    return picture
