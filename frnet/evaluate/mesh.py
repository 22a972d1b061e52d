"""Dense evaluation of predicted meshes against a file of true ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dense import dense_nme_percent, reconstruction_nme_percent
from .predictions import Predictions, match_images, pixel_origin, read_arrays, require_finite, text_list
from .sparse import to_image
from .truth import Truth

__all__ = ["DenseResult", "DenseTruth", "measure_dense", "read_dense_truth"]

_KNOWN = ("vertices", "names", "pixel_origin", "outer_eyes", "subset")


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """True meshes of n images.

    Attributes:
        vertices: float [n, V, 3], image pixels, z in pixels towards the viewer.
        pixel_origin: whether the first pixel of the image is 0 or 1.
        names: of the images; None where they are in the order of the landmarks' ground truth.
        outer_eyes: indices of the vertices that are landmarks 36 and 45; None without a reconstruction error.
        subset: indices of the vertices to compare; None for all.
        source: what messages call this.
    """

    vertices: NDArray[np.floating]
    pixel_origin: int
    names: list[str] | None
    outer_eyes: NDArray[np.integer] | None
    subset: NDArray[np.integer] | None
    source: str


@dataclass(frozen=True, eq=False)
class DenseResult:
    """Dense errors of one method; n images.

    Attributes:
        method: its name.
        protocol: how the figures were taken.
        nme_2d_percent: float64 [n], x and y.
        nme_3d_percent: float64 [n], x, y and z, the mean z of both taken away.
        reconstruction_percent: float64 [n], after a similarity alignment; None where the eyes' vertices are unknown.
        names: of the images.
    """

    method: str
    protocol: str
    nme_2d_percent: NDArray[np.float64]
    nme_3d_percent: NDArray[np.float64]
    reconstruction_percent: NDArray[np.float64] | None
    names: list[str]


def read_dense_truth(path: str | os.PathLike) -> DenseTruth:
    """True meshes from an ``.npz`` file as docs/evaluation.md describes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; an array is missing, unknown or of another shape; or a value is NaN or
            infinite.
    """
    path = Path(path)
    arrays = read_arrays(path, _KNOWN, "dense truth")
    source = f"dense truth {path}"
    vertices = arrays.get("vertices")
    if vertices is None or vertices.ndim != 3 or vertices.shape[2] != 3 or vertices.dtype.kind not in "iuf":
        given = "nothing" if vertices is None else f"{vertices.dtype} {list(vertices.shape)}"
        raise ValueError(f"{source}: vertices must hold numbers [n, V, 3], got {given}")
    names = text_list(arrays.get("names"), source)
    if names is not None and len(names) != len(vertices):
        raise ValueError(f"{source}: {len(names)} names for {len(vertices)} meshes")
    require_finite(vertices, f"{source}: vertices", names)
    origin = pixel_origin(arrays.get("pixel_origin"), source)
    return DenseTruth(vertices, origin, names, arrays.get("outer_eyes"), arrays.get("subset"), source)


def measure_dense(predictions: Predictions, dense: DenseTruth, truth: Truth, roi: str = "3ddfa-compat") -> DenseResult:
    """Dense NME in 2D and 3D, and the reconstruction error, of meshes whose vertices correspond.

    Both sides say where their first pixel is, so they are always brought to count alike.

    Args:
        predictions: with vertices, one mesh per image of ``truth``.
        dense: the true meshes of the same images.
        truth: whose images and order count, and whose boxes take crops back to the image.
        roi: as for :func:`measure`.

    Raises:
        ValueError: no vertices, images or vertices that do not match, or what :func:`dense_nme_percent` refuses.
    """
    if predictions.vertices is None:
        raise ValueError(f"{predictions.source} holds no vertices to compare with {dense.source}")
    order = match_images(dense.source, dense.names, len(dense.vertices), truth.names, len(truth))
    true = dense.vertices if order is None else dense.vertices[order]
    predictions = predictions.in_order_of(truth.names, len(truth))
    if predictions.vertices.shape[1] != true.shape[1]:
        raise ValueError(
            f"{predictions.source} has meshes of {predictions.vertices.shape[1]} vertices, "
            f"{dense.source} of {true.shape[1]}: they must be the same mesh"
        )
    found = np.ones(len(truth), bool) if predictions.found is None else predictions.found
    way = to_image(predictions, truth, roi, "matched")
    truth_shift = np.array([1.0, 1.0, 0.0]) * (1 - dense.pixel_origin)
    errors = np.full((3, len(truth)), np.nan)
    for index in np.flatnonzero(found):  # one face at a time, as all meshes in float64 are several gigabytes
        mesh = predictions.vertices[index] * way.scale[index] + way.offset[index]
        target = true[index] + truth_shift
        errors[0, index] = dense_nme_percent(mesh, target, 2, dense.subset)
        errors[1, index] = dense_nme_percent(mesh, target, 3, dense.subset)
        if dense.outer_eyes is not None:
            errors[2, index] = reconstruction_nme_percent(mesh, target, dense.outer_eyes, dense.subset)
    count = true.shape[1] if dense.subset is None else len(dense.subset)
    protocol = (
        f"{truth.data}, {found.sum()} images, {count} of {true.shape[1]} vertices; NME = mean distance / sqrt(w h) of "
        "the true vertices' box, z less its mean on both sides; reconstruction = mean distance after a similarity "
        "alignment (Umeyama, no reflection) / 3D distance of the outer eye corners; "
        f"roi {way.roi}; {way.coordinates}; means over images"
    )
    reconstruction = None if dense.outer_eyes is None else errors[2]
    names = [truth.name(index) for index in range(len(truth))]
    return DenseResult(predictions.method, protocol, errors[0], errors[1], reconstruction, names)
