"""Videos: frames in, frames out, by OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from frnet.io.containers import missing_bytes
from frnet.io.images import Image, ImageError

__all__ = ["VIDEO_SUFFIXES", "Frame", "VideoReader", "open_video_writer"]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"}
    | {".mts", ".m2ts", ".ts", ".wmv", ".flv", ".3gp", ".ogv", ".mjpg", ".mjpeg"}
)
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
_USUAL_RATE = 25.0  # frames per second, where nothing is said
# How much of a video may be missing before it is called cut off, where only its header tells: encoders round.
_SLACK_FRAMES, _SLACK_SHARE = 2, 0.02


class Frame(NamedTuple):
    """A frame, uint8 [height, width, 3], BGR, and when it is shown, in seconds from the start."""

    image: Image
    time_s: float


class VideoReader:
    """The frames of a video file or of a camera, once, in order.

    Rotation stated in the file's metadata is applied, as OpenCV does. Times are those the file gives its frames, which
    need not be evenly spaced; where it gives none, or one that is not later than the frame before, the rate fills in.
    Frames of a camera have the time at which they came.

    Args:
        source: a file, or the number of a camera, the first being 0.

    Attributes:
        name: what messages call it.
        path: the file; of a camera a name that results may have.
        rate: frames per second, on average.
        count: frames the file's header states; 0 if unknown.
        is_camera: whether it goes on until somebody stops.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: OpenCV cannot open it, or it has no frame.

    Example:
        >>> for frame in VideoReader("clip.mp4"):  # doctest: +SKIP
        ...     print(frame.time_s, frame.image.shape)
    """

    def __init__(self, source: str | os.PathLike | int) -> None:
        self.is_camera = isinstance(source, int)
        self.name = f"camera {source}" if self.is_camera else f"video {source}"
        self.path = Path(f"camera-{source}" if self.is_camera else source)
        self._missing = 0
        if not self.is_camera:
            if not self.path.is_file():
                raise FileNotFoundError(f"{self.name}: {'not a file' if self.path.exists() else 'no such file'}")
            self._missing = missing_bytes(self.path)
        self._capture = cv2.VideoCapture(source if self.is_camera else str(source))
        ok, self._first = self._capture.read() if self._capture.isOpened() else (False, None)
        if not ok:
            self._capture.release()
            raise ImageError(f"{self.name} {self._why_not()}")
        self._begin = 0.0
        rate, count = (self._capture.get(what) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.rate = rate if np.isfinite(rate) and rate > 0 else _USUAL_RATE
        self.count = 0 if self.is_camera else max(0, int(count))

    def __iter__(self) -> Iterator[Frame]:
        """Frames, then the end.

        Raises:
            ImageError: after the last frame: the file ends before the video does.
        """
        image, previous, number = self._first, -1.0, 0
        self._first, self._begin = None, time.monotonic()
        try:
            while image is not None:
                previous = self._time(previous)
                yield Frame(image, previous)
                number += 1
                image = self._capture.read()[1]
        finally:
            self._capture.release()
        if number and self._is_cut(number, previous):
            of = f" of {self.count}" if self.count > number else ""
            short = f": the file is {self._missing:,} bytes short" if self._missing else ""
            raise ImageError(f"{self.name} is cut off after {number}{of} frames{short}")

    def _time(self, previous: float) -> float:
        if self.is_camera:
            return time.monotonic() - self._begin
        stated = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if previous < 0:  # the first frame
            return stated if np.isfinite(stated) and stated > 0 else 0.0
        return stated if np.isfinite(stated) and stated > previous else previous + 1 / self.rate

    def _is_cut(self, number: int, last: float) -> bool:
        """By the container; else by its header, where fewer frames came and the last of them is too early as well."""
        if self._missing:
            return True
        slack = max(_SLACK_FRAMES, _SLACK_SHARE * self.count)
        return self.count - number > slack and self.count - last * self.rate - 1 > slack

    def _why_not(self) -> str:
        if self.is_camera:
            return "cannot be opened: there is none of that number, or another program has it"
        if self._missing:
            return f"is cut off, and cannot be decoded: the file is {self._missing:,} bytes short"
        return "cannot be decoded: damaged, without frames, or a codec OpenCV lacks"


def open_video_writer(path: str | os.PathLike, rate: float, width: int, height: int) -> cv2.VideoWriter:
    """A writer of frames, uint8 [height, width, 3], BGR; call its ``release`` at the end. No sound.

    Args:
        path: the suffix picks the format: .mp4, .m4v, .mov, .mkv, .avi or .webm.
        rate: frames per second.
        width: of a frame, pixels.
        height: of a frame, pixels.

    Raises:
        ValueError: a suffix without a known codec.
        OSError: the file cannot be written.
    """
    path = Path(path)
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        raise ValueError(f"video {path} must end in one of {', '.join(_CODECS)}")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (width, height))
    if not writer.isOpened():
        raise OSError(f"video {path}: OpenCV cannot write it ({codec}, {width} x {height})")
    return writer
