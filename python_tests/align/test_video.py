"""Video: a face keeps its number while it is followed, and is looked for again when it is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from frnet.align import Face, FaceAligner, FaceTracker, ImageError, Pose, Regions, align_video, read_image
from frnet.align.video import MIN_ROI_AREA
from frnet.io.video import Frame, VideoReader, open_video_writer

FRAME = np.zeros((400, 600, 3), np.uint8)


class StagedAligner:
    """Finds the faces put on its stage, and follows each by the one nearest to the crop."""

    def __init__(self, **faces):
        self.stage = dict(faces)  # name -> (x, y, size)
        self.detector = object()
        self.detections = 0
        self.found = {}  # boxes and scores

    def _face(self, x, y, size):
        points = np.zeros((68, 3), np.float32)
        points[:, :2] = [x, y]
        points[0, :2] -= size / 2
        points[1, :2] += size / 2
        roi = np.float32([x - size / 2, y - size / 2, x + size / 2, y + size / 2])
        return Face(points, points, np.zeros(62, np.float32), Pose(0, 0, 0), roi)

    def locate(self, frame):
        self.detections += 1
        return Regions(np.array([self._face(*place).roi for place in self.stage.values()]).reshape(-1, 4), **self.found)

    def fit(self, images, regions, judged=True):
        centres = (regions[0].rois[:, :2] + regions[0].rois[:, 2:]) / 2
        places = [min(self.stage.values(), key=lambda p: np.hypot(p[0] - c[0], p[1] - c[1])) for c in centres]
        faces = [self._face(*place) for place in places]
        if regions[0].boxes is not None:
            faces = [
                replace(face, box=box, score=float(score))
                for face, box, score in zip(faces, regions[0].boxes, regions[0].scores, strict=True)
            ]
        return [faces]


def ids(tracks):
    return [track.id for track in tracks]


def test_a_followed_face_costs_no_detection():
    aligner = StagedAligner(a=(100, 100, 80), b=(400, 200, 90))
    tracker = FaceTracker(aligner, redetect_every=10)
    for step in range(10):
        aligner.stage = {"a": (100 + 5 * step, 100, 80), "b": (400, 200 - 5 * step, 90)}
        tracks = tracker(FRAME)
        assert ids(tracks) == [0, 1]
        assert tracks[0].face.landmarks[5, 0] == 100 + 5 * step
    assert aligner.detections == 1


def test_the_detector_looks_again_every_so_many_frames():
    aligner = StagedAligner(a=(100, 100, 80))
    tracker = FaceTracker(aligner, redetect_every=4)
    found = []
    for step in range(9):
        if step == 1:
            aligner.stage["b"] = (400, 200, 90)
        found.append(ids(tracker(FRAME)))
    assert found == [[0]] * 4 + [[0, 1]] * 5
    assert aligner.detections == 3
    for _ in range(3):
        tracker(FRAME)
    del aligner.stage["a"]
    assert ids(tracker(FRAME)) == [1]  # what is no longer detected is dropped


def test_numbers_follow_the_overlap_and_not_the_order():
    aligner = StagedAligner(a=(100, 100, 80), b=(400, 200, 90))
    tracker = FaceTracker(aligner, redetect_every=1)
    tracker(FRAME)
    aligner.stage = {"new": (250, 330, 60), "b": (395, 205, 90), "a": (105, 95, 80)}
    tracks = tracker(FRAME)
    assert [(track.id, track.face.landmarks[5, 0]) for track in tracks] == [(0, 105), (1, 395), (2, 250)]


def test_a_face_that_shrinks_or_leaves_is_lost():
    too_small = int(np.sqrt(MIN_ROI_AREA / 2)) - 1  # the crop is sqrt(2) times the landmarks' box
    for place in ((100, 100, too_small), (-500, 100, 80)):
        aligner = StagedAligner(a=(100, 100, 80))
        tracker = FaceTracker(aligner, redetect_every=100)
        tracker(FRAME)
        aligner.stage = {"a": place}
        tracker(FRAME)  # still followed here: its crop comes from the frame before
        aligner.stage = {}
        assert tracker(FRAME) == []
        assert aligner.detections == 2
        aligner.stage = {"b": (300, 300, 80)}
        assert ids(tracker(FRAME)) == [1]  # looked for in every frame until somebody comes


def test_followed_faces_keep_box_and_score():
    """Those they were found with; the box moves and grows with the face."""
    aligner = StagedAligner(a=(100, 100, 80))
    aligner.found = {"boxes": np.float32([[70, 60, 130, 140]]), "scores": np.float32([0.9])}
    tracker = FaceTracker(aligner, redetect_every=5)
    (track,) = tracker(FRAME)
    np.testing.assert_allclose(track.face.box, [70, 60, 130, 140])
    for place in ((110, 100, 80), (140, 120, 120)):
        aligner.stage = {"a": place}
        (track,) = tracker(FRAME)
        assert track.face.score == pytest.approx(0.9)
        x, y, size = place
        expected = np.array([x - 30 * size / 80, y - 40 * size / 80, x + 30 * size / 80, y + 40 * size / 80])
        np.testing.assert_allclose(track.face.box, expected, rtol=1e-5)


def test_what_a_tracker_needs():
    with pytest.raises(ValueError, match="the aligner needs a detector="):
        FaceTracker(SimpleNamespace(detector=None))
    with pytest.raises(ValueError, match="redetect_every must be >= 1, got 0"):
        FaceTracker(StagedAligner(), redetect_every=0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, files):
    """A portrait that wanders through eight frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    portrait = cv2.resize(read_image(files.photo), (240, 240), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (320, 240))
    for step in range(8):
        frame = np.full((240, 320, 3), 200, np.uint8)
        frame[:, 6 * step : 6 * step + 240] = portrait
        writer.write(frame)
    writer.release()
    return path


def test_a_video_file_through_and_through(checkpoint, grid, files, yunet, clip, tmp_path):
    aligner = FaceAligner(checkpoint, grid, files.whitening_v2, detector=yunet)
    ticks = []
    frames = align_video(
        aligner, clip, tmp_path / "o.mp4", tmp_path / "o.jsonl", progress=lambda *tick: ticks.append(tick)
    )
    assert frames == 8
    assert ticks[-1] == (8, 8)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(8))
    assert records[4]["time_s"] == pytest.approx(0.2)
    assert {face["id"] for record in records for face in record["faces"]} == {0}
    noses = np.array([record["faces"][0]["landmarks"][30] for record in records])
    np.testing.assert_allclose(np.diff(noses[1:, 0]), 6, atol=2.5)
    assert len(list(VideoReader(tmp_path / "o.mp4"))) == 8
    assert all(face["score"] > 0.8 and face["box"] for record in records for face in record["faces"])


def test_a_video_that_is_cut_off_keeps_what_is_done(checkpoint, grid, files, yunet, clip, tmp_path):
    aligner = FaceAligner(checkpoint, grid, files.whitening_v2, detector=yunet)
    whole = tmp_path / "clip.avi"
    writer = open_video_writer(whole, 20, 320, 240)
    for frame in VideoReader(clip):
        writer.write(frame.image)
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    with pytest.raises(ImageError, match=r"cut\.avi is cut off after \d of 8 frames"):
        align_video(aligner, cut, tmp_path / "o.mp4", tmp_path / "o.jsonl")
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert 2 <= len(records) < 8
    assert len(list(VideoReader(tmp_path / "o.mp4"))) == len(records)


class Interrupted(VideoReader):
    """Three frames, then Ctrl-C."""

    def __init__(self, is_camera):
        self.is_camera, self.count, self.rate = is_camera, 0, 10

    def __iter__(self):
        yield from (Frame(FRAME, float(number)) for number in range(3))
        raise KeyboardInterrupt


def test_ctrl_c_ends_a_camera(tmp_path):
    aligner = StagedAligner(a=(100, 100, 80))
    aligner.triangles = np.empty((0, 3), int)
    assert align_video(aligner, Interrupted(is_camera=True), tmp_path / "o.mp4", tmp_path / "o.jsonl") == 3
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 3
    assert len(list(VideoReader(tmp_path / "o.mp4"))) == 3
    with pytest.raises(KeyboardInterrupt):
        align_video(aligner, Interrupted(is_camera=False))


def test_an_overlay_of_no_known_kind(checkpoint, grid, files, yunet, clip, tmp_path):
    aligner = FaceAligner(checkpoint, grid, files.whitening_v2, detector=yunet)
    with pytest.raises(ValueError, match=r"video .*o\.gif must end in one of"):
        align_video(aligner, clip, tmp_path / "o.gif")
