"""Pictures of a result: landmarks joined to face parts, a shaded mesh, the axes of the head.

Every function takes an image and returns a new one; coordinates are image pixels, 0-based, y down, z towards
the viewer, as :class:`frnet.align.Face` holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from frnet.io.images import Image, check_image
from frnet.render.raster import rasterize, vertex_normals

# The 68 points by face part: first, one past the last, whether the line closes.
FACE_PARTS = {
    "jaw": (0, 17, False),
    "right brow": (17, 22, False),
    "left brow": (22, 27, False),
    "nose bridge": (27, 31, False),
    "nostrils": (31, 36, False),
    "right eye": (36, 42, True),
    "left eye": (42, 48, True),
    "outer lips": (48, 60, True),
    "inner lips": (60, 68, True),
}
LINE_COLOR, POINT_COLOR, MESH_COLOR = (90, 220, 90), (60, 60, 255), (225, 190, 150)  # BGR
AXIS_COLORS = ((60, 60, 255), (60, 200, 60), (255, 120, 30))  # x red, y green, z blue
RENDER_SIZE = 800  # longest side at which a mesh is rasterised, in pixels; larger faces are scaled up after
SUBPIXEL_BITS = 4  # OpenCV's drawing functions take fixed-point coordinates


class Drawable(Protocol):
    """What of a face can be drawn, as :class:`frnet.align.Face` has it."""

    @property
    def landmarks(self) -> NDArray[np.floating]:
        """[68, 3], image pixels."""
        ...

    @property
    def vertices(self) -> NDArray[np.floating]:
        """[N, 3], image pixels."""
        ...

    @property
    def params(self) -> NDArray[np.floating]:
        """De-whitened parameters; the first 12 are the 3x4 matrix of pose."""
        ...


def draw_face(
    image: Image,
    face: Drawable,
    triangles: NDArray[np.integer] | None = None,
    mesh: bool = True,
    landmarks: bool = True,
    axes: bool = True,
) -> Image:
    """Everything at once: mesh below, then landmarks, then axes at the tip of the nose.

    Args:
        image: uint8 [height, width, 3], BGR.
        face: the face to draw.
        triangles: int [T, 3], indices into ``face.vertices``; without any no mesh is drawn.
        mesh: whether the mesh is drawn.
        landmarks: whether the landmarks are drawn.
        axes: whether the axes are drawn.

    Returns:
        A new image of the same size.
    """
    image = check_image(image).copy()
    if mesh and triangles is not None and len(triangles):
        image = draw_mesh(image, face.vertices, triangles)
    if landmarks:
        image = draw_landmarks(image, face.landmarks)
    if axes:
        image = draw_axes(image, face.params, face.landmarks)
    return image


def draw_faces(
    image: Image, faces: Iterable[Drawable], triangles: NDArray[np.integer] | None = None, **parts: bool
) -> Image:
    """:func:`draw_face` for every face of an image, the one farthest back first drawn."""
    image = check_image(image).copy()
    for face in sorted(faces, key=lambda face: float(np.ptp(face.landmarks[:, 1]))):
        image = draw_face(image, face, triangles, **parts)
    return image


def draw_landmarks(image: Image, landmarks: NDArray[np.floating], thickness: int | None = None) -> Image:
    """The 68 landmarks, joined to the parts of the face.

    Args:
        image: uint8 [height, width, 3], BGR.
        landmarks: [68, 2 or 3], image pixels.
        thickness: of the lines, in pixels; by default in proportion to the face.

    Raises:
        ValueError: not 68 points.
    """
    if landmarks.ndim != 2 or landmarks.shape[0] != 68:
        raise ValueError(f"draw_landmarks: landmarks must be [68, 2 or 3], got {list(landmarks.shape)}")
    image = check_image(image).copy()
    thickness = thickness or _stroke(landmarks)
    points = _fixed_point(landmarks[:, :2])
    for first, end, closed in FACE_PARTS.values():
        cv2.polylines(image, [points[first:end]], closed, LINE_COLOR, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    radius = round((0.75 * thickness + 0.5) * (1 << SUBPIXEL_BITS))
    for x, y in points.tolist():
        cv2.circle(image, (x, y), radius, POINT_COLOR, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    return image


def draw_axes(
    image: Image, params: NDArray[np.floating], landmarks: NDArray[np.floating], length: float | None = None
) -> Image:
    """The axes of the head, from the tip of the nose, under the same projection as the mesh.

    Red points to the person's left (x), green to the top of the head (y), blue out of
    the nose (z).

    Args:
        image: uint8 [height, width, 3], BGR.
        params: de-whitened parameters; the first 12 are the 3x4 matrix of pose (FACTS A1).
        landmarks: [68, 2 or 3], image pixels.
        length: of an axis seen from the side, in pixels; by default half the size of the face.
    """
    image = check_image(image).copy()
    matrix = np.asarray(params[:12], np.float64).reshape(3, 4)[:, :3]
    scale = np.linalg.norm(matrix, axis=1)[:2].mean()
    if not np.isfinite(matrix).all() or scale == 0:
        return image
    length = length or 0.5 * float(np.ptp(landmarks[:, :2], axis=0).max())
    # One axis per row; the crop frame has y up, the image y down.
    ends = (matrix / scale * length).T * (1, -1, 1)
    origin = np.asarray(landmarks[30, :2], np.float64)
    start, thickness = tuple(_fixed_point(origin[None])[0].tolist()), 2 * _stroke(landmarks)
    for axis in np.argsort(ends[:, 2]):  # the one that points away from us first
        end = tuple(_fixed_point((origin + ends[axis, :2])[None])[0].tolist())
        cv2.arrowedLine(image, start, end, AXIS_COLORS[axis], thickness, cv2.LINE_AA, SUBPIXEL_BITS, 0.12)
    return image


def draw_mesh(
    image: Image,
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    opacity: float = 0.6,
    color: Sequence[float] = MESH_COLOR,
) -> Image:
    """The mesh, lit from the camera and from above, over the picture.

    Args:
        image: uint8 [height, width, 3], BGR.
        vertices: [N, 3], image pixels, z towards the viewer.
        triangles: int [T, 3], indices into ``vertices``.
        opacity: of the mesh, in [0, 1].
        color: BGR, 0 to 255, of a triangle that faces the light.
    """
    image = check_image(image).copy()
    shade, cover, (left, top) = shade_mesh(vertices, triangles, image.shape[1], image.shape[0])
    if not shade.size:
        return image
    view = image[top : top + shade.shape[0], left : left + shade.shape[1]]
    alpha = (cover * opacity)[..., None]
    blend = view * (1 - alpha) + shade[..., None] * np.asarray(color, np.float32) * alpha
    view[...] = np.clip(blend + 0.5, 0, 255).astype(np.uint8)
    return image


def shade_mesh(
    vertices: NDArray[np.floating], triangles: NDArray[np.integer], width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]]:
    """Light on a smooth mesh, with soft edges.

    Light falls on the vertices and is interpolated between them. Faces larger than :data:`RENDER_SIZE` are rendered at
    that size.

    Args:
        vertices: [N, 3], image pixels, z towards the viewer.
        triangles: int [T, 3].
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        Light in [0, 1] and coverage in [0, 1], float32 [h, w] each, for the part of the image that the mesh
        touches; and the left and top pixel of that part. Empty where the mesh touches nothing.
    """
    empty = np.zeros((0, 0), np.float32)
    if not len(triangles) or not np.isfinite(vertices).all():
        return empty, empty, (0, 0)
    low = np.maximum(np.floor(vertices[:, :2].min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(vertices[:, :2].max(axis=0)) + 1, (width, height)).astype(int)
    if (high <= low).any():
        return empty, empty, (0, 0)
    size = high - low
    scale = min(1.0, RENDER_SIZE / size.max())
    grid = np.maximum(np.ceil(size * scale), 1).astype(int)  # width, height of the buffer
    points = vertices.astype(np.float32, copy=True)
    points[:, :2] = (points[:, :2] - low + 0.5) * (grid / size).astype(np.float32) - 0.5
    points[:, 2] *= scale
    width, height = grid.tolist()
    light = _light(vertex_normals(points, triangles))[:, None]
    seen = rasterize(points, triangles, height, width, attributes=light, samples=2, barycentrics=False)
    cover = seen.coverage
    shade = seen.attributes[..., 0] * cover
    if scale < 1:
        shade, cover = (
            cv2.resize(part, tuple(map(int, size)), interpolation=cv2.INTER_LINEAR) for part in (shade, cover)
        )
    return shade / np.maximum(cover, 1e-6), cover, (int(low[0]), int(low[1]))


def _light(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lambert's cosine for a lamp at the camera, a little above it; both sides are lit."""
    lamp = np.array([0.0, -0.4, 1.0], np.float32)
    cosine = normals @ (lamp / np.linalg.norm(lamp)) * np.where(normals[:, 2] < 0, -1, 1)  # towards the viewer
    return (0.25 + 0.75 * np.clip(cosine, 0, 1)).astype(np.float32)


def _fixed_point(points: NDArray[np.floating]) -> NDArray[np.int32]:
    limit = 1 << 26  # what int32 holds in fixed point; OpenCV clips lines to the image itself
    return np.round(np.clip(np.nan_to_num(points), -limit, limit) * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _stroke(landmarks: NDArray[np.floating]) -> int:
    return max(1, round(float(np.ptp(landmarks[:, :2], axis=0).max()) / 200))
