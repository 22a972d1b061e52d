"""Videos: frames in, frames out, by OpenCV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from frnet.io.images import Image, ImageError

__all__ = ["VIDEO_SUFFIXES", "open_video_writer", "read_video"]

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}


def read_video(path: str | os.PathLike) -> tuple[Iterator[Image], float, int]:
    """Frames of a video, frames per second, and the frame count its header states (0 if unknown).

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: OpenCV cannot open it, or it has no frame.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"video {path}: {'not a file' if path.exists() else 'no such file'}")
    capture = cv2.VideoCapture(str(path))
    ok, first = capture.read() if capture.isOpened() else (False, None)
    if not ok:
        capture.release()
        raise ImageError(f"video {path} cannot be decoded: damaged, without frames, or a codec OpenCV lacks")
    rate = capture.get(cv2.CAP_PROP_FPS)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)

    def frames() -> Iterator[Image]:
        frame = first
        try:
            while frame is not None:
                yield frame
                frame = capture.read()[1]
        finally:
            capture.release()

    return frames(), rate if np.isfinite(rate) and rate > 0 else 25.0, max(0, int(count))


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
