"""safetensors files whose bytes follow from their content."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from frnet.io.files import open_whole

__all__ = ["write_in_order"]


def write_in_order(path: Path, content: bytes) -> None:
    """Writes a safetensors file with its metadata in the order of their names; it appears complete or not at all.

    The library puts metadata in an order that is drawn anew each time, so that the same tensors would never have the
    same hash twice.

    Args:
        path: the file.
        content: what ``safetensors.torch.save`` or ``safetensors.numpy.save`` gave.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full.
    """
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    if metadata is not None:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    with open_whole(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(memoryview(content)[8 + length :])
