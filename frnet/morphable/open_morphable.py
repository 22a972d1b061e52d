"""Open a morphable model whichever of the known formats it comes in."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from frnet.morphable.model import MorphableModel

_KNOWN = (
    "'builtin', .safetensors of ours, .pkl of 3DDFA_V2, .mat (BFM), .npz (BFM grid or ICT-FaceKit), or a folder: "
    "3DDFA's landmark basis, 3DDFA's train.configs, or ICT's FaceXModel"
)


def open_morphable(path: str | os.PathLike, landmarks: str | os.PathLike | None = None) -> MorphableModel:
    """Open the built-in face, or a model file or folder by what it contains.

    Args:
        path: ``"builtin"``; a ``.safetensors`` file of ours; 3DDFA_V2's ``bfm_noneck_v3.pkl``; a BFM ``.mat``; the BFM
            grid or the ICT model as ``.npz``; a folder with 3DDFA's landmark basis (``u_base.txt``...), with
            3DDFA's ``train.configs`` (``u_shp.npy``...) or with ICT's ``FaceXModel``.
        landmarks: folder of the landmark basis; needed with the BFM grid alone, which has no landmarks.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: none of the formats, or a damaged file.
    """
    from frnet.morphable.model import MorphableModel

    if path == "builtin":
        return MorphableModel.builtin()
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"morphable model {path}: no such file or folder")
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".safetensors":
        return MorphableModel.load(path)
    if path.suffix == ".pkl":
        return MorphableModel.from_3ddfa_v2(path)
    if path.suffix == ".mat":
        return MorphableModel.from_bfm(path)
    if path.suffix == ".npz":
        names = _npz_names(path)
        if "basis_shape" in names:
            if landmarks is None:
                raise ValueError(
                    f"morphable model {path} is a grid without landmarks: also give landmarks=, "
                    "the folder of the landmark basis"
                )
            return MorphableModel.from_3ddfa_grid(path, landmarks=landmarks)
        if "neutral" in names:
            return MorphableModel.from_ict_facekit(path)
    raise ValueError(f"morphable model {path} is none of the known formats ({_KNOWN})")


def _open_folder(path: Path) -> MorphableModel:
    from frnet.morphable.model import MorphableModel

    if (path / "u_base.txt").is_file():
        return MorphableModel.from_3ddfa_landmarks(path)
    if (path / "u_shp.npy").is_file():
        return MorphableModel.from_3ddfa(path)
    if (path / "generic_neutral_mesh.obj").is_file():
        return MorphableModel.from_ict_facekit(path)
    raise ValueError(f"morphable model {path} is a folder of none of the known formats ({_KNOWN})")


def _npz_names(path: Path) -> set[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return set(archive.files)
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"morphable model {path} is not a readable .npz archive ({error})") from error
