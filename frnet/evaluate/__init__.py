"""Measuring alignment against ground truth."""

from .aflw2000 import AFLW2000Sample, Evaluation, evaluate_aflw2000, list_aflw2000, read_aflw2000
from .nme import nme
from .reference import landmark_difference

__all__ = [
    "AFLW2000Sample",
    "Evaluation",
    "evaluate_aflw2000",
    "landmark_difference",
    "list_aflw2000",
    "nme",
    "read_aflw2000",
]
