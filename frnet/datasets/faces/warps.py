"""Portraits turned in space: a picture on a grid with depth, drawn from another side.

As 300W-LP's faces were made from photographs (Zhu et al., CVPR 2016), here from pictures that may be used.
"""

from __future__ import annotations

import cv2
import numpy as np

from frnet.datasets.faces import raster
from frnet.datasets.faces.poses import PoseRanges, place_in_crop, rotations

__all__ = ["CELL", "CELLS", "HALF", "PATCH", "PIXELS_PER_CENTIMETRE", "Portraits"]

CELL, CELLS = 0.45, 108  # of the grid, centimetres, and how many along a side
HALF = CELL * (CELLS - 1) / 2
PIXELS_PER_CENTIMETRE = 7.0
_PROFILES = 0.25  # share of portraits that start from a profile
PATCH = int(2 * HALF * PIXELS_PER_CENTIMETRE)  # side of a portrait, pixels


class Portraits:
    """Turns portraits.

    Args:
        patches: uint8 [K, PATCH, PATCH, 3].
        depths: float16 [K, CELLS, CELLS], centimetres, rows from the bottom up.
        poses: float32 [K, 12], the head's rotation and the patch's middle in the camera's space.
        coefficients: float32 [K, C] of the head.
        size: side of the pictures.
    """

    def __init__(
        self, patches: np.ndarray, depths: np.ndarray, poses: np.ndarray, coefficients: np.ndarray, size: int
    ) -> None:
        self._patches, self._depths, self.coefficients, self._size = patches, depths, coefficients, size
        self._rotations, self._centres = poses[:, :9].reshape(-1, 3, 3), poses[:, 9:]
        line = np.arange(CELLS, dtype=np.float32) * CELL - HALF
        x, y = np.meshgrid(line, line)
        self._flat = np.stack([x, y], -1).reshape(-1, 2)
        self._texture = np.stack([(x + HALF), (HALF - y)], -1).reshape(-1, 2) * PIXELS_PER_CENTIMETRE - 0.5
        cell = np.arange(CELLS * CELLS).reshape(CELLS, CELLS)
        a, b, c, d = (part.reshape(-1) for part in (cell[:-1, :-1], cell[:-1, 1:], cell[1:, 1:], cell[1:, :-1]))
        self._triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)

    def choose(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of portraits, int64 [count]; profiles, of which there are few, come up as if there were many."""
        profile = np.abs(self._rotations[:, 0, 2]) > 0.5
        groups = [np.flatnonzero(~profile), np.flatnonzero(profile)]
        share = _PROFILES if all(len(group) for group in groups) else float(profile.all())
        return np.array([rng.choice(groups[int(rng.random() < share)]) for _ in range(count)])

    def draw(
        self, rng: np.random.Generator, heads: np.ndarray, chosen: np.ndarray, ranges: PoseRanges, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures of portraits, turned anew.

        Args:
            rng: random numbers.
            heads: float32 [n, V, 3], the portraits' heads.
            chosen: int [n], which portraits.
            ranges: of poses; the crop follows them, turns are as far as portraits allow.
            points: int [P], vertices whose places are wanted, the 68 landmarks first.

        Returns:
            Pictures uint8 [n, size, size, 3]; where they show anything, bool [n, size, size]; and the points
            [n, P, 3] in pixels of the picture, y down, z towards the viewer.
        """
        count = len(chosen)
        base = np.degrees(np.arctan2(self._rotations[chosen][:, 0, 2], self._rotations[chosen][:, 2, 2]))
        frontal = np.where(rng.random(count) < 0.4, rng.normal(0, 20, count), rng.uniform(-65, 65, count))
        # Of a profile the other half is not in the picture: little can be turned to the front.
        profile = np.sign(base) * rng.uniform(-15, np.maximum(2, 95 - np.abs(base)), count)
        yaw = np.where(np.abs(base) > 30, profile, frontal)
        pitch = np.where(rng.random(count) < 0.6, rng.normal(0, 9, count), rng.uniform(-32, 32, count))
        tilted = rng.uniform(-ranges.roll, ranges.roll, count)
        roll = np.where(rng.random(count) < 0.6, rng.normal(0, 12, count), tilted)
        turn = rotations(yaw, pitch, roll)
        stretch = np.exp(rng.normal(0, [0.05, 0.05, 0.09], (count, 3)))[:, None]
        turned = np.einsum("nij,nvj->nvi", self._rotations[chosen], heads[:, points]) - self._centres[chosen][:, None]
        marks = (turned * stretch) @ turn.transpose(0, 2, 1)
        scale, offset = place_in_crop(rng, marks[:, :68], self._size, ranges)
        pictures = np.empty((count, self._size, self._size, 3), np.uint8)
        shown = np.zeros((count, self._size, self._size), bool)
        places = np.empty((count, len(points), 3))
        for n, portrait in enumerate(chosen):
            grid = np.concatenate([self._flat, self._depths[portrait].astype(np.float32).reshape(-1, 1)], 1)
            grid = (grid * stretch[n]) @ turn[n].T
            texture, depth = raster.draw(
                self._pixels(grid, scale[n], offset[n]).astype(np.float32), self._triangles, self._texture, self._size
            )
            shown[n] = np.isfinite(depth)
            texture = np.ascontiguousarray(texture)
            pictures[n] = cv2.remap(
                self._patches[portrait], texture[:, :, 0], texture[:, :, 1], cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )  # fmt: skip
            places[n] = self._pixels(marks[n], scale[n], offset[n])
        return pictures, shown, places

    @staticmethod
    def _pixels(at: np.ndarray, scale: float, offset: np.ndarray) -> np.ndarray:
        """Pixels count from the centre of the first one; the crop's corner is half a pixel before it."""
        return at * [scale, -scale, scale] + [offset[0] - 0.5, offset[1] - 0.5, 0]
