"""Made faces on disk: a ring of memory-mapped arrays that processes fill while others read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frnet.datasets.faces.factory import BLOCK, Block
from frnet.io.files import write_whole

__all__ = ["FaceStore", "StoredFaces"]

_FORMAT = "frnet.faces/1"


class StoredFaces(NamedTuple):
    """Some faces of a store.

    Attributes:
        images: uint8 [n, size, size, 3], BGR.
        points: float32 [n, P, 3], see :class:`frnet.datasets.faces.factory.Block` for these and the rest.
        params: float32 [n, 62].
        sides: float32 [n].
    """

    images: np.ndarray
    points: np.ndarray
    params: np.ndarray
    sides: np.ndarray


class FaceStore:
    """A folder of made faces. Block b lies in slot ``b % slots``, so that newer ones take the place of older ones.

    Any number of processes may write blocks of their own and read at once; a reader never sees a block that is half
    written unless it holds on to a slot for longer than its faces last.

    Args:
        folder: of the store.
        mode: ``"r"`` to read, ``"r+"`` to write too.

    Attributes:
        settings: what :meth:`create` was told, a dictionary.
        size: side of the pictures.
        points: int64 [P], vertices of the built-in face that labels hold.
        slots: how many blocks there is room for.

    Raises:
        OSError, ValueError: no store, or a damaged one; names the file.
    """

    def __init__(self, folder: str | os.PathLike[str], mode: str = "r") -> None:
        self.folder = Path(folder)
        path = self.folder / "store.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise ValueError(f"format {stored['format']}")
            self.size, self.slots, self.settings = int(stored["size"]), int(stored["slots"]), stored["settings"]
            self.points = np.array(stored["points"], np.int64)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a store of faces ({error})") from error
        faces, count = self.slots * BLOCK, len(self.points)
        self._images = self._open("images", np.uint8, (faces, self.size, self.size, 3), mode)
        self._points = self._open("points", np.float16, (faces, count, 3), mode)
        self._params = self._open("params", np.float32, (faces, 62), mode)
        self._sides = self._open("sides", np.float32, (faces,), mode)
        self._held = self._open("blocks", np.int64, (self.slots,), mode)  # number of the block + 1; 0: none

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], faces: int, size: int, points: np.ndarray, settings: dict
    ) -> FaceStore:
        """A new store with room for so many faces; the one that is there already if it was created alike.

        Args:
            folder: made if it is not there.
            faces: rounded up to whole blocks. Disk space is taken as they are made, 46 kB each.
            size: side of the pictures.
            points: int64 [P], vertices that labels hold.
            settings: what the faces depend on; a dictionary that JSON can hold.

        Raises:
            ValueError: there is a store of other faces.
            OSError: it cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        slots = -(-faces // BLOCK)
        described = {"format": _FORMAT, "size": size, "slots": slots, "points": points.tolist(), "settings": settings}
        path = folder / "store.json"
        if path.is_file():
            if json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(described)):
                raise ValueError(f"{path} describes other faces; give another folder, or remove this one")
        else:
            for name, item, length in (
                ("images", 1, slots * BLOCK * size * size * 3),
                ("points", 2, slots * BLOCK * len(points) * 3),
                ("params", 4, slots * BLOCK * 62),
                ("sides", 4, slots * BLOCK),
                ("blocks", 8, slots),
            ):
                with (folder / f"{name}.bin").open("wb") as file:
                    file.truncate(item * length)
            write_whole(path, json.dumps(described).encode())
        return cls(folder, "r+")

    def _open(self, name: str, dtype: type, shape: tuple[int, ...], mode: str) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if path.stat().st_size != wanted:
            raise ValueError(f"{path}: expected {wanted} bytes, got {path.stat().st_size}")
        return np.memmap(path, dtype, mode, shape=shape)

    def write(self, index: int, block: Block) -> None:
        """Puts a block into its slot."""
        slot = index % self.slots
        rows = slice(slot * BLOCK, (slot + 1) * BLOCK)
        self._held[slot] = 0
        self._images[rows], self._points[rows] = block.images, block.points
        self._params[rows], self._sides[rows] = block.params, block.sides
        self._held[slot] = index + 1

    def next_block(self, first: int, step: int) -> int:
        """The next of the blocks ``first, first + step, ..`` to be made: behind the newest of them that is held."""
        held = self._held[self._held > 0] - 1
        mine = held[(held - first) % step == 0]
        return int(mine.max()) + step if len(mine) else first

    def faces(self) -> np.ndarray:
        """int64 [n], the rows that hold a face now."""
        slots = np.flatnonzero(np.asarray(self._held) > 0)
        return (slots[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)

    @property
    def made(self) -> int:
        """Faces made in all, those that others have replaced included."""
        return int(self._held.max()) * BLOCK

    def read(self, rows: np.ndarray) -> StoredFaces:
        """Faces of some rows, as :meth:`faces` counts them."""
        return StoredFaces(
            np.array(self._images[rows]),
            self._points[rows].astype(np.float32),
            np.array(self._params[rows]),
            np.array(self._sides[rows]),
        )
