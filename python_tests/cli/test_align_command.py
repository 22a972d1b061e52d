"""The command line as a user meets it: arguments, output, files and an exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from frnet import cli
from frnet.models import count_ops, create_model, load_checkpoint


@pytest.fixture(scope="module")
def data(shared) -> dict[str, Path]:
    return {
        "weights": shared / "3ddfa/weights/mb05_120x120.pth",
        "model": shared / "3ddfa/bfm_grid64_basis.npz",
        "landmarks": shared / "3ddfa/landmark_basis",
        "detector": next((shared / "yunet").glob("*.onnx")),
    }


@pytest.fixture(scope="module")
def options(data) -> list[str]:
    return [part for name, path in data.items() for part in (f"--{name}", str(path))]


@pytest.fixture
def run(monkeypatch, capfd):
    """Calls the command in this process, which saves importing torch every time."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["frnet", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
        printed = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=printed.out, stderr=printed.err)

    return call


def test_as_a_process(options, tmp_path):
    """No traceback, and a status that a shell sees."""
    (tmp_path / "bad.jpg").write_bytes(b"garbage")
    command = [sys.executable, "-m", "frnet", "align", str(tmp_path / "bad.jpg"), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "bad.jpg cannot be decoded" in result.stderr
    assert "Traceback" not in result.stderr
    assert "WARN" not in result.stderr


def test_align_a_folder_with_a_bad_file(run, shared, options, tmp_path):
    """The others are done, the bad one is named, and the exit status tells."""
    folder = tmp_path / "in [1]"
    folder.mkdir()
    for name in ("trump_hillary.jpg", "4.jpg"):
        (folder / name).write_bytes((shared / "photos" / name).read_bytes())
    (folder / "broken.jpg").write_bytes(b"garbage")
    result = run("align", folder, *options, "--out", tmp_path / "out", "--json", "--overlay", "--obj", "--ply")
    assert result.returncode == 1
    assert re.search(r"error: image .*broken\.jpg cannot be decoded", result.stderr)
    assert len(re.findall(r"trump_hillary\.jpg: face \d, yaw -?[\d.]+, pitch", result.stderr)) == 2
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *("4.json", "4_overlay.jpg", "4_0.obj", "4_0.ply"),
        *("trump_hillary.json", "trump_hillary_overlay.jpg"),
        *(f"trump_hillary_{index}.{suffix}" for index in (0, 1) for suffix in ("obj", "ply")),
    }
    record = json.loads((tmp_path / "out/trump_hillary.json").read_text())
    assert len(record["faces"]) == 2
    assert b"element vertex 4164\n" in (tmp_path / "out/4_0.ply").read_bytes()


def test_align_to_standard_output(run, shared, options):
    result = run("align", shared / "photos/4.jpg", shared / "photos/1.jpg", *options, "--json")
    assert result.returncode == 0
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(record["image"]).name for record in records] == ["4.jpg", "1.jpg"]
    assert all(len(record["faces"]) == 1 for record in records)


def test_no_face_is_said_and_no_error(run, options, tmp_path):
    path = tmp_path / "leer 顔.png"
    path.write_bytes(cv2.imencode(".png", np.full((60, 80, 3), 99, np.uint8))[1].tobytes())
    result = run("align", path, *options, "--out", tmp_path / "out")
    assert result.returncode == 0
    assert "leer 顔.png: no face found" in result.stderr
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"leer 顔.json", "leer 顔_overlay.jpg"}


def test_a_video(run, shared, options, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (450, 450))
    for _ in range(3):
        writer.write(cv2.imread(str(shared / "photos/4.jpg")))
    writer.release()
    result = run("align", tmp_path / "clip.avi", tmp_path / "none.mp4", *options, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "clip.avi: 3 frames" in result.stderr
    assert "none.mp4: no such file or folder" in result.stderr
    assert len((tmp_path / "out/clip.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "out/clip_overlay.mp4").stat().st_size > 1000


def test_evaluate_prints_both_figures(run, shared, options):
    folder = shared / "aflw2000-3d-sample"
    result = run("evaluate", folder, *options, "--reference", folder / "mb05_reference.npz")
    assert result.returncode == 0
    (mean,) = [line for line in result.stdout.splitlines() if line.startswith("│ mean")]
    truth_roi, exact_roi, two_pass, difference = map(float, re.findall(r"\d+\.\d+", mean))
    assert truth_roi == pytest.approx(3.415, abs=0.005)
    assert exact_roi == pytest.approx(3.445, abs=0.005)
    assert two_pass <= 3.6
    assert difference < 0.05
    assert "image04331.jpg" in result.stdout


def test_convert_and_align_with_the_result(run, shared, data, tmp_path):
    result = run("convert", data["weights"], tmp_path / "mb05.safetensors", "--licence", "MIT")
    assert result.returncode == 0
    assert "mobilenet_v1, 62 parameters, with its whitening" in result.stdout
    assert load_checkpoint(tmp_path / "mb05.safetensors").licence == "MIT"
    others = [part for name in ("model", "landmarks", "detector") for part in (f"--{name}", data[name])]
    result = run("align", shared / "photos/4.jpg", "--weights", tmp_path / "mb05.safetensors", *others)
    assert result.returncode == 0
    assert "whitening: checkpoint: " in result.stderr


def test_convert_remembers_the_basis(run, shared, data, tmp_path):
    options = ["--model", data["model"], "--landmarks", data["landmarks"]]
    result = run("convert", data["weights"], tmp_path / "mb05.safetensors", *options)
    assert result.returncode == 0
    assert "trained with the basis '3ddfa-grid' (40 + 10 coefficients)" in result.stdout
    photo, detector = shared / "photos/4.jpg", ["--detector", data["detector"]]
    ict = ["--model", shared / "ict-facekit/ict_face_model_light.npz"]
    result = run("align", photo, "--weights", tmp_path / "mb05.safetensors", *ict, *detector)
    assert result.returncode == 1
    assert re.search(r"error: .*basis '3ddfa-grid' \(40 .*given is 'ict-face-model-light' \(100 ", result.stderr)


def test_summary_counts_ops_before_and_after(run):
    result = run("summary", "mobilenet_v1_050")
    assert result.returncode == 0
    model = create_model("mobilenet_v1_050").eval()
    (row,) = [line for line in result.stdout.splitlines() if "mobilenet_v1_050" in line]
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells[-2:] == [str(count_ops(model)), str(count_ops(model.fuse()))]
    assert "dw5_6.conv_sep" in result.stdout
    result = run("summary", "mobilenet_v4")
    assert result.returncode == 1
    assert "there is no model 'mobilenet_v4'; did you mean 'mobilenet_v" in result.stderr


def test_files_that_do_not_belong_together(run, shared, data, options, tmp_path):
    photo = shared / "photos/4.jpg"
    v1 = shared / "3ddfa/train.configs/param_whitening.pkl"
    for arguments, message in (
        (
            ["align", photo, *options, "--whitening", v1],
            "3ddfa_v2 checkpoint, which belongs to the whitening 3ddfa-v2",
        ),
        (["align", photo, *options, "--weights", data["detector"]], "yunet.*cannot be read safely"),
        (["align", photo, *options, "--detector", data["weights"]], "mb05.*is not a YuNet model"),
        (["align", photo, *options, "--model", photo], r"4\.jpg is none of the known formats"),
        (["evaluate", tmp_path, *options], "holds no image with a .mat file"),
        (["convert", data["weights"], tmp_path / "a.pth"], "must end in .safetensors"),
    ):
        result = run(*arguments)
        assert result.returncode == 1, message
        assert re.search("error: .*" + message, result.stderr)


def test_wrong_command_lines(run, shared, data, options):
    photo = shared / "photos/4.jpg"
    without_detector = [part for part in options if part not in ("--detector", str(data["detector"]))]
    landmarks_alone = [
        "--weights",
        data["weights"],
        "--model",
        data["landmarks"],
        "--detector",
        data["detector"],
    ]
    for arguments, message in (
        (["align", photo, *options, "--overlay"], "also give --out DIR"),
        (["align", photo, *without_detector], "give --detector FILE"),
        (["align", photo, *options, "--passes", "0"], "--passes"),
        (["align", photo, *options, "--weights", "none.pth"], "none.pth"),
        (["align", photo, *landmarks_alone, "--obj", "--out", "x"], "need triangles"),
        (["align", *options], "IMAGE"),
        (["evaluate", shared / "photos", *options, "--roi", "loose"], "--roi must be exact or 3ddfa-compat"),
        (["draw"], "draw"),
    ):
        result = run(*arguments)
        assert result.returncode == 2, message
        assert message in result.stderr


def test_help_lists_the_commands(run):
    result = run("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in ("align", "evaluate", "convert"))
