"""Trained networks in files: reading and writing them, and what belongs to them: whitening, basis, licence."""

from .basis import BasisIdentity
from .builtin import builtin_weights, find_morphable
from .checkpoint import convert, load_checkpoint, save_checkpoint
from .contents import Checkpoint, Normalisation, check_basis
from .errors import CheckpointError
from .pretrained import create_model
from .whitening import ChosenWhitening, check_whitening, choose_whitening, find_whitening

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
