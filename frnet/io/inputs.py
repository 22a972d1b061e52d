"""What a list of inputs stands for: images, videos, cameras."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from frnet.io.images import IMAGE_SUFFIXES
from frnet.io.video import VIDEO_SUFFIXES

__all__ = ["expand_inputs", "unknown_files"]


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
