"""Arrays of a data set in files mapped into memory: many processes read one copy, and pickling sends a path."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frnet.io.tensors import write_in_order

__all__ = ["MappedNpy", "PackedArrays", "PackedStrings", "pack_strings"]

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


class PackedArrays(Mapping[str, np.ndarray]):
    """The arrays of one safetensors file, read-only and mapped; copies and pickles hold the path alone.

    Args:
        path: the file, as :meth:`write` makes it.

    Raises:
        ValueError: not such a file, or one that is cut short; names it.
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stored = PackedArrays.write(Path(folder) / "a.safetensors", {"x": np.arange(3.0)}, {"of": "three"})
        ...     stored["x"].tolist(), stored.metadata["of"]
        ([0.0, 1.0, 2.0], 'three')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            size = os.fstat(file.fileno()).st_size
            if not 2 <= length <= size - 8:
                raise ValueError(f"{self.path}: not a safetensors file")
            try:
                header = json.loads(file.read(length))
                self.metadata: dict[str, str] = header.pop("__metadata__", {})
                self._arrays = {name: self._map(entry, 8 + length) for name, entry in header.items()}
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                raise ValueError(f"{self.path}: a damaged safetensors file ({error})") from None

    def _map(self, entry: dict[str, Any], start: int) -> np.ndarray:
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if not np.prod(shape):
            return np.zeros(shape, dtype)
        mapped = np.memmap(self.path, dtype, "r", offset=start + entry["data_offsets"][0], shape=shape)
        return mapped.view(np.ndarray)

    @classmethod
    def write(cls, path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> PackedArrays:
        """Writes the file, complete or not at all, and opens it.

        Raises:
            OSError: the folder cannot be written to, or the disk is full.
        """
        from safetensors.numpy import save

        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, dict(metadata))
        write_in_order(path, content)
        return cls(path)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "metadata": self.metadata}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])
        if self.metadata != state["metadata"]:
            raise RuntimeError(f"{self.path} was written anew while another process was reading it: start again")


class MappedNpy:
    """An ``.npy`` file, read-only and mapped; pickles hold the path alone.

    Args:
        path: the file.

    Raises:
        ValueError: not such a file, or one that is cut short; names it.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self.path}: not a readable .npy file ({error})") from None

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)


class PackedStrings(Sequence[str]):
    """Strings in two arrays instead of an object each: 636,252 file names take some 25 MB, mapped.

    Args:
        text: uint8 [bytes], all of them in UTF-8, one behind the other.
        ends: int64 [n], where each one ends.

    Example:
        >>> names = PackedStrings(*pack_strings(["a.jpg", "bé.jpg"]))
        >>> len(names), names[1], names[-2]
        (2, 'bé.jpg', 'a.jpg')
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        index = range(len(self._ends))[index]
        start = self._ends[index - 1] if index else 0
        return self._text[start : self._ends[index]].tobytes().decode("utf-8", "surrogateescape")


def pack_strings(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What :class:`PackedStrings` takes: uint8 text and int64 ends."""
    encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
    ends = np.cumsum([len(string) for string in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends
