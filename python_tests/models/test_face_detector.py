"""The detector's network: shapes, what cells mean, and its form for inference."""

from __future__ import annotations

import pytest
import torch

from frnet.models.face_detector import STRIDES, FaceDetectorConfig, FaceDetectorNet, cell_places, decode


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = FaceDetectorNet()
    for module in network.modules():  # statistics that matter when they are folded
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (96, 32)])
def test_planes_have_their_strides(network, height, width):
    planes = network(torch.zeros(2, 3, height, width))
    assert [tuple(plane.shape) for plane in planes] == [(2, 7, height // s, width // s) for s in STRIDES]
    assert decode(planes).shape == (2, sum(height * width // s**2 for s in STRIDES), 7)


def test_fused_it_says_the_same(network):
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    for one, other in zip(network(x), network.fuse()(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_training_is_not_fused():
    with pytest.raises(RuntimeError, match=r"face_detector.*eval"):
        FaceDetectorNet().fuse()


def test_it_begins_upright_and_silent(network):
    cells = decode(network(torch.zeros(1, 3, 64, 64)))
    assert (cells[0, :, 6].sigmoid() < 0.1).all()


def test_cells_are_where_they_say():
    planes = [torch.zeros(1, 7, 64 // s, 96 // s) for s in STRIDES]
    places, strides = cell_places([tuple(plane.shape[2:]) for plane in planes])
    cells = decode(planes)[0]
    assert torch.equal(cells[:, :2], places)
    assert torch.equal(cells[:, 2], 4 * strides)
    planes[1][0, 1, 2, 3] = 0.5  # half a cell to the right
    moved = decode(planes)[0] - cells
    assert moved.nonzero().tolist() == [[12 * 8 + 2 * 6 + 3, 0]]
    assert moved.max() == 8


def test_it_is_small(network):
    assert sum(parameter.numel() for parameter in network.parameters()) < 300_000


@pytest.mark.parametrize("settings", [{"neck": 0}, {"channels": (8, 8, 8)}, {"blocks": (1, 0, 1, 1)}, {"stem": 2.5}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="face_detector"):
        FaceDetectorConfig(**settings)
