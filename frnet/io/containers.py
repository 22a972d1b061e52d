"""Whether a video file is all there, by what its container says of its own length."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["missing_bytes"]

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: str | os.PathLike) -> int:
    """How many bytes a video file lacks at its end: it was cut off, or is still being written.

    Known are MP4 and MOV (ISO base media), AVI (RIFF), MKV and WebM (EBML).

    Args:
        path: of the file.

    Returns:
        Bytes; 0 for a file that is all there, or whose container does not say.

    Raises:
        OSError: the file cannot be read.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            end = _end_of_riff(file, size)
        elif head[:4] == _EBML:
            end = _end_of_ebml(file)
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _end_of_boxes(file, size)
        else:
            end = size
    return max(0, end - size)


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Past a gigabyte an AVI is several RIFF chunks; one that was never finished states 0."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or not length:
            break
        at += 8 + length + length % 2
    return at


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Boxes of 32 or 64 bits of length; 0 is one that reaches to the end. Cameras append what is no box."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        if not header[4:8].isalnum():
            return size
        length = struct.unpack(">I", header[:4])[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8:
            return size
        at += length
    return at


def _end_of_ebml(file: BinaryIO) -> int:
    """The header element, then one segment; a length of nothing but ones is not known, as in a live stream."""
    file.seek(4)
    length = _vint(file)
    if length is None:
        return 0
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """An EBML number: the first byte's leading zeros say how many bytes it has."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    bits = 7 * (more + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if len(rest) < more or value == (1 << bits) - 1 else value
