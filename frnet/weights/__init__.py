"""Trained networks in files: reading and writing them, and what belongs to them: whitening, basis, licence."""

from .basis import BasisIdentity, check_basis
from .checkpoint import Checkpoint, convert, load_checkpoint, save_checkpoint
from .errors import CheckpointError
from .pretrained import create_model
from .whitening import check_whitening, find_whitening

__all__ = [
    "BasisIdentity",
    "Checkpoint",
    "CheckpointError",
    "check_basis",
    "check_whitening",
    "convert",
    "create_model",
    "find_whitening",
    "load_checkpoint",
    "save_checkpoint",
]
