"""Aligning many image files: their faces go through the network in batches, and a bad file stops no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from frnet.io.images import Image, read_image

from .aligner import FaceAligner
from .face import Face
from .regions import Regions

BATCH_PIXELS = 100_000_000  # images held in memory at a time: 300 MB


@dataclass(eq=False)
class FileResult:
    """What became of one image file: the image and its faces (none is an empty list), or an error."""

    path: Path
    image: Image | None = None
    faces: list[Face] | None = None
    error: Exception | None = None


def align_files(aligner: FaceAligner, paths: Iterable[Path], batch: int = 16) -> Iterator[FileResult]:
    """Align image files, in order; a file that fails gives a result with its error.

    Args:
        aligner: needs a detector.
        paths: image files.
        batch: most images held in memory at a time (large ones fewer); their faces make one batch.

    Yields:
        One result per file.
    """
    waiting: list[tuple[FileResult, Regions | None]] = []
    pixels = 0
    for path in paths:
        result, regions = FileResult(path), None
        try:
            image = read_image(path)
            regions = aligner.locate(image, name=f"image {path}")
            result.image = image
            pixels += image.shape[0] * image.shape[1]
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            result.error = error
        waiting.append((result, regions))
        if len(waiting) >= batch or pixels >= BATCH_PIXELS:
            yield from _fit(aligner, waiting)
            waiting, pixels = [], 0
    yield from _fit(aligner, waiting)


def _fit(aligner: FaceAligner, waiting: list[tuple[FileResult, Regions | None]]) -> list[FileResult]:
    ready = [(result, regions) for result, regions in waiting if regions is not None]
    fitted = aligner.fit([result.image for result, _ in ready], [regions for _, regions in ready])
    for (result, _), faces in zip(ready, fitted, strict=True):
        result.faces = faces
    return [result for result, _ in waiting]
