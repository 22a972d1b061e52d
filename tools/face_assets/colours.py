"""Colours of a head's vertices from a portrait."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy import sparse
from scipy.ndimage import maximum_filter
from scipy.sparse.linalg import factorized

from face_assets.fit import Fit
from frnet.datasets.faces.head import Head
from frnet.render import vertex_normals

__all__ = ["Side", "sample_colours", "sample_side"]

_PIXELS_PER_CENTIMETRE = 6.0  # a portrait is brought down to this, or colours would alias
_FACING, _CELL, _BEHIND = 0.4, 0.35, 1.2  # what counts as seen: cosine; cells and depth of a coarse z-buffer, cm
_PULL = 0.01  # of unknown vertices to what is expected there


class Side(NamedTuple):
    """What profiles show of a person: colours float64 [V, 3] of vertices bool [V], the same on both sides."""

    colours: np.ndarray
    known: np.ndarray


def sample_colours(
    head: Head, picture: np.ndarray, points: np.ndarray, fit: Fit, side: Side | None = None
) -> np.ndarray:
    """uint8 [V, 3], BGR: what is seen, then what its mirror image shows, then profiles, then a smooth filling.

    Args:
        head: the head.
        picture: uint8 [H, W, 3], BGR.
        points: [68, 2], where the landmarks are in it.
        fit: of the head to them.
        side: of the person, if there are profiles.
    """
    vertices = head.vertices(fit.coefficients[None])[0].astype(np.float64)
    pixels = _pulled(fit.project(vertices), head.points[68:136], points, 1.2 * fit.scale)
    colours = _at(picture, pixels, fit.scale)
    x, y = head.neutral[:, 0], head.neutral[:, 1]
    seen = _seen(head, vertices @ fit.rotation.T) & (((np.abs(x) < 6.3) & (y > -6.8)) | (y > 7))
    twin = seen[head.mirror] & ~seen
    colours[twin] = colours[head.mirror[twin]]
    return _filled(head, colours, seen | twin, side).clip(0, 255).round().astype(np.uint8)


def sample_side(head: Head, views: list[tuple[np.ndarray, Fit, bool]]) -> Side:
    """Colours of both sides from profiles: pictures, fits, and whether the ear is to be seen."""
    colours = np.zeros((len(head.neutral), 3))
    best = np.zeros(len(head.neutral))
    x, y, z = head.neutral.T
    for picture, fit, ear in views:
        vertices = head.vertices(fit.coefficients[None])[0].astype(np.float64)
        turned = vertices @ fit.rotation.T
        facing = vertex_normals(turned, head.triangles)[:, 2]
        seen = _seen(head, turned) & (facing > 0.5) & (np.abs(x) > 2) & (y > -9.5) & (y < 9) & ((z > 3) | ear)
        better = seen & (facing > best)
        colours[better], best[better] = _at(picture, fit.project(vertices), fit.scale)[better], facing[better]
    twin = (best == 0) & (best[head.mirror] > 0)
    colours[twin] = colours[head.mirror[twin]]
    return Side(colours, (best > 0) | twin)


def _at(picture: np.ndarray, pixels: np.ndarray, scale: float) -> np.ndarray:
    """Colours float64 [V, 3] at pixels, as much blurred as the mesh is coarse."""
    shrink = min(1.0, _PIXELS_PER_CENTIMETRE / scale)
    small = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    places = ((pixels + 0.5) * shrink - 0.5).astype(np.float32)
    colours = cv2.remap(small, places[:, 0], places[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return colours.reshape(-1, 3).astype(np.float64)


def _pulled(pixels: np.ndarray, own: np.ndarray, points: np.ndarray, width: float) -> np.ndarray:
    """Projected vertices, moved so that the inner landmarks lie on their points (Gaussian radial basis functions)."""
    anchors = pixels[own][17:]

    def kernel(places: np.ndarray) -> np.ndarray:
        return np.exp(-((places[:, None] - anchors) ** 2).sum(2) / (2 * width * width))

    moves = np.linalg.solve(kernel(anchors) + 0.1 * np.eye(len(anchors)), points[17:] - anchors)
    return pixels + kernel(pixels) @ moves


def _seen(head: Head, turned: np.ndarray) -> np.ndarray:
    skin = head.parts == 0
    facing = vertex_normals(turned, head.triangles)[:, 2] > _FACING
    cells = np.floor((turned[:, :2] - turned[:, :2].min(0)) / _CELL).astype(int)
    nearest = np.full(cells.max(0) + 3, -np.inf)
    np.maximum.at(nearest, tuple(cells[skin].T), turned[skin, 2])
    nearest = maximum_filter(nearest, 3)
    return skin & facing & (turned[:, 2] > nearest[tuple(cells.T)] - _BEHIND)


def _filled(head: Head, colours: np.ndarray, known: np.ndarray, side: Side | None) -> np.ndarray:
    """Where nothing is known: the side's colours in this picture's light, or else the mean of the skin.

    What is known differs from that by something; that difference is continued over the mesh, harmonic and fading.
    """
    x, y, z = head.neutral.T
    skin = known & (np.abs(x) < 4.5) & (y > -4) & (y < 5) & (z > 5)  # hardly any hair
    expected = np.repeat(np.median(colours[skin], 0)[None], len(colours), 0)
    if side is not None:
        cheek = known & side.known & (y > -5) & (y < 3) & (z > 3) & (z < 9)
        light = np.median(colours[cheek], 0) / np.maximum(np.median(side.colours[cheek], 0), 1)
        expected[side.known] = side.colours[side.known] * light
    corners = head.triangles
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    count = len(colours)
    links = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    links = ((links + links.T) > 0).astype(float)
    laplacian = (sparse.diags(np.asarray(links.sum(1)).ravel() + _PULL) - links).tocsr()
    unknown = np.flatnonzero(~known)
    solve = factorized(laplacian[unknown][:, unknown].tocsc())
    right = -(laplacian[unknown][:, np.flatnonzero(known)] @ (colours - expected)[known])
    filled = colours.copy()
    filled[unknown] = expected[unknown] + np.stack([solve(right[:, channel]) for channel in range(3)], 1)
    return filled
