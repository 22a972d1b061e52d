"""Rendered heads: geometry, colours, light and camera put together and drawn."""

from __future__ import annotations

import numpy as np

from frnet.datasets.faces import raster
from frnet.datasets.faces.fields import Fields
from frnet.datasets.faces.hair import Covers, Hair
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.light import Light, draw_lights
from frnet.datasets.faces.poses import draw_rotations, place_in_crop
from frnet.datasets.faces.shapes import Piece
from frnet.datasets.faces.skin import Skin
from frnet.datasets.faces.things import Lens, glasses, hand_or_thing, torso

__all__ = ["Painter"]

_NEAREST, _FARTHEST = 35.0, 300.0  # of the camera, centimetres
_PIVOT = 5.0  # depth at which perspective leaves sizes alone: about that of the eyes
_LEVELS = 4095
_GAMMA = (255 * (np.arange(_LEVELS + 1) / _LEVELS) ** (1 / 2.2)).astype(np.float32)
_STRANDS = 4096


class Painter:
    """Draws heads.

    Args:
        head: the mesh.
        colours: uint8 [K, V, 3], measured ones; or None.
        ingredients: what is wanted.
        size: side of the pictures.
    """

    def __init__(self, head: Head, colours: np.ndarray | None, ingredients: Ingredients, size: int) -> None:
        self._head, self._wanted, self._size = head, ingredients, size
        self._fields = Fields(head.neutral)
        self._skin = Skin(head, self._fields, None if colours is None else np.array(colours), ingredients)
        self._hair = Hair(head, self._fields, ingredients)
        self._casters = np.flatnonzero(head.parts == 0)[::3]
        self._shine = np.select(
            [np.isin(head.parts, (5, 6, 7, 8)), head.parts == 4, head.parts > 0], [7.0, 3.0, 1.0], 1.0
        )
        self._shine = self._shine.astype(np.float32)
        self._front = np.flatnonzero((head.parts == 0) & (head.neutral[:, 2] > 6))[::7]
        rng = np.random.default_rng(5)
        self._strands = rng.standard_normal(_STRANDS).astype(np.float32)

    def draw(self, rng: np.random.Generator, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures of heads with these coefficients [n, C].

        Returns:
            Pictures float32 [n, size, size, 3], 0 to 255; where they show anything, bool [n, size, size]; and the
            label's vertices [n, P, 3] in pixels of the picture, y down, z towards the viewer.
        """
        head, count = self._head, len(coefficients)
        vertices = head.vertices(coefficients)
        self._skin.turn_eyes(vertices, coefficients)
        rotation = draw_rotations(rng, count, self._wanted.poses)
        distance = np.exp(rng.uniform(np.log(_NEAREST), np.log(_FARTHEST), count))
        albedo = self._skin.paint(rng, count)
        mean = albedo[:, self._front].mean(1)
        worn = self._hair.dress(rng, vertices, mean)
        to_camera = rotation.transpose(0, 2, 1).astype(np.float32)
        turned = vertices @ to_camera
        normals = head.normals(turned)
        rough = rng.uniform(0, 0.14, count).astype(np.float32)
        for axis in range(3):
            normals[:, :, axis] += rough[:, None] * self._fields.draw(rng, rng.choice([0.4, 0.7, 1.2]), count)
        light = draw_lights(rng, count, self._wanted.shadows)
        diffuse, gloss = light.on(slice(None), turned, normals, self._shine, self._casters)
        colours = albedo
        colours *= diffuse
        colours += gloss
        marks = _perspective(turned[:, head.points].astype(np.float64), distance)
        scale, offset = place_in_crop(rng, marks[:, :68], self._size, self._wanted.poses)
        pixels = _pixels(_perspective(turned, distance), scale, offset).astype(np.float32)
        pictures = np.empty((count, self._size, self._size, 3), np.float32)
        shown = np.empty((count, self._size, self._size), bool)
        for n in range(count):

            def place(points: np.ndarray, n: int = n) -> np.ndarray:
                return _pixels(_perspective(points[None], distance[n : n + 1]), scale[n : n + 1], offset[n : n + 1])[0]

            pieces, panes = self._pieces(rng, vertices[n], turned[n], rotation[n], mean[n], worn[n])
            lit = [_lit(piece, rotation[n], light, n) for piece in pieces]
            meshes = [(pixels[n], head.triangles, colours[n])]
            meshes += [
                (place(at), both_sides(piece.triangles), shade) for piece, (at, shade) in zip(pieces, lit, strict=True)
            ]
            picture, depth = raster.draw(*_joined(meshes), self._size)
            self._draw_covers(picture, depth, worn[n], rotation[n], diffuse[n], light, n, place)
            for pane in panes:
                _draw_pane(picture, depth, place(pane.vertices @ to_camera[n]), pane)
            shown[n] = np.isfinite(depth)
            pictures[n] = _exposed(rng, picture, shown[n])
        return pictures, shown, _pixels(marks, scale, offset)

    def _strands_at(self, places: np.ndarray) -> np.ndarray:
        """Brightness across strands: noise, linear between whole numbers."""
        whole = np.floor(places)
        share = places - whole
        first = whole.astype(np.int32) % _STRANDS
        return self._strands[first] * (1 - share) + self._strands[(first + 1) % _STRANDS] * share

    def _pieces(
        self, rng: np.random.Generator, vertices: np.ndarray, turned: np.ndarray, rotation: np.ndarray,
        skin: np.ndarray, worn: Covers,
    ) -> tuple[list[Piece], list[Lens]]:  # fmt: skip
        own = self._head.points[68:136]
        pieces, panes = list(worn.solid), []
        if self._wanted.torso and rng.random() < 0.85:
            pieces.append(torso(rng, rotation))
        if self._wanted.glasses and rng.random() < 0.2:
            frames, panes = glasses(rng, vertices[own])
            pieces += frames
        if self._wanted.things and rng.random() < 0.12:
            pieces += hand_or_thing(rng, turned[own], skin)
        return pieces, panes

    def _draw_covers(
        self, picture: np.ndarray, depth: np.ndarray, worn: Covers, rotation: np.ndarray, diffuse: np.ndarray,
        light: Light, n: int, place: object,
    ) -> None:  # fmt: skip
        """Hair and cloth over the head; the edges along strands, pixel by pixel."""
        meshes = []
        where = self._hair.where
        for cover in worn.over:
            seen = cover.alpha > 0.5 - cover.fray
            triangles = self._hair.triangles[seen[self._hair.triangles].any(1)]
            if len(triangles):
                shade = cover.albedo * diffuse[where]
                extra = np.stack([cover.alpha, cover.strand, np.full_like(cover.alpha, cover.fray),
                                  np.full_like(cover.alpha, cover.contrast)], 1)  # fmt: skip
                meshes.append((place(cover.vertices @ rotation.T), triangles, np.concatenate([shade, extra], 1)))
        for piece, strand, contrast in worn.hanging:
            at, shade = _lit(piece, rotation, light, n)
            fade = np.linspace(1.6, 0.35, 14).repeat(len(at) // 14)
            extra = np.stack([fade, strand, np.full(len(at), 0.9), np.full(len(at), contrast)], 1)
            meshes.append((place(at), both_sides(piece.triangles), np.concatenate([shade, extra], 1)))
        if not meshes:
            return
        layer, layer_depth = raster.draw(*_joined(meshes), self._size)
        nearer = np.flatnonzero((layer_depth > depth).reshape(-1))
        values = layer.reshape(-1, 7)[nearer]
        strand = 0.75 * self._strands_at(values[:, 4]) + 0.65 * self._strands_at(3.7 * values[:, 4])
        cover = ((values[:, 3] + 0.4 * values[:, 5] * strand - 0.5) * 4 + 0.5).clip(0, 1)[:, None]
        colour = values[:, :3] * np.exp(0.6 * values[:, 6] * strand)[:, None]
        flat = picture.reshape(-1, 3)
        behind = np.isfinite(depth.reshape(-1)[nearer])
        cover[~behind] = cover[~behind] > 0.5  # nothing to mix with yet: the background comes later
        flat[nearer] += cover * (colour - flat[nearer])
        drawn = nearer[cover[:, 0] > 0.5]
        depth.reshape(-1)[drawn] = layer_depth.reshape(-1)[drawn]


def both_sides(triangles: np.ndarray) -> np.ndarray:
    """Triangles, and the same seen from the other side."""
    return np.concatenate([triangles, triangles[:, ::-1]])


def _perspective(points: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """What is nearer is larger; depth stays."""
    factor = distance[:, None] / np.maximum(distance[:, None] + _PIVOT - points[:, :, 2], 3.0)
    return np.concatenate([points[:, :, :2] * factor[:, :, None].astype(points.dtype), points[:, :, 2:]], 2)


def _pixels(points: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Pixels count from the centre of the first one; the crop's corner is half a pixel before it."""
    factor = (scale[:, None] * [1.0, -1.0, 1.0])[:, None]
    shift = np.concatenate([offset - 0.5, np.zeros((len(offset), 1))], 1)[:, None]
    return points * factor.astype(points.dtype) + shift.astype(points.dtype)


def _joined(meshes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(mesh[0]) for mesh in meshes)])
    return (
        np.concatenate([mesh[0] for mesh in meshes]).astype(np.float32, copy=False),
        np.concatenate([mesh[1] + np.int32(start) for mesh, start in zip(meshes, starts, strict=False)]),
        np.concatenate([mesh[2] for mesh in meshes]).astype(np.float32, copy=False),
    )


def _lit(piece: Piece, rotation: np.ndarray, light: Light, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A piece's vertices in the camera's directions, and their colours."""
    at = (piece.vertices @ (rotation if piece.turn is None else piece.turn).T).astype(np.float32)
    a, b, c = at[piece.triangles].swapaxes(0, 1)
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(at)
    np.add.at(normals, piece.triangles.T, across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    normals *= np.where(normals[:, 2:] < 0, np.float32(-1), np.float32(1))  # seen from both sides
    diffuse, _ = light.on(slice(n, n + 1), at[None], normals[None])
    return at, piece.albedo * diffuse[0]


def _draw_pane(picture: np.ndarray, depth: np.ndarray, at: np.ndarray, pane: Lens) -> None:
    size = len(picture)
    colours = np.broadcast_to(pane.colour, (len(at), 3))
    layer, layer_depth = raster.draw(at.astype(np.float32), both_sides(pane.triangles), colours, size)
    seen = layer_depth > depth
    picture[seen] += np.float32(pane.opacity) * (layer[seen] - picture[seen])


def _exposed(rng: np.random.Generator, picture: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Linear light to grey levels; mostly exposed for what is shown."""
    if rng.random() < 0.7:
        mean = picture.sum() / (3 * max(1, int(shown.sum()))) + 1e-4
        exposure = 0.25 * np.exp(rng.normal(0, 0.35)) / mean
    else:
        exposure = rng.uniform(0.6, 1.6)
    return _GAMMA.take(np.minimum(picture * np.float32(exposure * _LEVELS), _LEVELS).astype(np.int16))
