"""The networks that ``frnet evaluate`` evaluates."""

from __future__ import annotations

from pathlib import Path

from frnet.align import FaceAligner
from frnet.evaluate.command import Network, Request
from frnet.morphable import MorphableModel

__all__ = ["open_network"]


def open_network(request: Request, morphable: MorphableModel, detector: str | Path | None) -> Network:
    """An aligner of the network that a request names; with a detector it looks at every face twice.

    Raises:
        OSError, ValueError, RuntimeError: see :class:`frnet.align.FaceAligner`.
    """
    aligner = FaceAligner(
        request.weights,
        morphable,
        whitening=request.whitening,
        detector=detector,
        passes=1 if detector is None else 2,
        device=request.device,
    )
    return Network(aligner, aligner.whitening_source)
