"""Faces through the frames of a video: found once, then followed, each under a number of its own.

Run: python examples/track_video.py [VIDEO]      (0 for the webcam)

Without an argument it makes a short clip of its own: a camera that pans over a photograph with several faces.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from frnet.align import FaceAligner, FaceTracker, read_image

SHARED = Path(os.environ.get("FRNET_SHARED", "../shared/data"))


def frames(source: str) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    while (frame := capture.read()[1]) is not None:
        yield frame


def panned(photo: Path, count: int = 30) -> Iterator[np.ndarray]:
    """A window moving 4 pixels a frame over the photograph."""
    image = read_image(photo)
    width = image.shape[1] - 4 * count
    for step in range(count):
        yield np.ascontiguousarray(image[:, 4 * step : 4 * step + width])


def main(source: str | None) -> None:
    tracker = FaceTracker(FaceAligner(), redetect_every=10)
    noses = defaultdict(list)  # number of a face -> where its nose was, frame by frame
    for frame in panned(SHARED / "photos/trump_hillary.jpg") if source is None else frames(source):
        for track in tracker(frame):
            noses[track.id].append(track.face.landmarks[30, :2])

    for number, places in noses.items():
        speed = np.diff(places, axis=0).mean(0)
        print(f"face {number}: in {len(places)} frames, moving ({speed[0]:+.1f}, {speed[1]:+.1f}) pixels a frame")
    if source is None:  # every face keeps its number, and seems to move against the camera
        assert [len(places) for places in noses.values()] == [30, 30]
        assert all(abs(np.diff(places, axis=0).mean(0)[0] + 4) < 0.5 for places in noses.values())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
