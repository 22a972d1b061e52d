"""Faces through a video: a face found once is followed from frame to frame by its own landmarks.

In the next frame the crop comes from the landmarks of this one, which costs no detection. A face counts as
lost when that crop has shrunk below :data:`MIN_ROI_AREA` (the rule and the number are 3DDFA_V2's) or has
left the picture. The detector looks again when a face was lost or none is followed, and every so many
frames, to find who came in and to drop what is no longer a face.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from frnet import geometry
from frnet.io.images import Image
from frnet.io.video import VideoReader, open_video_writer
from frnet.render.draw import draw_faces

from .aligner import FaceAligner
from .crops import Crop, following_crop
from .face import Face
from .regions import Regions

MIN_ROI_AREA = 2020.0  # square pixels
SAME_FACE_IOU = 0.3  # overlap of two crops above which they are taken to be of one face


@dataclass(eq=False)
class Track:
    """A face and the number it keeps for as long as it is followed."""

    id: int
    face: Face


class FaceTracker:
    """Follows faces through the frames of one video.

    Args:
        aligner: needs a detector.
        redetect_every: frames after which the detector looks again, at least 1; 1 means every frame.

    Raises:
        ValueError: the aligner has no detector, or ``redetect_every`` is below 1.
    """

    def __init__(self, aligner: FaceAligner, redetect_every: int = 30) -> None:
        if aligner.detector is None:
            raise ValueError("FaceTracker: the aligner needs a detector=, such as a YuNet .onnx file")
        if redetect_every < 1:
            raise ValueError(f"FaceTracker: redetect_every must be >= 1, got {redetect_every}")
        self.aligner, self.redetect_every = aligner, redetect_every
        self._tracks: list[Track] = []
        self._since_detection = redetect_every
        self._next_id = 0

    def __call__(self, frame: Image) -> list[Track]:
        """Align the faces of the next frame, uint8 [height, width, 3], BGR; in the order of their ids."""
        followed = [(track, following_crop(track.face.landmarks, track.face.params, frame)) for track in self._tracks]
        kept = [(track, crop) for track, crop in followed if crop is not None and _area(crop.roi) >= MIN_ROI_AREA]
        lost = len(kept) < len(followed)
        if lost or not kept or self._since_detection >= self.redetect_every:
            return self._detect(frame, kept)
        self._since_detection += 1
        rois, rolls = np.array([crop.roi for _, crop in kept]), np.array([crop.roll for _, crop in kept])
        faces = self.aligner.fit([frame], [Regions(rois, rolls=rolls)], judged=False)[0]
        self._tracks = [
            Track(track.id, _followed(track.face, face)) for (track, _), face in zip(kept, faces, strict=True)
        ]
        return self._tracks

    def _detect(self, frame: Image, kept: list[tuple[Track, Crop]]) -> list[Track]:
        """Every detected face gets the number of the followed face it overlaps most, or a new one."""
        self._since_detection = 1
        regions = self.aligner.locate(frame)
        faces = self.aligner.fit([frame], [regions])[0]
        before = np.array([crop.roi for _, crop in kept]).reshape(-1, 4)
        overlap = geometry.box_overlap(regions.rois[:, None], before[None])
        ids: dict[int, int] = {}
        for detected, index in zip(*np.unravel_index(np.argsort(-overlap, axis=None), overlap.shape), strict=True):
            number = kept[index][0].id
            if overlap[detected, index] > SAME_FACE_IOU and detected not in ids and number not in ids.values():
                ids[detected] = number
        for detected in range(len(faces)):
            if detected not in ids:
                ids[detected] = self._next_id
                self._next_id += 1
        self._tracks = sorted((Track(ids[i], face) for i, face in enumerate(faces)), key=lambda track: track.id)
        return self._tracks


def align_video(
    aligner: FaceAligner,
    source: str | os.PathLike | int | VideoReader,
    overlay: str | os.PathLike | None = None,
    jsonl: str | os.PathLike | TextIO | None = None,
    redetect_every: int = 30,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Align every frame of a video file, or of a camera until it stops or somebody presses Ctrl-C.

    Args:
        aligner: needs a detector.
        source: the video, or the number of a camera, from 0; or a :class:`frnet.io.video.VideoReader` of either.
        overlay: video to write, with the result drawn in; the suffix picks the format (.mp4, .avi, .mov,
            .mkv, .webm). No sound; frames are evenly spaced.
        jsonl: file or open text stream to write, one JSON object per frame: ``frame``, ``time_s``, and
            ``faces``, each with its ``id`` and what :meth:`frnet.align.Face.to_dict` gives.
        redetect_every: see :class:`FaceTracker`.
        progress: called after every frame with frames done and frames in all (0 if unknown).

    Returns:
        Number of frames.

    Raises:
        FileNotFoundError, ImageError: the video is missing or not readable; or it is cut off, which is raised after
            the results of all its frames are written.
        ValueError: an overlay suffix without a known codec; the aligner has no detector.
        OSError: a result cannot be written.
    """
    tracker = FaceTracker(aligner, redetect_every)
    video = source if isinstance(source, VideoReader) else VideoReader(source)
    triangles = aligner.triangles
    writer, done = None, 0
    with contextlib.ExitStack() as stack:
        if video.is_camera:
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        lines = jsonl
        if isinstance(jsonl, (str, os.PathLike)):
            lines = stack.enter_context(open(jsonl, "w", encoding="utf-8"))
        for image, time_s in video:
            tracks = tracker(image)
            if lines is not None:
                faces = [{"id": track.id, **track.face.to_dict()} for track in tracks]
                lines.write(json.dumps({"frame": done, "time_s": round(time_s, 6), "faces": faces}) + "\n")
            if overlay is not None:
                if writer is None:
                    writer = open_video_writer(overlay, video.rate, image.shape[1], image.shape[0])
                    stack.callback(writer.release)
                writer.write(draw_faces(image, [track.face for track in tracks], triangles))
            done += 1
            if progress is not None:
                progress(done, video.count)
    return done


def _followed(before: Face, now: Face) -> Face:
    """With what only the frame in which it was found says of it."""
    return replace(now, box=_carried(before, now), score=before.score, reliability=before.reliability)


def _carried(before: Face, now: Face) -> NDArray[np.float32] | None:
    """The box of the frame before, moved and scaled as the landmarks' own box has been since."""
    if before.box is None:
        return None
    (low, size), (new_low, new_size) = (
        (f.landmarks[:, :2].min(0), np.ptp(f.landmarks[:, :2], 0)) for f in (before, now)
    )
    corners = (before.box.reshape(2, 2) - low) * (new_size / np.maximum(size, 1e-6)) + new_low
    return corners.astype(np.float32).reshape(4)


def _area(roi: NDArray[np.float64]) -> float:
    return float((roi[2] - roi[0]) * (roi[3] - roi[1]))
