"""A detector from whatever names one."""

from __future__ import annotations

import os
from pathlib import Path

from .detectors import Detector, HaarDetector
from .yunet import YuNetDetector

__all__ = ["BUILTIN", "open_detector"]

BUILTIN = "builtin"
"""What the detector that comes with frnet is called."""


def open_detector(
    detector: str | os.PathLike | Detector | None, score_threshold: float | None = None
) -> Detector | None:
    """A detector from what a caller gave.

    Args:
        detector: ``"builtin"``, a YuNet ``.onnx`` file, a Haar ``.xml`` file, an object, or None.
        score_threshold: instead of the default of the built-in detector or of YuNet.

    Raises:
        TypeError: neither a path nor callable.
        FileNotFoundError, ValueError, RuntimeError: see the detectors.
    """
    if detector is None or callable(detector):
        return detector
    if isinstance(detector, str | os.PathLike):
        is_cascade = Path(detector).suffix.lower() == ".xml"
        if is_cascade:
            return HaarDetector(detector)
        threshold = {} if score_threshold is None else {"score_threshold": score_threshold}
        return _builtin(**threshold) if detector == BUILTIN else YuNetDetector(detector, **threshold)
    raise TypeError(
        f"detector must be 'builtin', a model file or a callable that returns Detections, got {type(detector).__name__}"
    )


def _builtin(**settings: float) -> Detector:
    from .face_detector import FaceDetector

    return FaceDetector(**settings)
