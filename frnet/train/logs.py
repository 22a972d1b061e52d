"""What a run says while it runs: lines and a progress bar for the user, curves and pictures for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
from rich import progress
from rich.console import Console
from rich.markup import escape
from torch.utils.tensorboard import SummaryWriter

from frnet.datasets import FaceDataset
from frnet.datasets.parallel import Progress
from frnet.render.draw import draw_landmarks

__all__ = ["RunLog", "Throughput", "face_sheet"]

_TILE = 240  # pixels, of a face on a sheet
_COLUMNS = 4


class RunLog(AbstractContextManager):
    """Messages, a progress bar where there is a terminal, and TensorBoard.

    Args:
        console: for messages and the bar; None: neither.
        active: False in all processes but one: nothing at all.
    """

    def __init__(self, console: Console | None, active: bool) -> None:
        console = console if active else None
        self._console, self._active, self._writer = console, active, None
        columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()
        times = progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
        hidden = console is None or not console.is_terminal
        self._bars = progress.Progress(*columns, *times, console=console, transient=True, disable=hidden)
        self._task = self._bars.add_task("", total=None, visible=False)

    def __enter__(self) -> RunLog:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()
        self._events(SummaryWriter.close)

    def open_tensorboard(self, folder: Path, step: int) -> None:
        """Begins to write events; those of a step from ``step`` on, left by a run that was stopped, are hidden."""
        if self._active:
            self._writer = SummaryWriter(str(folder), purge_step=step)

    def say(self, text: str) -> None:
        """A line for the user."""
        if self._console is not None:
            self._console.print(escape(text), highlight=False, soft_wrap=True)

    def progress(self, text: str, done: int, total: int) -> None:
        """Moves the bar."""
        self._bars.update(self._task, description=escape(text), completed=done, total=total, visible=True)

    def progress_of(self, text: str) -> Progress:
        """What moves the bar when called with what is done and what there is."""
        return lambda done, total: self.progress(text, done, total)

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Points of the curves ``group/name``."""

        def add(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(f"{group}/{name}", value, step)

        self._events(add)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """uint8 [height, width, 3], BGR."""
        self._events(lambda writer: writer.add_image(name, image[..., ::-1].copy(), step, dataformats="HWC"))

    def config(self, text: str) -> None:
        """The configuration as YAML, for the page of texts."""
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        self._events(lambda writer: writer.add_text("config", indented, 0))

    def _events(self, add: Callable[[SummaryWriter], None]) -> None:
        """A full disk ends the curves, not the run: TensorBoard's writer cannot go on once a write has failed."""
        if self._writer is None:
            return
        try:
            add(self._writer)
        except OSError as error:
            self._writer = None
            self.say(f"warning: TensorBoard gets nothing any more, metrics.csv still does: {error}")


class Throughput:
    """Images a second, and the share of the time in which the next batch had to be waited for."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begins anew."""
        self._begin, self._waited, self._images = time.perf_counter(), 0.0, 0

    def add(self, images: int, waited: float) -> None:
        """A step with so many images, for which was waited so many seconds."""
        self._images += images
        self._waited += waited

    def figures(self) -> dict[str, float]:
        """Since the start."""
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        return {"images_per_second": self._images / seconds, "waiting_for_data": self._waited / seconds}


def face_sheet(faces: FaceDataset, landmarks: np.ndarray) -> np.ndarray:
    """The first faces of a data set side by side, with predicted landmarks.

    Args:
        faces: at least n.
        landmarks: [n, 68, 2], crop pixels.

    Returns:
        uint8 [height, width, 3], BGR.
    """
    tiles = []
    for index, points in enumerate(landmarks):
        tile = cv2.resize(faces[index].image.numpy(), (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
        # The centre of pixel u lies at (u + 1/2) / size of the side, in the crop and in the tile.
        tiles.append(draw_landmarks(tile, (points + 0.5) * (_TILE / faces.convention.size) - 0.5))
    blank = np.zeros_like(tiles[0])
    rows = [tiles[first : first + _COLUMNS] for first in range(0, len(tiles), _COLUMNS)]
    rows[-1] += [blank] * (min(_COLUMNS, len(tiles)) - len(rows[-1]))
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)
