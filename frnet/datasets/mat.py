"""The ``.mat`` file beside an image of 300W-LP or AFLW2000-3D."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from frnet.io.mat import load_mat

__all__ = ["LabelError", "MatLabel", "read_mat"]


class LabelError(ValueError):
    """A label that cannot be used; the message names its file."""


class MatLabel:
    """Variables of one ``.mat`` file, each checked when it is asked for.

    The files differ: 300W-LP has ``pt2d`` [2, 68] and no ``pt3d_68``, AFLW2000-3D has ``pt3d_68`` and 21 columns in
    ``pt2d``. Their ``roi`` is the box that the image was cut from, not a box of the face, and is not offered.
    """

    def __init__(self, path: Path, variables: dict[str, Any]) -> None:
        self.path = path
        self._variables = variables

    @property
    def pose_para(self) -> np.ndarray:
        """float64 [7]: pitch, yaw, roll (radians), t_x, t_y, t_z (pixels), f; as fitted."""
        return self._vector("Pose_Para", 7, exact=True)

    def shape_para(self, count: int) -> np.ndarray:
        """float64 [count]: the first shape coefficients, of 199."""
        return self._vector("Shape_Para", count)[:count]

    def exp_para(self, count: int) -> np.ndarray:
        """float64 [count]: the first expression coefficients, of 29."""
        return self._vector("Exp_Para", count)[:count]

    @property
    def landmarks(self) -> np.ndarray:
        """float64 [68, 3]: ``pt3d_68`` of AFLW2000-3D, image pixels counting from 1, y down."""
        points = self._numbers("pt3d_68", "pt3d_68 must be [3, 68]")
        if points.shape != (3, 68):
            raise LabelError(f"label {self.path}: pt3d_68 must be [3, 68], got {list(points.shape)}")
        return points.T

    @property
    def pt2d(self) -> np.ndarray | None:
        """float64 [68, 2]: the 2D annotation of 300W-LP, counting from 1; None where it is not of 68 points."""
        points = self._variables.get("pt2d")
        if not isinstance(points, np.ndarray) or points.shape != (2, 68):
            return None
        return self._numbers("pt2d", "pt2d must be [2, 68]").T

    def _vector(self, name: str, count: int, *, exact: bool = False) -> np.ndarray:
        wanted = f"{name} must hold {'' if exact else 'at least '}{count} numbers"
        values = self._numbers(name, wanted).reshape(-1)
        if values.size < count or (exact and values.size != count):
            raise LabelError(f"label {self.path}: {wanted}, got {values.size}")
        return values

    def _numbers(self, name: str, wanted: str) -> np.ndarray:
        values = self._variables.get(name)
        if values is None:
            raise LabelError(f"label {self.path} holds no {name}: {wanted}, got nothing")
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
            raise LabelError(f"label {self.path}: {wanted}, got {getattr(values, 'dtype', type(values).__name__)}")
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise LabelError(f"label {self.path} holds values that are NaN or infinite: {count} in {name}")
        return values


def read_mat(path: str | os.PathLike[str]) -> MatLabel:
    """Opens a ``.mat`` file of 300W-LP or AFLW2000-3D.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: it is damaged, or no MATLAB file. What it lacks is found when it is asked for.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"label {path}: no such file")
    try:
        return MatLabel(path, load_mat(path))
    except ValueError as error:
        raise LabelError(f"label {path} is not a readable MAT file ({error})") from error
