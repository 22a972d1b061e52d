"""The detector's loss: which cells answer for a face, and what is best for them to say."""

from __future__ import annotations

import math

import pytest
import torch

from frnet.models.face_detector import FaceDetectorNet, cell_places, decode
from frnet.nn import DetectionLoss

SIDE = 256
PLACES, STRIDES = cell_places([(SIDE // stride, SIDE // stride) for stride in (8, 16, 32)])


def face(x=100.0, y=90.0, width=40.0, height=44.0, roll=0.0, sure=1.0):
    angle = math.radians(roll)
    return torch.tensor([[x, y, width, height, math.cos(angle), math.sin(angle), sure]])


def saying(faces, owners, batch=1, score=6.0):
    """Cells that all tell of the nearest face, and score only where one answers for it."""
    cells = torch.zeros(batch, len(PLACES), 7)
    cells[:, :, 2:4], cells[:, :, 4], cells[:, :, 6] = 30.0, 1.0, -9.0
    target, _ = DetectionLoss._assign(PLACES, STRIDES, faces, owners, faces[:, 6] > 0, batch)
    for picture, cell in (target >= 0).nonzero().tolist():
        cells[picture, cell, :6] = faces[target[picture, cell], :6]
        cells[picture, cell, 6] = score
    return cells, target


@pytest.mark.parametrize("size", [12, 20, 44, 46, 90, 100, 200, 300])
def test_every_size_has_cells_that_answer(size):
    _, target = saying(face(width=size * 0.9, height=float(size)), torch.tensor([0]))
    answering = (target[0] == 0).nonzero()[:, 0]
    assert 1 <= len(answering) <= 60
    assert ((PLACES[answering] - torch.tensor([100.0, 90.0])).abs().amax(1) < max(0.3 * size, 8)).all()


@pytest.mark.parametrize("roll", [0.0, 40.0, 90.0, 180.0, -120.0])
def test_the_truth_costs_nothing_but_doubt(roll):
    faces, owners = torch.cat([face(roll=roll), face(x=200, roll=roll)]), torch.tensor([0, 1])
    cells, _ = saying(faces, owners, batch=2, score=12.0)
    parts = DetectionLoss()(cells, PLACES, STRIDES, faces, owners)
    assert parts.box < 1e-5
    assert parts.roll < 1e-5
    assert parts.total < 1e-2


@pytest.mark.parametrize("change", [(0, 6.0), (1, -6.0), (2, 9.0), (3, -9.0)])
def test_a_box_that_is_off_costs(change):
    faces, owners = face(roll=30.0), torch.tensor([0])
    cells, target = saying(faces, owners)
    loss = DetectionLoss()
    right = loss(cells, PLACES, STRIDES, faces, owners)
    cells[0, target[0] == 0, change[0]] += change[1]
    wrong = loss(cells, PLACES, STRIDES, faces, owners)
    assert wrong.box > right.box + 0.05
    assert wrong.roll == right.roll


def test_the_overlap_is_that_of_the_face_s_own_frame():
    """Moved along its own height, a long face that lies on its side keeps more than one moved across."""
    faces, owners = face(width=20, height=44, roll=90.0), torch.tensor([0])
    loss, parts = DetectionLoss(), []
    for axis in (0, 1):
        cells, target = saying(faces, owners)
        cells[0, target[0] == 0, axis] += 8
        parts.append(loss(cells, PLACES, STRIDES, faces, owners).box.item())
    assert parts[0] < 0.7 * parts[1]
    assert math.isclose(parts[0], 1 - 36 / 52, rel_tol=1e-4)  # GIoU and IoU of aligned boxes of one width are the same


def test_roll_is_known_around_the_circle():
    faces, owners = face(roll=180.0), torch.tensor([0])
    cells, target = saying(faces, owners)
    cells[0, target[0] == 0, 4:6] = torch.tensor([1.0, 0.0])
    assert math.isclose(DetectionLoss()(cells, PLACES, STRIDES, faces, owners).roll.item(), 2.0, rel_tol=1e-5)


def test_an_unsure_face_neither_helps_nor_hurts():
    faces, owners = face(sure=0.0), torch.tensor([0])
    cells, _ = saying(face(), owners)
    silent = cells.clone()
    silent[:, :, 6] = -9
    loss = DetectionLoss()
    assert loss(cells, PLACES, STRIDES, faces, owners).total == loss(silent, PLACES, STRIDES, faces, owners).total
    assert loss(cells, PLACES, STRIDES, faces[:0], owners[:0]).total > 1


def test_the_smaller_of_two_faces_has_the_cells_they_share():
    faces = torch.cat([face(width=44, height=44), face(x=108, width=22, height=24)])
    _, target = saying(faces, torch.tensor([0, 0]))
    nearest = (PLACES - torch.tensor([108.0, 90.0])).abs().amax(1)[STRIDES == 8].argmin()
    assert target[0, nearest] == 1
    assert (target == 0).any()


def test_a_batch_without_faces():
    network = FaceDetectorNet()
    planes = network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    places = cell_places([tuple(plane.shape[2:]) for plane in planes])
    parts = DetectionLoss()(decode(planes), *places, torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))
    parts.total.backward()
    assert parts.box == parts.roll == 0
    assert network.stem.conv.weight.grad.abs().sum() > 0
