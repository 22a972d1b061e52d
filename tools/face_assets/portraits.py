"""Portraits cut out of pictures with a depth for every point of a grid, to be turned in space."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter

from face_assets.fit import Fit
from frnet.datasets.faces.head import Head
from frnet.datasets.faces.warps import CELL, CELLS, HALF, PATCH, PIXELS_PER_CENTIMETRE

__all__ = ["cut_portrait", "depth_grid"]

_CENTRE = np.array([0.0, 2.0, 2.0])  # of the head, centimetres: what portraits turn about
_SLOPE, _FARTHEST, _ROUNDING = 1.2, -4.0, 2.0  # of what is not the head: falls off beside it, down to a wall


def cut_portrait(picture: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """The square about a head, uint8 [PATCH, PATCH, 3], and its middle in the camera's space [3]."""
    centre = fit.rotation @ _CENTRE
    step = fit.scale / PIXELS_PER_CENTIMETRE  # pixels of the picture per pixel of the patch
    left = fit.scale * (0.5 / PIXELS_PER_CENTIMETRE - HALF + centre[0]) + fit.offset[0]
    top = -(fit.scale * (HALF - 0.5 / PIXELS_PER_CENTIMETRE + centre[1]) + fit.offset[1])
    shrink = max(1, int(np.ceil(step)))
    if shrink > 1:
        picture = cv2.resize(picture, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        step, left, top = step / shrink, (left + 0.5) / shrink - 0.5, (top + 0.5) / shrink - 0.5
    placed = np.array([[step, 0, left], [0, step, top]])
    patch = cv2.warpAffine(
        picture, placed, (PATCH, PATCH), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    return patch, centre


def depth_grid(head: Head, vertices: np.ndarray, rotation: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Depth over the patch, float32 [CELLS, CELLS], rows from the bottom up, centimetres in front of its middle."""
    turned = vertices @ rotation.T - centre
    skin = turned[head.parts == 0]
    column, row = (np.rint((skin[:, axis] + HALF) / CELL).astype(int) for axis in (0, 1))
    inside = (column >= 0) & (row >= 0) & (column < CELLS) & (row < CELLS)
    depth = np.full((CELLS, CELLS), -99.0)
    np.maximum.at(depth, (row[inside], column[inside]), skin[inside, 2])
    wider = maximum_filter(depth, 3)
    depth = np.where((depth < -50) & (wider > -50), wider, depth)
    known = depth > -50
    distance, (rows, columns) = distance_transform_edt(~known, return_indices=True)
    beside = np.maximum(depth[rows, columns] - _SLOPE * CELL * distance, _FARTHEST)
    depth = np.where(known, depth, gaussian_filter(beside, _ROUNDING))
    return gaussian_filter(depth, 0.6).astype(np.float32)
