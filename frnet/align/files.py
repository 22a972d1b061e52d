"""Aligning many image files: their faces go through the network in batches, and a bad file stops no other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from frnet.io.images import IMAGE_SUFFIXES, Image, read_image
from frnet.io.video import VIDEO_SUFFIXES

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


def expand_inputs(inputs: Iterable[str | os.PathLike]) -> tuple[list[Path], list[Path | int], list[str]]:
    """Images and videos among files, folders and cameras.

    A folder stands for the images and videos directly in it, by suffix, sorted by name; :func:`unknown_files` says
    what else is in it. A file that is named itself and has no video suffix is taken for an image. A number that is
    no file is a camera.

    Returns:
        Images, videos and cameras, and one sentence per input that is neither: missing, an address, or a folder with
        nothing in it.
    """
    images: list[Path] = []
    videos: list[Path | int] = []
    problems = []
    for given in inputs:
        text, path = os.fspath(given), Path(given)
        if path.is_dir():
            known = [entry for entry in _entries(path) if entry.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
            if not known:
                problems.append(f"folder {path} holds no image or video")
        elif path.exists():
            known = [path]
        elif text.isascii() and text.isdigit():
            videos.append(int(text))
            continue
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
            problems.append(f"{text} is an address: frnet reads files and cameras, so download it first")
            continue
        else:
            problems.append(f"{path}: no such file or folder")
            continue
        for entry in known:
            (videos if entry.suffix.lower() in VIDEO_SUFFIXES else images).append(entry)
    return images, videos, problems


def unknown_files(folder: Path) -> list[Path]:
    """The files directly in a folder that are neither images nor videos by their suffix, sorted; hidden ones aside."""
    return [
        entry
        for entry in _entries(folder)
        if entry.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not entry.name.startswith(".")
    ]


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file())


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
