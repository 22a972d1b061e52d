"""The files that a morphable model is kept in: one format of ours, and those in which models are published."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from frnet.morphable import bfm, builtin, ict_facekit, storage, threeddfa

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TENSORS", "ModelFiles"]

TENSORS = ("mean", "basis", "param_mean", "param_std", "landmarks", "triangles")
"""Attributes of a model that are tensors, or None."""


class ModelFiles:
    """What :class:`frnet.morphable.MorphableModel` can be read from; each reader documents its format."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as one safetensors file, complete or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        metadata = {"name": self.name, "num_shape": str(self.layout.num_shape)}
        for name in ("shape_names", "expression_names"):
            if getattr(self, name):
                metadata[name] = "\n".join(getattr(self, name))
        storage.write(path, {name: getattr(self, name) for name in TENSORS}, metadata)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: not such a file, or one that is damaged; names the file.
            OSError: the file cannot be opened.
        """
        tensors, metadata = storage.read(path)
        num_shape = int(metadata["num_shape"])
        names = ("shape_names", "expression_names")
        return cls(
            tensors["mean"],
            tensors["basis"][:, :num_shape],
            tensors["basis"][:, num_shape:],
            name=metadata.get("name", ""),
            device=device,
            dtype=dtype,
            sources=dict.fromkeys((*TENSORS, "basis_shape", "basis_expression"), str(path)),
            **{name: metadata[name].split("\n") for name in names if name in metadata},
            **{name: tensors.get(name) for name in TENSORS[2:]},
        )

    @classmethod
    def builtin(cls, landmarks: str = "300w-lp") -> Self:
        """The face that the package brings, 40 shape and 10 named expression components; nothing has to be fetched.

        A part of ICT-FaceKit (MIT licence; Li et al., CVPR 2020); see :func:`.builtin.read_builtin`.

        Args:
            landmarks: ``"300w-lp"`` or ``"multi-pie"``: whose 68 points they are.

        Raises:
            ValueError: landmarks of another name.

        Example:
            >>> from frnet.morphable import MorphableModel
            >>> MorphableModel.builtin().expression_names[:3]
            ('jaw open', 'smile', 'pucker')
        """
        return cls(**builtin.read_builtin(landmarks))

    @classmethod
    def from_3ddfa_landmarks(cls, folder: str | os.PathLike[str], whitening: Any = None) -> Self:
        """The 68 landmarks of 3DDFA's model, from its text files; see :func:`.threeddfa.read_landmarks`.

        Args:
            folder: holds ``u_base.txt``, ``w_shp_base.txt``, ``w_exp_base.txt`` and the whitening as text.
            whitening: ``"v1"``, ``"v2"``, the path of a pickle, a pair (mean, std), or None for the newest
                the folder holds (``param_mean_v2.txt``, else ``param_mean.txt``).
        """
        return cls(**threeddfa.read_landmarks(folder, whitening))

    @classmethod
    def from_3ddfa_grid(
        cls,
        npz: str | os.PathLike[str],
        landmarks: str | os.PathLike[str],
        whitening: Any = None,
        *,
        expression: str = "file",
    ) -> Self:
        """68 landmarks, then a 64x64 grid over the face: 4164 vertices; see :func:`.threeddfa.read_grid`.

        Args:
            npz: arrays ``mean``, ``basis_shape``, ``basis_expression`` of the grid.
            landmarks: folder as for :meth:`from_3ddfa_landmarks`.
            whitening: as for :meth:`from_3ddfa_landmarks`.
            expression: ``"file"``, or ``"landmarks"`` to interpolate the landmarks' expression basis over the
                grid: the published file has none of its own.
        """
        return cls(**threeddfa.read_grid(npz, landmarks, whitening, expression=expression))

    @classmethod
    def from_3ddfa(cls, folder: str | os.PathLike[str], whitening: Any = None, triangles: Any = None) -> Self:
        """3DDFA's 53,215-vertex model from its ``train.configs`` folder; see :func:`.threeddfa.read_v1`."""
        return cls(**threeddfa.read_v1(folder, whitening, triangles))

    @classmethod
    def from_3ddfa_v2(
        cls,
        bfm_pkl: str | os.PathLike[str],
        whitening: Any = None,
        triangles: Any = None,
        *,
        num_shape: int = 40,
        num_expression: int = 10,
    ) -> Self:
        """3DDFA_V2's 38,365-vertex model from ``bfm_noneck_v3.pkl``; see :func:`.threeddfa.read_v2`."""
        return cls(**threeddfa.read_v2(bfm_pkl, whitening, triangles, num_shape, num_expression))

    @classmethod
    def from_bfm(
        cls, path: str | os.PathLike[str], num_shape: int | None = 40, num_expression: int | None = 10
    ) -> Self:
        """The Basel Face Model from a MATLAB file; None keeps all components; see :func:`.bfm.read_bfm`."""
        return cls(**bfm.read_bfm(path, num_shape, num_expression))

    @classmethod
    def from_ict_facekit(cls, folder_or_npz: str | os.PathLike[str]) -> Self:
        """ICT Face Model Light, from ``FaceXModel`` or the npz; see :func:`.ict_facekit.read_ict_facekit`."""
        return cls(**ict_facekit.read_ict_facekit(folder_or_npz))
