"""Reader of the Basel Face Model (BFM) in its MATLAB forms.

The BFM is licensed for academic use by the University of Basel and is the user's to bring.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from frnet.io.mat import load_mat
from frnet.morphable.files import face_the_viewer, kept_columns, triangle_rows, vertex_indices

__all__ = ["read_bfm"]

# (form, mean of shape, mean of expression, shape basis, expression basis, triangles, landmarks)
_FORMS = (
    ("BFM.mat of face3d", "shapeMU", "expMU", "shapePC", "expPC", "tri", "kpt_ind"),
    ("model_refine of 3DDFA", "mu_shape", "mu_exp", "w", "w_exp", "tri", "keypoints"),
    ("BFM 2009", "shapeMU", None, "shapePC", None, "tl", None),
)


def read_bfm(
    path: str | os.PathLike[str], num_shape: int | None = 40, num_expression: int | None = 10
) -> dict[str, Any]:
    """The Basel Face Model from a MATLAB file, in one of three published forms.

    ====================== ========================= ==================== ========= ============
    form                   mean                      bases                triangles landmarks
    ====================== ========================= ==================== ========= ============
    face3d ``BFM.mat``     shapeMU + expMU           shapePC, expPC       tri       kpt_ind
    3DDFA ``model_refine`` mu_shape + mu_exp         w, w_exp             tri       keypoints
    BFM 2009               shapeMU                   shapePC              tl        none
    ====================== ========================= ==================== ========= ============

    The variables stand at the top of the file or inside a struct (``model``, ``model_refine``). Vertex
    numbers count from 1 in the file and from 0 in the result. The basis is taken as it is, so coefficients
    carry the model's own units (``Shape_Para`` of 300W-LP fits): BFM 2009's ``alpha`` in standard deviations
    has to be multiplied by ``shapeEV`` first.

    Args:
        path: the ``.mat`` file, MATLAB 7.2 or older (``-v7``).
        num_shape: shape components to keep, the first ones; None keeps all.
        num_expression: expression components to keep; None keeps all. BFM 2009 has none, whatever is asked.

    Returns:
        Arguments of :class:`frnet.morphable.MorphableModel`, without whitening.

    Raises:
        OSError: the file is missing.
        ValueError: not such a file, or sizes that do not fit; names the variable.
    """
    path = Path(path)
    fields = _fields(load_mat(path))
    for candidate in _FORMS:
        form, mu_shape, mu_exp, w_shape, w_exp, tri, landmarks = candidate
        if {name for name in (mu_shape, mu_exp, w_shape, w_exp) if name} <= fields.keys() and (mu_exp or tri in fields):
            break
    else:
        raise ValueError(
            f"{path}: expected the variables of a Basel Face Model (shapeMU, shapePC, ... or "
            "mu_shape, w, ...), "
            f"got {sorted(fields)}"
        )
    mean = np.asarray(fields[mu_shape], np.float64).reshape(-1)
    if mu_exp:
        extra = np.asarray(fields[mu_exp], np.float64).reshape(-1)
        if extra.size != mean.size:
            raise ValueError(f"{path}: {mu_exp} must have {mean.size} numbers, as {mu_shape} has, got {extra.size}")
        mean = mean + extra
    shape = kept_columns(fields[w_shape], num_shape, f"{path}: {w_shape}")
    expression = (
        kept_columns(fields[w_exp], num_expression, f"{path}: {w_exp}")
        if w_exp
        else np.zeros((mean.size, 0), np.float32)
    )
    triangles = None
    if fields.get(tri) is not None:
        triangles = triangle_rows(fields[tri], f"{path}: {tri}", base=1)
        if not triangles.size or triangles.max() < mean.size // 3:
            triangles = face_the_viewer(triangles, mean)
    indices = None
    if landmarks and fields.get(landmarks) is not None:
        indices = vertex_indices(fields[landmarks], f"{path}: {landmarks}") - 1
    return {
        "mean": mean.astype(np.float32),
        "basis_shape": shape,
        "basis_expression": expression,
        "landmarks": indices,
        "triangles": triangles,
        "name": form,
        "sources": {
            "mean": f"{path}: {mu_shape}",
            "basis_shape": f"{path}: {w_shape}",
            "basis_expression": f"{path}: {w_exp}",
            "landmarks": f"{path}: {landmarks}",
            "triangles": f"{path}: {tri}",
        },
    }


def _fields(stored: dict[str, Any]) -> dict[str, np.ndarray]:
    """Variables at the top of the file, and those of every 1x1 struct in it."""
    fields: dict[str, np.ndarray] = {}
    for name, value in stored.items():
        if name.startswith("__"):
            continue
        if isinstance(value, np.ndarray) and value.dtype.names is not None and value.size == 1:
            fields.update({field: value[field].reshape(-1)[0] for field in value.dtype.names})
        else:
            fields[name] = value
    return fields
