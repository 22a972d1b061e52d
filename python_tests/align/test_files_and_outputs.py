"""Many files: one bad file stops no other, and every result has a file of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from frnet.align import FaceAligner, ImageError, align_files, expand_inputs, read_image
from frnet.align.outputs import ResultWriter, Wanted


@pytest.fixture(scope="module")
def finder(checkpoint, grid, files, yunet) -> FaceAligner:
    return FaceAligner(checkpoint, grid, files.whitening_v2, detector=yunet)


def test_inputs_are_files_and_folders(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "clip.mp4", "sub"):
        (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).touch()
    images, videos, problems = expand_inputs([tmp_path, tmp_path / "notes.txt", tmp_path / "sub", Path("nowhere")])
    assert [path.name for path in images] == ["a.png", "b.JPG", "notes.txt"]  # named itself, so it is tried
    assert [path.name for path in videos] == ["clip.mp4"]
    assert problems == [
        f"folder {tmp_path / 'sub'} holds no image or video",
        "nowhere: no such file or folder",
    ]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_bad_file_is_reported_and_the_others_are_done(finder, files, tmp_path, batch):
    (tmp_path / "bad.jpg").write_bytes(b"garbage")
    paths = [
        files.photo,
        tmp_path / "bad.jpg",
        files.photos / "1.jpg",
        tmp_path / "none.jpg",
        files.photos / "2.jpg",
    ]
    results = list(align_files(finder, paths, batch))
    assert [result.path for result in results] == paths
    assert [result.faces and len(result.faces) for result in results] == [1, None, 1, None, 1]
    assert isinstance(results[1].error, ImageError)
    assert isinstance(results[3].error, FileNotFoundError)


def test_a_batch_is_one_batch(finder, files, monkeypatch):
    batches = []
    predict = finder._backend.predict
    monkeypatch.setattr(finder._backend, "predict", lambda crops: (batches.append(len(crops)), predict(crops))[1])
    list(align_files(finder, [files.photos / f"{n}.jpg" for n in "12345"], batch=3))
    assert batches == [3, 3, 2, 2]  # every face is seen twice


def test_files_that_are_written(finder, files, tmp_path):
    image = read_image(files.photo)
    writer = ResultWriter(tmp_path, Wanted(json=True, overlay=True, obj=True, ply=True), finder.triangles)
    writer.write(files.photo, image, finder(image))
    assert {path.name for path in tmp_path.iterdir()} == {"4.json", "4_overlay.jpg", "4_0.obj", "4_0.ply"}
    record = json.loads((tmp_path / "4.json").read_text())
    assert record["image"] == str(files.photo)
    assert np.shape(record["faces"][0]["landmarks"]) == (68, 3)
    drawn = cv2.imread(str(tmp_path / "4_overlay.jpg"))
    assert drawn.shape == image.shape
    changed = (np.abs(drawn.astype(int) - image) > 30).any(axis=2)
    box = cv2.boundingRect(changed.astype(np.uint8))
    assert box[2] < 350  # the face, not the picture


def test_equal_names_get_files_of_their_own(tmp_path):
    writer = ResultWriter(tmp_path, Wanted(json=True), np.empty((0, 3), int))
    for source in (Path("a/x.jpg"), Path("b/x.jpg"), Path("b/x.png")):
        writer.write(source, np.zeros((5, 5, 3), np.uint8), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-2.json", "x-3.json", "x.json"]
    assert writer.video_files(Path("x.mp4")) == (None, tmp_path / "x-4.jsonl")
    assert json.loads((tmp_path / "x-2.json").read_text()) == {"image": "b/x.jpg", "faces": []}


def test_a_folder_that_vanished(tmp_path):
    writer = ResultWriter(tmp_path / "out", Wanted(json=True), np.empty((0, 3), int))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with pytest.raises(OSError, match=r"x\.json"):
        writer.write(Path("x.jpg"), np.zeros((5, 5, 3), np.uint8), [])
