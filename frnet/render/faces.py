"""A face model rendered as a small picture: skin, brows, eyes and lips in made-up colours, one lamp, a background."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from frnet.morphable import MorphableModel
from frnet.render.raster import rasterize

__all__ = ["FaceRenderer"]

_BROWS = (range(17, 22), range(22, 27))
_EYES = (range(36, 42), range(42, 48))
_OUTER_LIPS, _INNER_LIPS = range(48, 60), range(60, 68)
_WAVES = 6  # of the irregular colour of skin


class FaceRenderer:
    """Draws faces of one model into square pictures.

    Where brows, eyes and lips are is taken from the landmarks of the mean face as seen from the front. Colours are
    interpolated between the vertices; light is Lambert's, from vertex normals; triangles that face away are not drawn.

    Args:
        morphable: with triangles and 68 landmarks.
        size: side of the pictures, pixels.

    Raises:
        ValueError: the model has no triangles or no 68 landmarks.
    """

    def __init__(self, morphable: MorphableModel, size: int = 120) -> None:
        from scipy.sparse import csr_matrix

        if morphable.triangles is None or not len(morphable.triangles):
            raise ValueError(f"FaceRenderer: expected a model with triangles, got {morphable!r}")
        if morphable.landmarks is None or len(morphable.landmarks) != 68:
            raise ValueError(f"FaceRenderer: expected a model with 68 landmarks, got {morphable!r}")
        self.size = size
        self._triangles = morphable.triangles.cpu().numpy()
        count = morphable.num_vertices
        corners = self._triangles.reshape(-1)
        owners = np.repeat(np.arange(len(self._triangles)), 3)
        ones = np.ones(len(corners), np.float32)
        self._gather = csr_matrix((ones, (corners, owners)), (count, len(self._triangles)))
        mean = morphable.mean.float().cpu().numpy().reshape(-1, 3)
        self._places = (mean - mean.mean(0)) / np.ptp(mean[:, 0])  # x from -1/2 to 1/2
        self._paint = _paint(mean, self._normals(mean), morphable.landmarks.cpu().numpy())

    def __call__(self, vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of a face.

        Args:
            vertices: float32 [N, 3]: x and y in pixels of the picture, counting from 0, y down; z towards the viewer.
            rng: what colours, light and background are drawn from.

        Returns:
            uint8 [size, size, 3], BGR.
        """
        picture = _background(self.size, rng)
        colours = self._colours(rng) * self._light(self._normals(vertices), rng)
        seen = rasterize(
            vertices,
            self._triangles,
            self.size,
            self.size,
            attributes=colours,
            cull=True,
            samples=2,
            barycentrics=False,
        )
        picture += seen.coverage[..., None] * (seen.attributes - picture)
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals of the vertices [N, 3], from the triangles that meet there, weighted by their area."""
        first, second, third = np.ascontiguousarray(vertices.T)[:, self._triangles.T].swapaxes(0, 1)
        a, b = second - first, third - first
        across = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], 1)
        normals = self._gather @ across
        length = np.sqrt(np.einsum("vx,vx->v", normals, normals))
        return normals / np.maximum(length, 1e-12)[:, None]

    def _light(self, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Light on the vertices, [N, 1]."""
        lamp = np.float32([rng.uniform(-1, 1), rng.uniform(-1, 0.4), rng.uniform(0.6, 1.5)])
        ambient = rng.uniform(0.3, 0.7)
        # Pixels have y down, so a normal from them points into the face.
        cosine = np.clip(-normals @ (lamp / np.linalg.norm(lamp)), 0, None)
        return (ambient + rng.uniform(0.4, 0.8) * cosine)[:, None].astype(np.float32)

    def _colours(self, rng: np.random.Generator) -> np.ndarray:
        """Colours of the vertices without light, [N, 3], BGR."""
        tone = rng.uniform(70, 225)
        skin = np.array([tone * rng.uniform(0.6, 0.85), tone * rng.uniform(0.72, 0.92), tone])
        brows, red = rng.uniform(10, 90) * np.array([0.8, 0.9, 1.0]), rng.uniform(0.55, 0.85)
        lips, mouth, eyes, irises = skin * (red, red, 1.02), (30, 30, 60), (215, 215, 215), rng.uniform(20, 110, 3)
        directions = rng.normal(0, 5, (4, _WAVES)).astype(np.float32)  # the last one a phase
        strength = rng.normal(0, rng.uniform(1, 6), (_WAVES, 3)).astype(np.float32)
        waves = np.sin(self._places @ directions[:3] + 4 * directions[3]) @ strength
        return self._paint @ np.float32([skin, brows, lips, mouth, eyes, irises]) + waves


class _Part(NamedTuple):
    """An area of the face seen from the front: a closed polygon, or a line of some width."""

    points: np.ndarray  # [n, 2]
    closed: bool

    def distance(self, places: np.ndarray) -> np.ndarray:
        """Of places [N, 2]: negative inside the polygon, else to its border or to the line."""
        contour = self.points.astype(np.float32)[:, None]
        if self.closed:
            return np.array([-cv2.pointPolygonTest(contour, place, True) for place in places.astype(float).tolist()])
        starts, steps = self.points[:-1], np.diff(self.points, axis=0)
        along = np.einsum("npd,pd->np", places[:, None] - starts, steps) / (steps**2).sum(1)
        nearest = starts + along.clip(0, 1)[..., None] * steps
        return np.linalg.norm(places[:, None] - nearest, axis=2).min(1)


def _paint(mean: np.ndarray, normals: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How much of every vertex is skin, brow, lip, mouth, eye and iris: float32 [N, 6], rows that sum to 1."""
    points = mean[landmarks, :2]
    unit = np.ptp(points[:, 0]) / 150  # about a millimetre
    front = normals[:, 2] > 0.1
    places = mean[front, :2]

    def near(groups: tuple[range, ...], closed: bool = True) -> np.ndarray:
        return np.min([_Part(points[list(group)], closed).distance(places) for group in groups], axis=0)

    eyes = near(_EYES)
    centres = np.array([points[list(eye)].mean(0) for eye in _EYES])
    irises = np.linalg.norm(places[:, None] - centres, axis=2).min(1) - 5 * unit
    parts = (near(_BROWS, False) - 3 * unit, near((_OUTER_LIPS,)), near((_INNER_LIPS,)), eyes, np.maximum(irises, eyes))
    shares = np.zeros((len(mean), 1 + len(parts)), np.float32)
    shares[:, 0] = 1
    for column, distance in enumerate(parts, 1):  # each is painted over those before it
        over = np.zeros(len(mean), np.float32)
        over[front] = np.clip(0.5 - distance / (3 * unit), 0, 1)
        shares *= 1 - over[:, None]
        shares[:, column] += over
    return shares


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Blurred blobs of colour at two scales, float32 [size, size, 3]."""
    grey, colour = rng.uniform(0, 200, (4, 4, 1)), rng.uniform(-60, 60, (4, 4, 3))
    fine = rng.uniform(-30, 30, (16, 16, 3)) * rng.random()
    coarse, fine = (part.astype(np.float32) for part in (grey + colour + 20, fine))
    return cv2.resize(coarse, (size, size)) + cv2.resize(fine, (size, size))
