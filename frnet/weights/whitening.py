"""Which whitening belongs to a checkpoint.

A network's output means nothing without the whitening it was trained with, and two of them are in circulation
for the same 62 parameters. So the whitening is looked for where the checkpoints are published, and one that
is known to be the other project's is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frnet.morphable.whitening import (
    Whitening,
    describe_whitening,
    identify_whitening,
    load_whitening,
    published_whitening,
)

from .errors import CheckpointError

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel
    from frnet.morphable.arrays import FaceArrays

    from .contents import Checkpoint
    from .stored import StoredCheckpoint

__all__ = ["ChosenWhitening", "check_whitening", "choose_whitening", "find_whitening"]

_BELONGS = {"3ddfa_v2": "3ddfa-v2", "3ddfa": "3ddfa-v1"}


class ChosenWhitening(NamedTuple):
    """A whitening, and in words where it comes from."""

    whitening: Whitening
    source: str


def choose_whitening(
    checkpoint: Checkpoint | StoredCheckpoint,
    given: Any = None,
    morphable: MorphableModel | FaceArrays | None = None,
) -> ChosenWhitening | None:
    """The whitening that goes with a checkpoint: the one rule, wherever a network's output is read.

    It is the first of: ``given``; what the checkpoint holds; the file published with the checkpoint, if it lies near
    it (:func:`find_whitening`); the morphable model's own.

    Args:
        checkpoint: the network.
        given: as :func:`frnet.morphable.load_whitening` takes it, or None.
        morphable: what the parameters are for, or None.

    Returns:
        The whitening, or None where there is none at all.

    Raises:
        CheckpointError: it cannot be the one of these weights; see :func:`check_whitening`.
        OSError, ValueError: ``given`` or the published file cannot be read.
    """
    if given is not None:
        chosen = ChosenWhitening(load_whitening(given), f"argument: {describe_whitening(given)}")
    elif checkpoint.whitening is not None:
        chosen = ChosenWhitening(checkpoint.whitening, f"checkpoint: {checkpoint.path or 'object'}")
    elif (found := find_whitening(checkpoint)) is not None:
        chosen = ChosenWhitening(load_whitening(found), f"file: {found}")
    elif morphable is not None and morphable.param_mean is not None:
        chosen = ChosenWhitening(load_whitening((morphable.param_mean, morphable.param_std)), "morphable model")
    else:
        return None
    check_whitening(checkpoint, *chosen)
    return chosen


def find_whitening(checkpoint: Checkpoint | StoredCheckpoint) -> Path | None:
    """The whitening file published with a checkpoint of 3DDFA or 3DDFA_V2, if it lies near the checkpoint.

    See :func:`frnet.morphable.whitening.published_whitening` for the names and places.
    """
    version = _BELONGS.get(checkpoint.source_format)
    if version is None or checkpoint.path is None:
        return None
    return published_whitening(version, checkpoint.path.resolve().parent)


def check_whitening(checkpoint: Checkpoint | StoredCheckpoint, whitening: Whitening, source: str) -> None:
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
