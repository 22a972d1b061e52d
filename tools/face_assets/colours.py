"""Colours of a head's vertices from a portrait."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.ndimage import maximum_filter
from scipy.sparse.linalg import factorized

from face_assets.fit import Fit
from frnet.datasets.faces.head import Head

__all__ = ["sample_colours"]

_PIXELS_PER_CENTIMETRE = 6.0  # a portrait is brought down to this, or colours would alias
_FACING, _CELL, _BEHIND = 0.4, 0.35, 1.2  # what counts as seen: cosine; cells and depth of a coarse z-buffer, cm
_PULL = 0.01  # of unknown vertices to the mean colour of the skin


def sample_colours(head: Head, picture: np.ndarray, points: np.ndarray, fit: Fit) -> np.ndarray:
    """uint8 [V, 3], BGR: what is seen, then what its mirror image shows, then a smooth filling.

    Args:
        head: the head.
        picture: uint8 [H, W, 3], BGR.
        points: [68, 2], where the landmarks are in it.
        fit: of the head to them.
    """
    vertices = head.vertices(fit.coefficients[None])[0].astype(np.float64)
    pixels = _pulled(fit.project(vertices), head.points[68:136], points, 1.2 * fit.scale)
    shrink = min(1.0, _PIXELS_PER_CENTIMETRE / fit.scale)
    small = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    places = ((pixels + 0.5) * shrink - 0.5).astype(np.float32)
    colours = cv2.remap(small, places[:, 0], places[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    colours = colours.reshape(-1, 3).astype(np.float64)
    x, y = head.neutral[:, 0], head.neutral[:, 1]
    seen = _seen(head, vertices @ fit.rotation.T) & (((np.abs(x) < 6.3) & (y > -6.8)) | (y > 7))
    twin = seen[head.mirror] & ~seen
    colours[twin] = colours[head.mirror[twin]]
    return _filled(head, colours, seen | twin).clip(0, 255).round().astype(np.uint8)


def _pulled(pixels: np.ndarray, own: np.ndarray, points: np.ndarray, width: float) -> np.ndarray:
    """Projected vertices, moved so that the inner landmarks lie on their points (Gaussian radial basis functions)."""
    anchors = pixels[own][17:]

    def kernel(places: np.ndarray) -> np.ndarray:
        return np.exp(-((places[:, None] - anchors) ** 2).sum(2) / (2 * width * width))

    moves = np.linalg.solve(kernel(anchors) + 0.1 * np.eye(len(anchors)), points[17:] - anchors)
    return pixels + kernel(pixels) @ moves


def _seen(head: Head, turned: np.ndarray) -> np.ndarray:
    skin = head.parts == 0
    facing = _facing(turned, head.triangles) > _FACING
    cells = np.floor((turned[:, :2] - turned[:, :2].min(0)) / _CELL).astype(int)
    nearest = np.full(cells.max(0) + 3, -np.inf)
    np.maximum.at(nearest, tuple(cells[skin].T), turned[skin, 2])
    nearest = maximum_filter(nearest, 3)
    return skin & facing & (turned[:, 2] > nearest[tuple(cells.T)] - _BEHIND)


def _facing(turned: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """How much the vertices' normals point to the viewer, 1 to -1."""
    a, b, c = (turned[triangles[:, corner]] for corner in range(3))
    summed = np.zeros_like(turned)
    np.add.at(summed, triangles.T, np.cross(b - a, c - a))
    return summed[:, 2] / np.maximum(np.linalg.norm(summed, axis=1), 1e-12)


def _filled(head: Head, colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Harmonic over the mesh where nothing is known, and nearer the mean of the skin the farther that is."""
    corners = head.triangles
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    count = len(colours)
    links = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)).tocsr()
    links = ((links + links.T) > 0).astype(float)
    laplacian = (sparse.diags(np.asarray(links.sum(1)).ravel() + _PULL) - links).tocsr()
    unknown = np.flatnonzero(~known)
    x, y, z = head.neutral.T
    mean = np.median(colours[known & (np.abs(x) < 4.5) & (y > -4) & (y < 5) & (z > 5)], 0)  # of skin, hardly any hair
    solve = factorized(laplacian[unknown][:, unknown].tocsc())
    right = -(laplacian[unknown][:, np.flatnonzero(known)] @ colours[known]) + _PULL * mean
    filled = colours.copy()
    filled[unknown] = np.stack([solve(right[:, channel]) for channel in range(3)], 1)
    return filled
