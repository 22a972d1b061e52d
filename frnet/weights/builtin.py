"""The weights that come with frnet, by name, and the morphable model that belongs to weights."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from frnet.morphable.arrays import FaceArrays

from .basis import BasisIdentity

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

    from .contents import Checkpoint
    from .stored import StoredCheckpoint

__all__ = ["builtin_weights", "find_morphable", "find_weights", "is_for_builtin_face"]

_FOLDER = Path(__file__).parent / "data"
_FILES = {"builtin": "mobile_frnet.safetensors", "small": "mobile_frnet_small.safetensors"}


def builtin_weights() -> dict[str, Path]:
    """The weights that come with frnet: what they are called, and their files. A card lies beside each file.

    ``"builtin"`` is Mobile-FRNet for crops of 120 pixels; ``"small"`` has half its width, takes crops of 64 pixels and
    costs an eleventh of the multiply-adds. Wherever a checkpoint can be given, so can these names.

    Example:
        >>> list(builtin_weights())
        ['builtin', 'small']
    """
    return {name: _FOLDER / file for name, file in _FILES.items()}


def find_weights(source: str | os.PathLike[str]) -> Path:
    """The file of weights: the one that comes with frnet where a text is one of the names, else the path itself.

    Args:
        source: a name of :func:`builtin_weights`, or a path. A file that has such a name is ``./small``.

    Raises:
        FileNotFoundError: there is no such file; the message knows the names.
    """
    if isinstance(source, str) and source in _FILES:
        path = _FOLDER / _FILES[source]
        if not path.is_file():
            raise FileNotFoundError(f"weights {source!r}: this installation lacks {path}: install frnet again")
        return path
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: {'not a file' if path.exists() else _no_such_file(path)}")
    return path


def is_for_builtin_face(checkpoint: Checkpoint | StoredCheckpoint) -> bool:
    """Whether a checkpoint says that it was trained for the built-in face."""
    basis = checkpoint.basis
    return basis is not None and basis.difference(BasisIdentity.of(FaceArrays.builtin())) is None


def find_morphable(checkpoint: Checkpoint) -> MorphableModel | None:
    """The built-in face, where the checkpoint says that it was trained for it; else None.

    Example:
        >>> from frnet.models import create_model
        >>> from frnet.morphable import MorphableModel
        >>> from frnet.weights import Checkpoint
        >>> weights = Checkpoint(create_model("mobilenet_v1_050"))
        >>> find_morphable(weights) is None
        True
        >>> find_morphable(weights.trained_for(MorphableModel.builtin())).num_vertices
        11356
    """
    from frnet.morphable import MorphableModel

    return MorphableModel.builtin() if is_for_builtin_face(checkpoint) else None


def _no_such_file(path: Path) -> str:
    if path.suffix or path.parent != Path():
        return "no such file"
    near = difflib.get_close_matches(str(path).lower(), _FILES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"those are {', '.join(map(repr, _FILES))}"
    return f"no such file, and no weights of that name come with frnet; {hint}"
