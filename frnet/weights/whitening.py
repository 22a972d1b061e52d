"""Which whitening belongs to a checkpoint.

A network's output means nothing without the whitening it was trained with, and two of them are in circulation
for the same 62 parameters. So the whitening is looked for where the checkpoints are published, and one that
is known to be the other project's is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frnet.morphable.whitening import Whitening, identify_whitening

from .errors import CheckpointError

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

_FILES = {"3ddfa_v2": "param_mean_std_62d_120x120.pkl", "3ddfa": "param_whitening.pkl"}
_FOLDERS = ("configs", "train.configs")
_BELONGS = {"3ddfa_v2": "3ddfa-v2", "3ddfa": "3ddfa-v1"}


def find_whitening(checkpoint: Checkpoint) -> Path | None:
    """The whitening file published with a checkpoint, if it is there.

    That is ``param_mean_std_62d_120x120.pkl`` for 3DDFA_V2 and ``param_whitening.pkl`` for 3DDFA, looked for
    in the checkpoint's folder, and in ``configs`` and ``train.configs`` inside or beside that folder.
    """
    name = _FILES.get(checkpoint.source_format)
    if name is None or checkpoint.path is None:
        return None
    folder = checkpoint.path.resolve().parent
    places = [folder, *(base / sub for base in (folder, folder.parent) for sub in _FOLDERS)]
    return next((place / name for place in places if (place / name).is_file()), None)


def check_whitening(checkpoint: Checkpoint, whitening: Whitening, source: str) -> None:
    """Refuse a whitening that cannot be the one the checkpoint was trained with.

    Args:
        checkpoint: the network.
        whitening: the candidate.
        source: where the candidate comes from, for messages.

    Raises:
        CheckpointError: another length than the network's output, the other project's whitening, or numbers
            that contradict those stored with the checkpoint.
    """
    name = checkpoint.title
    if len(whitening.mean) != checkpoint.num_params:
        raise CheckpointError(
            f"{name} gives {checkpoint.num_params} parameters, the whitening ({source}) has {len(whitening.mean)}"
        )
    wanted, given = _BELONGS.get(checkpoint.source_format), identify_whitening(*whitening)
    if wanted and given and wanted != given:
        raise CheckpointError(
            f"{name} is a {checkpoint.source_format} checkpoint, which belongs to the whitening {wanted}; "
            f"the one given ({source}) is {given}"
        )
    stored = checkpoint.whitening
    if stored is not None and not all(
        np.allclose(mine, theirs, rtol=1e-4, atol=0) for mine, theirs in zip(stored, whitening, strict=True)
    ):
        raise CheckpointError(
            f"{name} holds its own whitening, and the one given ({source}) has other numbers; "
            "a checkpoint belongs to one whitening"
        )
