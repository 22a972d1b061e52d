"""The command line as a user meets it: arguments, output, files and an exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import frnet
from frnet.cli.console import in_options
from frnet.models import count_ops, create_model, load_checkpoint
from frnet.morphable import MorphableModel


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
        (["align", photo, *without_detector, "--detector", "none.onnx"], "there is no file none.onnx"),
        (["align", photo, *options, "--min-score", "1.5"], "--min-score"),
        (["align", photo, *options, "--out", photo / "out"], "--out: nothing can be written to"),
        (["align", photo, *options, "--out", photo], "--out"),
        (["align", photo, "--model", "none.npz"], "there is no file or folder none.npz; the face that comes with"),
        (
            ["align", photo, "--weights", "builtins"],
            "there is no file builtins, and the weights that come with frnet are",
        ),
        (["export", data["weights"], "model.pt"], "model.pt must end in .onnx"),
        (["convert", data["weights"], photo / "a.safetensors"], "DST: nothing can be written to"),
        (["evaluate", shared / "photos", *options, "--out", photo / "out"], "--out: nothing can be written to"),
        (["export", data["weights"], photo / "model.onnx"], "OUT: nothing can be written to"),
        (["align", photo, *options, "--passes", "0"], "--passes"),
        (["align", photo, *options, "--weights", "none.pth"], "none.pth"),
        (["align", photo, *landmarks_alone, "--obj", "--out", "x"], "need triangles"),
        (["align", *options], "INPUT"),
        (["evaluate", shared / "photos", *options, "--roi", "loose"], "--roi must be exact or 3ddfa-compat"),
        (["draw"], "draw"),
    ):
        result = run(*arguments)
        assert result.returncode == 2, message
        assert message in result.stderr


def test_help_lists_the_commands(run):
    result = run("--help")
    assert result.returncode == 0
    commands = ("align", "evaluate", "train", "convert", "export", "summary")
    assert all(re.search(rf"^│ {command} ", result.stdout, re.MULTILINE) for command in commands)


def test_the_version(run):
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"frnet {frnet.__version__}\n")


def test_align_may_be_left_out(run, shared, options, monkeypatch, data):
    photo = shared / "photos/4.jpg"
    long, short = run("align", photo, *options, "--json"), run(photo, *options, "--json")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert run(*options, photo, "--json").stdout == long.stdout
    for name, path in data.items():
        monkeypatch.setenv(f"FRNET_{name.upper()}", str(path))
    assert run(photo, "--json").stdout == long.stdout
    result = run("alignment")
    assert result.returncode == 2
    assert "No such command" in result.stderr


def test_inputs_are_looked_at_before_anything_is_loaded(run, options, tmp_path, monkeypatch):
    """In one sentence each; and nothing is loaded where nothing is left to do."""
    monkeypatch.setattr("frnet.weights.load_checkpoint", None)
    monkeypatch.setattr("frnet.align.FaceAligner", None)
    monkeypatch.chdir(tmp_path)
    for given, message in (
        ("nowhere.jpg", "nowhere.jpg: no such file or folder"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg is an address: frnet reads files and cameras, so dow"),
        ("rtsp://10.0.0.1/stream", "rtsp://10.0.0.1/stream is an address"),
        ("99", "camera 99 cannot be opened: there is none of that number, or another program has it"),
        (tmp_path, "holds no image or video"),
    ):
        result = run("align", given, *options, "--out", tmp_path / "out")
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    code = "import sys, frnet.cli; from frnet.io.inputs import expand_inputs; print('torch' in sys.modules)"
    checked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert checked.stdout.strip() == "False"


def test_messages_speak_of_options(run, shared, options, data, tmp_path):
    photo, alone = shared / "photos/4.jpg", tmp_path / "mb05.pth"
    alone.write_bytes(data["weights"].read_bytes())
    result = run(photo, *options, "--device", "gpu")
    assert result.returncode == 1
    assert "error: --device gpu is none that frnet runs on: give cpu, cuda or" in result.stderr
    landmarks_alone = ["--weights", alone, "--detector", data["detector"], "--model", tmp_path / "model.safetensors"]
    MorphableModel.from_3ddfa_landmarks(data["landmarks"]).with_whitening(None, None).save(landmarks_alone[-1])
    result = run(photo, *landmarks_alone)
    assert result.returncode == 1
    assert re.search(r"error: no whitening for .*mb05\.pth: .*; pass --whitening\n", result.stderr)


def test_files_that_are_passed_over_are_named(run, shared, options, tmp_path):
    for name in ("notes.txt", "b.raw", "c.xml", "d.xml", "e.xml", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "face.jfif").write_bytes((shared / "photos/4.jpg").read_bytes())
    result = run(tmp_path, *options)
    assert result.returncode == 0
    assert re.search(r"no image or video by its name: b\.raw, c\.xml, d\.xml and 2 more", result.stderr)
    assert re.search(r"face\.jfif: face 0, yaw", result.stderr)


def test_a_video_that_is_cut_off(run, shared, options, tmp_path):
    """The frames that are there are done, and the status says that it is not all."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (450, 450))
    for _ in range(5):
        writer.write(cv2.imread(str(shared / "photos/4.jpg")))
    writer.release()
    data = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: int(0.6 * len(data))])
    result = run(tmp_path / "clip.avi", *options, "--out", tmp_path / "out", "--json")
    assert result.returncode == 1
    assert re.search(r"error: video .*clip\.avi is cut off after \d of 5 frames: the file is [\d,]+ byt", result.stderr)
    records = [json.loads(line) for line in (tmp_path / "out/clip.jsonl").read_text().splitlines()]
    assert [len(record["faces"]) for record in records][:3] == [1, 1, 1]
    assert all(face["score"] > 0.8 for record in records for face in record["faces"])


def test_export(run, data, tmp_path, recwarn):
    """Quietly: what exporters say of themselves is no business of the user's."""
    pytest.importorskip("onnxscript", reason="pip install '.[test]'")
    options = ["--model", data["model"], "--landmarks", data["landmarks"]]
    result = run("export", data["weights"], tmp_path / "mb05.onnx", *options)
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    assert re.search(r"mb05\.onnx: mobilenet_v1; crops \[batch, 3, 120, 120\], BGR, \(pixel - 127.5\) / 128, to", line)
    assert not recwarn.list
    onnx = pytest.importorskip("onnx", reason="pip install '.[test]'")
    names = [output.name for output in onnx.load(tmp_path / "mb05.onnx").graph.output]
    assert names == ["whitened_params", "params", "landmarks", "vertices"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("FaceAligner: no whitening for a.pth; pass whitening=", "no whitening for a.pth; pass --whitening"),
        ("FaceAligner: the aligner needs a detector=, such as", "the aligner needs a --detector, such as"),
        ("to_onnx: device=gpu is none", "--device gpu is none"),
        ("image a.jpg: no such file", "image a.jpg: no such file"),
        ("image /data/detector=yunet/a.jpg: no such file", "image /data/detector=yunet/a.jpg: no such file"),
        ("camera: weights", "camera: weights"),
    ],
)
def test_words_of_the_library_in_options(message, said):
    assert in_options(message) == said
