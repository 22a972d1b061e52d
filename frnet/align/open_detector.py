"""A detector from whatever names one."""

from __future__ import annotations

import os
from pathlib import Path

from .detectors import Detector, HaarDetector
from .yunet import YuNetDetector

__all__ = ["open_detector"]


def open_detector(
    detector: str | os.PathLike | Detector | None, score_threshold: float | None = None
) -> Detector | None:
    """A detector from what a caller gave: a YuNet ``.onnx`` file, a Haar ``.xml`` file, an object, or None.

    Args:
        detector: the file or object.
        score_threshold: for a YuNet file, instead of its default.

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
        return YuNetDetector(detector, **({} if score_threshold is None else {"score_threshold": score_threshold}))
    raise TypeError(
        f"detector must be a model file or a callable that returns Detections, got {type(detector).__name__}"
    )
