"""The face that the package brings: reader of its file, and what the file holds beside the model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frnet.morphable import storage

__all__ = ["BuiltinParts", "builtin_parts", "read_builtin", "read_builtin_arrays"]

_PATH = Path(__file__).parent / "data" / "builtin_face.safetensors"
_LANDMARKS = {"300w-lp": "landmarks", "multi-pie": "landmarks_multi_pie"}


class BuiltinParts(NamedTuple):
    """What the built-in face is made of.

    Attributes:
        names: of the parts: skin, mouth (its inside), gums, tongue, teeth, left eye and so on; left is the person's.
        parts: uint8 [N], of each vertex; where parts meet, the later one.
        uv: float32 [N, 2], its place in ICT-FaceKit's texture, u to the right and v up.
    """

    names: tuple[str, ...]
    parts: np.ndarray
    uv: np.ndarray


def read_builtin(landmarks: str = "300w-lp") -> dict[str, Any]:
    """Arguments of :class:`frnet.morphable.MorphableModel` for the built-in face.

    11,356 vertices in centimetres: skin from the hairline to behind the jaw, ears, eyes, and the inside of the mouth
    with tongue and teeth. 40 shape components are principal components of ICT-FaceKit's 100 identities; 10 expression
    components span the principal components of its blendshapes, turned so that each does what its name says. All have
    deviation 1 in the population; the mean is the face at rest. ``tools/make_builtin_face.py`` makes it; the card
    beside the file says from what, and with what error.

    Args:
        landmarks: ``"300w-lp"``, the 68 points that 300W-LP and AFLW2000-3D mean, whose jaw line lies at the edge of
            jaw and neck; or ``"multi-pie"``, those of ICT-FaceKit.

    Raises:
        ValueError: landmarks of another name.
    """
    import torch

    parts = read_builtin_arrays(landmarks)
    num_shape, basis = parts.pop("num_shape"), torch.from_numpy(parts.pop("basis"))
    tensors = {name: torch.from_numpy(part) if isinstance(part, np.ndarray) else part for name, part in parts.items()}
    return {**tensors, "basis_shape": basis[:, :num_shape], "basis_expression": basis[:, num_shape:]}


def read_builtin_arrays(landmarks: str = "300w-lp") -> dict[str, Any]:
    """The same without torch: ``mean`` and ``basis`` (float32), ``num_shape`` of whose columns are of shape, and so on.

    Raises:
        ValueError: landmarks of another name.
    """
    if landmarks not in _LANDMARKS:
        raise ValueError(f"builtin: landmarks must be one of {', '.join(map(repr, _LANDMARKS))}, got {landmarks!r}")
    tensors, metadata = _stored()
    return {
        "mean": tensors["mean"],
        "basis": tensors["basis"].astype(np.float32),
        "num_shape": int(metadata["num_shape"]),
        "param_mean": tensors["param_mean"],
        "param_std": tensors["param_std"],
        "landmarks": tensors[_LANDMARKS[landmarks]].astype(np.int64),
        "triangles": tensors["triangles"].astype(np.int64),
        "name": metadata["name"],
        "expression_names": metadata["expression_names"].split("\n"),
    }


def builtin_parts() -> BuiltinParts:
    """Which part of the head each vertex of the built-in face belongs to, and where it lies in a texture.

    Example:
        >>> face = builtin_parts()
        >>> len(face.parts), face.names[0], face.uv.shape
        (11356, 'skin', (11356, 2))
    """
    tensors, metadata = _stored()
    names = tuple(metadata["part_names"].split("\n"))
    return BuiltinParts(names, tensors["parts"].copy(), tensors["uv"].astype(np.float32))


@lru_cache(maxsize=1)
def _stored() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    return storage.read(_PATH, "numpy")
