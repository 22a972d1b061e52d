"""Trained networks in files: reading and writing them, and what belongs to them: whitening, basis, licence."""

from typing import TYPE_CHECKING

from frnet.late import late_names

from .basis import BasisIdentity
from .builtin import builtin_weights, find_morphable
from .contents import Checkpoint, Normalisation, check_basis
from .errors import CheckpointError
from .whitening import ChosenWhitening, check_whitening, choose_whitening, find_whitening

if TYPE_CHECKING:
    from .checkpoint import convert, load_checkpoint, save_checkpoint
    from .pretrained import create_model

__all__ = [
    "BasisIdentity",
    "Checkpoint",
    "CheckpointError",
    "ChosenWhitening",
    "Normalisation",
    "builtin_weights",
    "check_basis",
    "check_whitening",
    "choose_whitening",
    "convert",
    "create_model",
    "find_morphable",
    "find_whitening",
    "load_checkpoint",
    "save_checkpoint",
]

__getattr__, __dir__ = late_names(
    __name__,
    {
        "convert": "frnet.weights.checkpoint",
        "create_model": "frnet.weights.pretrained",
        "load_checkpoint": "frnet.weights.checkpoint",
        "save_checkpoint": "frnet.weights.checkpoint",
    },
)
