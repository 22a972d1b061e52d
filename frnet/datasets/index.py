"""A data set's index: what is in its folders, checked once, packed into one file and noticed when it is stale."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frnet.datasets.packed import PackedArrays

__all__ = ["IndexReport", "Skipped", "cache_folder", "fingerprint", "open_index"]

_log = logging.getLogger(__name__)


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    file: str
    reason: str


class IndexReport(NamedTuple):
    """What was found when a data set was indexed.

    Attributes:
        found: samples that the folders or lists name.
        skipped: those that cannot be used.
    """

    found: int
    skipped: tuple[Skipped, ...]

    @property
    def kept(self) -> int:
        """Samples that can be used."""
        return self.found - len(self.skipped)

    def summary(self, examples: int = 5) -> str:
        """One line, and one for each of the first skipped files.

        Example:
            >>> print(IndexReport(3, (Skipped("b.jpg", "no .mat file"),)).summary())
            2 of 3 samples; 1 skipped:
              b.jpg: no .mat file
        """
        lines = [f"{self.kept} of {self.found} samples" + (f"; {len(self.skipped)} skipped:" if self.skipped else "")]
        lines += [f"  {file}: {reason}" for file, reason in self.skipped[:examples]]
        if len(self.skipped) > examples:
            lines.append(f"  and {len(self.skipped) - examples} more")
        return "\n".join(lines)


def cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    """``cache`` itself, or ``frnet`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frnet"


def fingerprint(*parts: Any) -> str:
    """A digest of settings, arrays and files: of an array its bytes, of a path its name, size and time of change.

    Example:
        >>> fingerprint("a", 1) == fingerprint("a", 1) != fingerprint("a", 2)
        True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Path):
            status = part.stat()
            digest.update(f"{part.name}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
        else:
            digest.update(repr(part).encode("utf-8", "surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()


def open_index(
    path: Path, wanted: str, build: Callable[[], tuple[Mapping[str, np.ndarray], IndexReport]]
) -> tuple[PackedArrays, IndexReport]:
    """The index at ``path`` if it is that of the data as they are, else a new one, written there.

    Args:
        path: the file, ``.safetensors``.
        wanted: :func:`fingerprint` of all that the index is made from.
        build: makes the arrays and the report.

    Raises:
        ValueError: not one sample can be used.
        OSError: the index cannot be written.
    """
    stored = _read(path)
    if stored is None or stored.metadata.get("fingerprint") != wanted:
        if stored is not None:
            _log.info("%s: the data or the settings have changed: made anew", path)
        arrays, report = build()
        if not report.kept:
            raise ValueError(f"no sample that can be used: {report.summary()}")
        skipped = json.dumps(report.skipped)
        stored = PackedArrays.write(
            path, arrays, {"fingerprint": wanted, "found": str(report.found), "skipped": skipped}
        )
    rows = json.loads(stored.metadata["skipped"])
    return stored, IndexReport(int(stored.metadata["found"]), tuple(Skipped(*row) for row in rows))


def _read(path: Path) -> PackedArrays | None:
    try:
        return PackedArrays(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        _log.warning("%s: made anew", error)
        return None
