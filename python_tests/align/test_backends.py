"""The runtime and torch under one aligner: the same faces, and which of the two is loaded when."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from frnet.align import FaceAligner, read_image
from frnet.align.backends import RuntimeBackend, TorchBackend
from frnet.models import create_model, load_checkpoint
from frnet.morphable import MorphableModel
from frnet.morphable.arrays import FaceArrays
from frnet.weights import builtin_weights, save_checkpoint

ROIS = np.array([[80.0, 90.0, 380.0, 390.0], [-60.0, 20.0, 340.0, 420.0], [150.0, 160.0, 300.0, 310.0]])


def with_torch(aligner: FaceAligner) -> FaceAligner:
    """The same, run by torch."""
    other = copy.copy(aligner)
    other._backend = TorchBackend(aligner.checkpoint.model, aligner._with_whitening(), torch.device("cpu"))
    return other


def assert_same(mine, theirs) -> None:
    for face, other in zip(mine, theirs, strict=True):
        assert np.abs(face.landmarks - other.landmarks).max() < 0.01
        assert np.abs(face.vertices - other.vertices).max() < 0.01
        np.testing.assert_allclose(face.params, other.params, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(face.pose, other.pose, atol=0.01)


@pytest.mark.parametrize("weights", ["builtin", "small"])
@pytest.mark.parametrize("passes", [1, 2])
def test_the_runtime_gives_what_torch_gives(weights, passes, files):
    aligner = FaceAligner(weights, detector=None, passes=passes)
    assert isinstance(aligner._backend, RuntimeBackend)
    photo = read_image(files.photo)
    assert_same(aligner(photo, rois=ROIS), with_torch(aligner)(photo, rois=ROIS))


def test_on_the_sample_photographs(checkpoint, grid, files):
    aligner = FaceAligner(checkpoint, grid, files.whitening_v2, detector=None)
    assert isinstance(aligner._backend, RuntimeBackend)
    truth = np.load(files.sample / "ground_truth.npz")
    images, rois = [files.sample / str(name) for name in truth["names"]], truth["roi"][:, None]
    for mine, theirs in zip(aligner(images, rois=rois), with_torch(aligner)(images, rois=rois), strict=True):
        assert_same(mine, theirs)


@pytest.mark.parametrize("name", ["mobilenet_v2", "damdnet"])
def test_other_networks_that_the_runtime_knows(name, files):
    torch.manual_seed(0)
    face = MorphableModel.builtin()
    aligner = FaceAligner(create_model(name).eval(), face, detector=None)
    assert isinstance(aligner._backend, RuntimeBackend)
    photo = read_image(files.photo)
    assert_same(aligner(photo, rois=ROIS), with_torch(aligner)(photo, rois=ROIS))


def test_a_network_that_the_runtime_does_not_know_runs_with_torch(tmp_path):
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = create_model("mobilenet_v2", width=0.25)
            self.config, self.architecture = self.inner.config, "other"

        def forward(self, crops):
            return self.inner(crops)

    aligner = FaceAligner(Other().eval(), MorphableModel.builtin(), detector=None)
    assert isinstance(aligner._backend, TorchBackend)
    assert aligner.model is aligner._backend.model
    assert len(aligner(np.zeros((64, 64, 3), np.uint8), rois=[[0, 0, 60, 60]])) == 1


def test_arrays_decode_as_torch_does(rng):
    face, model = FaceArrays.builtin(), MorphableModel.builtin()
    np.testing.assert_array_equal(face.basis, model.basis.numpy())
    np.testing.assert_array_equal(face.landmarks, model.landmarks.numpy())
    params = model.dewhiten(rng.normal(size=(3, 62)).astype(np.float32))
    from frnet import ops

    wanted = ops.reconstruct_vertices(torch.from_numpy(params), model).numpy()
    np.testing.assert_allclose(face.decode(params), wanted, atol=1e-3)
    np.testing.assert_allclose(face.landmark_model().decode(params), wanted[:, face.landmarks], atol=1e-3)
    other = FaceArrays.of(model)
    np.testing.assert_array_equal(other.mean, face.mean)
    np.testing.assert_array_equal(other.triangles, face.triangles)


def test_threads_share_an_aligner(files):
    aligner, photo = FaceAligner("small", detector=None), read_image(files.photo)
    (wanted, *_) = aligner(photo, rois=ROIS)
    found = []
    workers = [threading.Thread(target=lambda: found.append(aligner(photo, rois=ROIS)[0])) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for face in found:
        np.testing.assert_array_equal(face.landmarks, wanted.landmarks)


FORBIDDEN = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("torch was asked for")

sys.meta_path.insert(0, NoTorch())
"""


def without_torch(code: str, folder) -> str:
    """What Python prints that has no torch."""
    command = [sys.executable, "-c", FORBIDDEN + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("morphable", [None, "builtin"])
def test_faces_are_aligned_without_torch(tmp_path, files, morphable):
    weights = tmp_path / "mine.safetensors"
    save_checkpoint(weights, load_checkpoint(builtin_weights()["small"]))
    code = (
        "from frnet.align import FaceAligner\n"
        f"aligner = FaceAligner({str(weights)!r}, {morphable!r}, detector=None)\n"
        f"print(aligner({str(files.photo.resolve())!r}, rois=[[80, 90, 380, 390]])[0].landmarks.shape)"
    )
    assert without_torch(code, tmp_path) == "(68, 3)\n"


def test_the_command_aligns_without_torch(tmp_path, files):
    arguments = ["frnet", str(files.photo.resolve()), "--detector", str(files.yunet), "--json", "-o", str(tmp_path)]
    without_torch(f"sys.argv = {arguments!r}\nfrom frnet.cli import main\nmain()", tmp_path)
    (face, *_) = json.loads((tmp_path / f"{files.photo.stem}.json").read_text("utf-8"))["faces"]
    assert len(face["landmarks"]) == 68
