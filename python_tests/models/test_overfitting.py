"""Networks learn real faces by heart: small ones here in few steps, all of the registry in bench/overfit.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from overfit import load_faces, overfit

from frnet import geometry, ops
from frnet.models import create_model, list_models


@pytest.fixture(scope="module")
def faces(shared):
    return load_faces(shared)


def test_the_labels_lie_on_the_faces(shared, faces):
    """Off the published landmarks by what the 40 + 10 coefficients lack of the 199 + 29: 1.3 pixels of the image."""
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")
    vertices = ops.reconstruct_vertices(faces.morphable.dewhiten(faces.whitened), faces.morphable)
    points = geometry.crop_to_image(vertices.numpy(), truth["roi"].astype(float))
    distance = np.linalg.norm((points - (truth["pts68"].transpose(0, 2, 1) - 1))[..., :2], axis=-1)
    assert distance.mean() < 1.5


@pytest.mark.parametrize("name", ["mobile_frnet", "mobilenet_v1"])
def test_small_networks_learn_by_heart(name, faces):
    torch.manual_seed(0)
    outcome = overfit(name, create_model(name, width=0.25), faces, steps=100, learning_rate=3e-3)
    assert outcome.ratio > 10  # 25 and 27 at least, with three seeds


def test_every_network_was_run():
    """The saved run has all of the registry, and each loss fell by two orders of magnitude."""
    run = json.loads((Path(__file__).parents[2] / "bench" / "results" / "overfit.json").read_text())
    assert [row["network"] for row in run["overfitting"]] == list_models()
    for row in run["overfitting"]:
        assert row["first_loss"] >= 100 * row["last_loss"], row["network"]
        assert row["steps"] <= 400
