"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content``; a file of that name stays as it was until all of it is on the disk.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full; nothing is left behind.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)  # mkstemp makes it private; such a file is not
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
