"""Commands without options: what comes with frnet is used, and any part of it can be another."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from frnet import geometry
from frnet.align import FaceAligner
from frnet.datasets import FaceRanges, ProceduralFaces
from frnet.evaluate import nme_percent
from frnet.morphable import MorphableModel
from frnet.weights import builtin_weights

OPEN_DETECTOR = importlib.import_module("frnet.align.open_detector")  # the package has a function of this name
PORTRAIT = Path(__file__).parents[2] / "docs" / "assets" / "portrait.jpg"
ENVIRONMENT = ("WEIGHTS", "MODEL", "LANDMARKS", "DETECTOR")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"FRNET_{name}", raising=False)


@pytest.fixture
def no_detector_needed(monkeypatch, yunet):
    """Another detector in the place of the one that comes with frnet, so that weights and face are tested alone."""
    monkeypatch.setattr(OPEN_DETECTOR, "_builtin", lambda **_: yunet)


def landmarks(text: str) -> np.ndarray:
    (record,) = map(json.loads, text.splitlines())
    (face,) = record["faces"]
    return np.array(face["landmarks"])


def test_a_photograph_and_no_option(run, tmp_path):
    pytest.importorskip("frnet.align.face_detector", reason="the detector that comes with frnet")
    result = run(PORTRAIT)
    assert (result.returncode, result.stdout) == (0, "")
    assert re.search(r"portrait\.jpg: face 0, yaw -?\d+\.\d, pitch .* degrees, score 0\.\d", result.stderr)
    result = run("align", PORTRAIT, "--out", tmp_path)
    assert result.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"portrait.json", "portrait_overlay.jpg"}


@pytest.mark.usefixtures("no_detector_needed")
def test_weights_by_name_and_from_the_environment(run, monkeypatch, files):
    default = run(PORTRAIT, "--json")
    assert default.returncode == 0
    assert re.search(r"whitening: checkpoint: .*mobile_frnet\.safetensors", default.stderr)
    named = [f"--{part}=builtin" for part in ("weights", "model", "detector")]
    assert run("align", PORTRAIT, *named, "--json").stdout == default.stdout
    small = run(PORTRAIT, "--weights", "small", "--json")
    assert re.search(r"mobile_frnet_small\.safetensors", small.stderr)
    assert 0 < np.abs(landmarks(small.stdout) - landmarks(default.stdout)).max() < 90
    monkeypatch.setenv("FRNET_WEIGHTS", "small")
    assert run(PORTRAIT, "--json").stdout == small.stdout
    for name, path in (("WEIGHTS", files.weights), ("MODEL", files.grid), ("LANDMARKS", files.landmarks)):
        monkeypatch.setenv(f"FRNET_{name}", str(path))
    theirs = run(PORTRAIT, "--json")
    assert "param_mean_std_62d_120x120.pkl" in theirs.stderr
    assert run(PORTRAIT, "--weights", "builtin", "--model", "builtin", "--json").stdout == default.stdout


@pytest.mark.usefixtures("no_detector_needed")
def test_the_built_in_face_has_a_mesh(run, tmp_path):
    result = run(PORTRAIT, "--ply", "--out", tmp_path)
    assert result.returncode == 0
    count = MorphableModel.builtin().num_vertices
    assert f"element vertex {count}\n".encode() in (tmp_path / "portrait_0.ply").read_bytes()


@pytest.mark.usefixtures("no_detector_needed")
def test_parts_that_do_not_belong_together(run, files):
    result = run(PORTRAIT, "--weights", files.weights)
    assert result.returncode == 1
    assert re.search(r"error: checkpoint .*mb05.* needs its morphable model .*; pass --model\n", result.stderr)
    result = run(PORTRAIT, "--model", files.grid, "--landmarks", files.landmarks)
    assert result.returncode == 1
    assert re.search(
        r"error: checkpoint .* was trained with the basis .*, the one given is '3ddfa-grid'", result.stderr
    )


def test_evaluate_measures_what_comes_with_frnet(run, tmp_path):
    """Drawn faces, whose landmarks are known: no annotated photograph is needed, and none is looked at."""
    faces = ProceduralFaces(3, MorphableModel.builtin(), ranges=FaceRanges(yaw=20, pitch=10, roll=10), data_seed=5)
    expected = []
    aligner = FaceAligner(detector=None)
    for index in range(len(faces)):
        face = faces.read(index)
        picture = cv2.copyMakeBorder(face.image, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
        points = np.column_stack([face.landmarks + 40, np.zeros(68)])
        (found,) = aligner(picture, rois=geometry.roi_from_landmarks(points)[None])
        expected.append(nme_percent(found.landmarks, points))
        cv2.imwrite(str(tmp_path / f"face{index}.png"), picture)
        labels = {"pt3d_68": (points + np.array([1, 1, 0])).T, "Pose_Para": np.zeros((1, 7))}  # counts from 1
        scipy.io.savemat(tmp_path / f"face{index}.mat", labels)
    result = run("evaluate", tmp_path, "--coordinates", "matched", "--roi", "exact", "--bootstrap", "0")
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"│ face\d\.png │ +0\.0 │ +(\d+\.\d+) │", result.stdout)
    np.testing.assert_allclose([float(value) for value in rows], expected, atol=0.02)
    assert re.search(r"│ mobile_frnet, roi exact +│", result.stdout)
    small = run("evaluate", tmp_path, "--weights", "small", "--model", "builtin", "--bootstrap", "0")
    assert "│ mobile_frnet_small, roi exact " in small.stdout


def test_names_that_evaluate_does_not_know(run, files, tmp_path):
    for option, message in (
        ("--weights", "there is no file none, and the weights that come with frnet are builtin, small"),
        ("--model", "there is no file or folder none; the face that comes with frnet is builtin"),
        ("--detector", "there is no file none; the detector that comes with frnet is builtin"),
    ):
        result = run("evaluate", tmp_path, option, "none")
        assert result.returncode == 2
        assert message in re.sub(r"\s*│\n│\s*", " ", result.stderr)


def test_export_takes_names(run, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="pip install '.[test]'")
    written = []
    monkeypatch.setattr("frnet.export.to_onnx", lambda *arguments: written.append(arguments))
    result = run("export", "small", tmp_path / "small.onnx", "--model", "builtin")
    assert result.returncode == 0
    assert re.search(r"small\.onnx: mobile_frnet; crops \[batch, 3, (\d+), \1\]", result.stdout)
    ((checkpoint, path, morphable),) = written
    assert (checkpoint.path, path) == (builtin_weights()["small"], tmp_path / "small.onnx")
    assert morphable.name == MorphableModel.builtin().name
    result = run("export", "smalls", tmp_path / "small.onnx")
    assert result.returncode == 2
    assert "the weights that come with frnet are builtin, small" in re.sub(r"\s*│\n│\s*", " ", result.stderr)


def test_summary_lists_the_weights(run):
    result = run("summary", "mobile_frnet", "--no-layers")
    assert result.returncode == 0
    rows = [line for line in result.stdout.splitlines() if re.match(r"│ (builtin|small) ", line)]
    assert len(rows) == 2
    assert all("mobile_frnet" in row for row in rows)
    assert "builtin" not in run("summary", "mobilenet_v1", "--no-layers").stdout
