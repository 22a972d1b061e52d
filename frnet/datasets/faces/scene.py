"""Rendered heads: geometry, colours, light and camera put together and drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from frnet.datasets.faces import raster
from frnet.datasets.faces.fields import Fields
from frnet.datasets.faces.hair import Cover, Covers, Hair
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.ingredients import Ingredients
from frnet.datasets.faces.light import draw_lights
from frnet.datasets.faces.poses import draw_rotations, place_in_crop
from frnet.datasets.faces.shapes import Piece
from frnet.datasets.faces.skin import Skin
from frnet.datasets.faces.things import Lens, glasses, hand_or_thing, torso
from frnet.render.shading import shade_mesh

__all__ = ["Painter"]

_NEAREST, _FARTHEST = 35.0, 300.0  # of the camera, centimetres
_PIVOT = 5.0  # depth at which perspective leaves sizes alone: about that of the eyes
_LEVELS = 4095
_GAMMA = np.rint(255 * (np.arange(_LEVELS + 1) / _LEVELS) ** (1 / 2.2)).astype(np.uint8)
_STRAND_SAMPLES = 32


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
        self._hair = Hair(head, ingredients)
        self._casters = head.parts == 0
        self._shine = np.select(
            [np.isin(head.parts, (5, 6, 7, 8)), head.parts == 4, head.parts > 0], [7.0, 3.0, 1.0], 1.0
        )
        self._shine = self._shine.astype(np.float32)
        self._front = np.flatnonzero((head.parts == 0) & (head.neutral[:, 2] > 6))[::7]
        self._strands = _strand_table()

    def draw(self, rng: np.random.Generator, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures of heads with these coefficients [n, C].

        Returns:
            Pictures uint8 [n, size, size, 3]; where they show anything, bool [n, size, size]; and the
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
        rough = rng.uniform(0, 0.09, count).astype(np.float32)
        bumps = [rough[:, None] * self._fields.draw(rng, rng.choice([0.4, 0.7, 1.2]), count) for _ in range(3)]
        lights = draw_lights(rng, count, self._wanted.shadows).rows()
        colours = shade_mesh(
            turned,
            head.triangles,
            albedo,
            lights,
            roughness=np.stack(bumps, 2),
            shine=self._shine,
            casters=self._casters,
        ).colours
        marks = turned[:, head.points].astype(np.float64)
        plain = _Camera(distance, np.ones(count), np.full((count, 2), 0.5)).pixels(marks[:, :68]) * [1, -1, 1]
        camera = _Camera(distance, *place_in_crop(rng, plain, self._size, self._wanted.poses))
        pixels = camera.pixels(turned)
        pictures = np.empty((count, self._size, self._size, 3), np.uint8)
        shown = np.empty((count, self._size, self._size), bool)
        for n in range(count):
            place = camera[n].pixels
            pieces, panes = self._pieces(rng, vertices[n], turned[n], rotation[n], mean[n], worn[n])
            lit = [_lit(piece, rotation[n], lights[n : n + 1]) for piece in pieces]
            meshes = [(pixels[n], head.triangles, colours[n])]
            meshes += [
                (place(at[None])[0], both_sides(piece.triangles), shade)
                for piece, (at, shade) in zip(pieces, lit, strict=True)
            ]
            picture, depth = raster.draw(*_joined(meshes), self._size)
            self._draw_covers(picture, depth, worn[n], rotation[n], lights[n : n + 1], place)
            for pane in panes:
                _draw_pane(picture, depth, place((pane.vertices @ to_camera[n])[None])[0], pane)
            shown[n] = np.isfinite(depth)
            pictures[n] = _exposed(rng, picture, shown[n])
        return pictures, shown, camera.pixels(marks)

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
        self, picture: np.ndarray, depth: np.ndarray, worn: Covers, rotation: np.ndarray, light: np.ndarray,
        place: Callable[[np.ndarray], np.ndarray],
    ) -> None:  # fmt: skip
        """Hair and cloth over the head; the edges along strands, pixel by pixel."""
        meshes = []
        for cover in worn.over:
            seen = (cover.alpha > 0.5 - cover.fray).take(self._hair.triangles)
            triangles = self._hair.triangles[seen[:, 0] | seen[:, 1] | seen[:, 2]]
            if len(triangles):
                at, shade = _lit(Piece(cover.vertices, self._hair.triangles, cover.albedo), rotation, light)
                meshes.append((place(at[None])[0], triangles, _with_edges(shade, cover.alpha, cover)))
        for piece, strand, contrast in worn.hanging:
            at, shade = _lit(piece, rotation, light)
            rows = np.linspace(1.6, 0.35, 14).repeat(len(at) // 14)
            edge = Cover(at, rows, shade, strand, 0.9, contrast)
            meshes.append((place(at[None])[0], both_sides(piece.triangles), _with_edges(shade, rows, edge)))
        if not meshes:
            return
        layer, layer_depth = raster.draw(*_joined(meshes), self._size)
        nearer = np.flatnonzero(layer_depth > depth)  # take is several times as fast as indexing
        values = layer.reshape(-1, 7).take(nearer, 0)
        flat, flat_depth = picture.reshape(-1, 3), depth.reshape(-1)
        strand = self._strands.take((values[:, 4] * _STRAND_SAMPLES).astype(np.int32) % len(self._strands))
        cover = ((values[:, 3] + 0.4 * values[:, 5] * strand - 0.5) * 4 + 0.5).clip(0, 1)
        empty = np.isinf(flat_depth.take(nearer))
        cover[empty] = cover[empty] > 0.5  # nothing to mix with yet: the background comes later
        colour = values[:, :3] * np.exp(0.6 * values[:, 6] * strand)[:, None]
        behind = flat.take(nearer, 0)
        colour -= behind
        colour *= cover[:, None]
        colour += behind
        flat[nearer] = colour
        drawn = nearer[cover > 0.5]
        flat_depth[drawn] = layer_depth.reshape(-1).take(drawn)


def _with_edges(shade: np.ndarray, alpha: np.ndarray, cover: Cover) -> np.ndarray:
    """Attributes of a cover's vertices: colour, alpha, strand, fray and contrast."""
    edges = np.empty((len(shade), 7), np.float32)
    edges[:, :3], edges[:, 3], edges[:, 4], edges[:, 5:] = shade, alpha, cover.strand, (cover.fray, cover.contrast)
    return edges


def _strand_table() -> np.ndarray:
    """Brightness across strands, some samples for each: coarse noise and finer noise, linear between whole numbers."""
    rng = np.random.default_rng(5)
    places = np.arange(256 * _STRAND_SAMPLES) / _STRAND_SAMPLES
    coarse, fine = rng.standard_normal(257), rng.standard_normal(1024)
    table = 0.75 * np.interp(places, np.arange(257), coarse) + 0.65 * np.interp(3.7 * places, np.arange(1024), fine)
    return table.astype(np.float32)


def both_sides(triangles: np.ndarray) -> np.ndarray:
    """Triangles, and the same seen from the other side."""
    return np.concatenate([triangles, triangles[:, ::-1]])


class _Camera(NamedTuple):
    """Where points of one head, or of several, fall in pictures: depth stays, what is nearer is larger.

    Pixels count from the centre of the first one; the crop's corner is half a pixel before it.
    """

    distance: np.ndarray  # [n], centimetres
    scale: np.ndarray  # [n], pixels per centimetre
    offset: np.ndarray  # [n, 2], pixels

    def __getitem__(self, n: int) -> _Camera:
        return _Camera(self.distance[n : n + 1], self.scale[n : n + 1], self.offset[n : n + 1])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """[n, N, 3], x right, y up, z towards the viewer, to [n, N, 3] pixels, y down."""
        distance, scale, offset = (part.astype(points.dtype) for part in self)
        factor = points[:, :, 2] - (distance[:, None] + _PIVOT)
        np.minimum(factor, -3.0, out=factor)  # nothing is behind the camera
        np.divide(-(scale * distance)[:, None], factor, out=factor)
        seen = np.empty_like(points)
        np.multiply(points[:, :, 0], factor, out=seen[:, :, 0])
        np.multiply(points[:, :, 1], -factor, out=seen[:, :, 1])
        np.multiply(points[:, :, 2], scale[:, None], out=seen[:, :, 2])
        seen[:, :, :2] += (offset - 0.5)[:, None].astype(points.dtype)
        return seen


def _joined(meshes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(mesh[0]) for mesh in meshes)])
    return (
        np.concatenate([mesh[0] for mesh in meshes]).astype(np.float32, copy=False),
        np.concatenate([mesh[1] + np.int32(start) for mesh, start in zip(meshes, starts, strict=False)]),
        np.concatenate([mesh[2] for mesh in meshes]).astype(np.float32, copy=False),
    )


def _lit(piece: Piece, rotation: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A piece's vertices in the camera's directions, and their colours."""
    at = (piece.vertices @ (rotation if piece.turn is None else piece.turn).T).astype(np.float32)
    return at, shade_mesh(at[None], piece.triangles, piece.albedo[None], light, two_sided=True).colours[0]


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
