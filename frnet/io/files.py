"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_whole", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content``; a file of that name stays as it was until all of it is on the disk.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full; nothing is left behind.
    """
    with open_whole(path) as file:
        file.write(content)


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write piece by piece, which takes its name at the end; after an error there is none.

    Raises:
        OSError: as :func:`write_whole`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open_whole(Path(folder) / "a.txt") as file:
        ...         _ = file.write(b"one, ")
        ...         _ = file.write(b"two")
        ...     (Path(folder) / "a.txt").read_text()
        'one, two'
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)  # mkstemp makes it private; such a file is not
        os.replace(partial, path)
    except BaseException as error:
        os.unlink(partial)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # a full disk does not say where
            error.filename = str(path)
        raise
