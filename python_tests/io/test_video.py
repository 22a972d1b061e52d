"""Videos: every frame with its time, and an error where the file ends too early."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from frnet.io import video
from frnet.io.containers import missing_bytes
from frnet.io.images import ImageError
from frnet.io.video import VideoReader, open_video_writer

FRAMES, RATE = 20, 10
SUFFIXES = [".mp4", ".mov", ".avi", ".mkv", ".webm"]


def write(path):
    """Frames whose brightness tells their number; with noise, so that they take some room in the file."""
    rng = np.random.default_rng(7)
    writer = open_video_writer(path, RATE, 128, 96)
    for number in range(FRAMES):
        noise = cv2.resize(rng.integers(0, 40, (48, 64, 3), dtype=np.uint8), (128, 96))
        writer.write(noise + np.uint8(10 * number))
    writer.release()
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {suffix: write(folder / f"clip{suffix}") for suffix in SUFFIXES}


def boxes(data: bytes, start=0, end=None):
    """Name, start and end of the boxes of an MP4, the length included."""
    at = start
    while at < (len(data) if end is None else end):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, at, at + length
        at += length


def with_durations(data: bytes, durations: list[int]) -> bytes:
    """An MP4 as OpenCV writes it, whose frames last as long as is said: its stts box made anew (ISO/IEC 14496-12)."""

    def rebuilt(start, end):
        """The boxes between two places, those around the changed one with their new lengths."""
        out = b""
        for name, first, last in boxes(data, start, end):
            body = data[first + 8 : last]
            if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                body = rebuilt(first + 8, last)
            elif name == b"stts":
                entries = b"".join(struct.pack(">II", 1, duration) for duration in durations)
                body = struct.pack(">II", 0, len(durations)) + entries
            out += struct.pack(">I4s", len(body) + 8, name) + body
        return out

    return rebuilt(0, len(data))


def index_first(data: bytes) -> bytes:
    """An MP4 whose index stands before its frames, as files for the web have it."""
    parts = {name: data[first:last] for name, first, last in boxes(data)}
    moov = bytearray(parts[b"moov"])
    at = bytes(moov).index(b"stco") + 4
    count = struct.unpack(">I", moov[at + 4 : at + 8])[0]
    for place in range(at + 8, at + 8 + 4 * count, 4):
        offset = struct.unpack(">I", moov[place : place + 4])[0]
        moov[place : place + 4] = struct.pack(">I", offset + len(moov))
    rest = b"".join(data[first:last] for name, first, last in boxes(data) if name not in (b"ftyp", b"moov"))
    return parts[b"ftyp"] + bytes(moov) + rest


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_frame_in_order(clips, suffix):
    reader = VideoReader(clips[suffix])
    assert (reader.count, reader.rate, reader.is_camera) == (FRAMES, RATE, False)
    frames = list(reader)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 19.5 + 10 * np.arange(FRAMES), atol=4)
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(FRAMES) / RATE, atol=1e-3)


def test_times_are_those_of_the_container(clips, tmp_path):
    """Of uneven frames, as telephones record them: index over mean rate would be off by 0.8 seconds."""
    data = clips[".mp4"].read_bytes()
    timescale = struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0]
    seconds = [0.02] * 10 + [0.18] * 10
    path = tmp_path / "uneven.mp4"
    path.write_bytes(with_durations(data, [round(timescale * each) for each in seconds]))
    times = np.array([frame.time_s for frame in VideoReader(path)])
    true = np.concatenate([[0], np.cumsum(seconds[:-1])])
    np.testing.assert_allclose(times, true, atol=2e-3)
    assert np.abs(np.arange(FRAMES) * np.mean(seconds) - true).max() > 0.7


class Stub:
    """A capture of black frames with the times a container may have."""

    def __init__(self, times, count=0):
        self.times, self.next, self.count = times, 0, count

    def isOpened(self):  # noqa: N802 (OpenCV's names)
        return True

    def read(self):
        self.next += 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.next <= len(self.times) else (False, None)

    def get(self, what):
        known = {cv2.CAP_PROP_FPS: 10.0, cv2.CAP_PROP_FRAME_COUNT: self.count}
        return known[what] if what in known else 1000 * self.times[self.next - 1]

    def release(self):
        pass


@pytest.mark.parametrize(
    ("stated", "times"),
    [
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),
        ([0.5, 0.6, 0.55, 0.9], [0.5, 0.6, 0.7, 0.9]),
        ([float("nan"), 0.1, -1, float("inf")], [0, 0.1, 0.2, 0.3]),
    ],
)
def test_times_always_rise(monkeypatch, clips, stated, times):
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda _: Stub(stated))
    np.testing.assert_allclose([frame.time_s for frame in VideoReader(clips[".mp4"])], times)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".webm", "index first.mp4"])
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_a_video_that_is_cut_off(clips, tmp_path, suffix, share):
    """All frames that are there, then an error; it ended without a word."""
    data = index_first(clips[".mp4"].read_bytes()) if suffix.startswith("index") else clips[suffix].read_bytes()
    path = tmp_path / f"cut {suffix}"
    path.write_bytes(data)
    assert missing_bytes(path) == 0
    assert len(list(VideoReader(path))) == FRAMES
    path.write_bytes(data[: int(share * len(data))])
    assert missing_bytes(path) == len(data) - int(share * len(data))
    frames = iter(VideoReader(path))
    for _ in range(int(0.7 * share * FRAMES)):  # at least
        next(frames)
    with pytest.raises(ImageError, match=r"video .*cut .* is cut off after \d+ (of 20 )?frames: the file is [\d,]+ by"):
        list(frames)


def test_a_video_without_its_index_says_that_it_is_cut(clips, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clips[".mp4"].read_bytes()[:20_000])
    with pytest.raises(ImageError, match=r"cut\.mp4 is cut off, and cannot be decoded: the file is [\d,]+ bytes short"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("times", "cut"),
    [
        (np.arange(60) / 10, True),  # 40 of 100 frames and of 10 seconds are missing
        (np.arange(99) / 10, False),  # encoders round
        (np.arange(60) / 6.01, False),  # fewer frames, but up to the end: the header's rate is an estimate
    ],
)
def test_where_only_the_header_tells(monkeypatch, clips, times, cut):
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda _: Stub(times, count=100))
    reader = VideoReader(clips[".mp4"])
    if not cut:
        assert len(list(reader)) == len(times)
        return
    with pytest.raises(ImageError, match=r"is cut off after 60 of 100 frames$"):
        list(reader)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"RIFF\0\0\0\0AVI ",  # never finished, so of unknown length
        bytes.fromhex("1a45dfa3") + b"\x80" + bytes.fromhex("18538067") + b"\x01" + b"\xff" * 7 + b"live",
        bytes.fromhex("1a45dfa3") + b"\x01",
        struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 0, b"mdat") + b"to the end",
        struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 20) + b"more" + b"\xff\xffSEFT of a camera",
        b"no container at all, but long enough",
    ],
)
def test_files_that_lack_nothing(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert missing_bytes(tmp_path / "a") == 0


def test_boxes_of_64_bits(tmp_path):
    (tmp_path / "a").write_bytes(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 2**33) + b"some")
    assert missing_bytes(tmp_path / "a") == 2**33 - 20


def test_a_camera_has_the_time_of_the_clock(monkeypatch):
    opened = []
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda source: opened.append(source) or Stub([0] * 3, count=-1))
    ticks = iter([100.0, 100.0, 100.5, 102.0])
    monkeypatch.setattr(video.time, "monotonic", lambda: next(ticks))
    reader = VideoReader(0)
    assert (opened, reader.name, reader.is_camera, reader.count) == ([0], "camera 0", True, 0)
    assert [frame.time_s for frame in reader] == [0, 0.5, 2]


def test_what_cannot_be_opened(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"video .*none\.mp4: no such file"):
        VideoReader(tmp_path / "none.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"garbage")
    with pytest.raises(ImageError, match=r"bad\.mp4 cannot be decoded"):
        VideoReader(tmp_path / "bad.mp4")
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda _: Stub([]))
    with pytest.raises(ImageError, match="camera 7 cannot be opened: there is none of that number, or another"):
        VideoReader(7)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"video .*a\.gif must end in one of \.mp4"):
        open_video_writer(tmp_path / "a.gif", 10, 64, 48)
    with pytest.raises(OSError, match=r"video .*a\.mp4: OpenCV cannot write it"):
        open_video_writer(tmp_path / "nowhere" / "a.mp4", 10, 64, 48)
