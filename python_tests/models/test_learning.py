"""What learning rests on: labels that lie on the faces, and gradients. That it learns is in train/test_run.py."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from overfit import load_faces
from support.torchvision_models import import_torchvision

from frnet import geometry, ops
from frnet.models import create_model, list_models
from frnet.nn import WingLoss


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


@pytest.mark.parametrize("name", list_models())
def test_the_gradient_says_how_the_loss_changes(name, faces):
    """In training, on the eight photographs: along the gradient the loss rises by the gradient's length, in float64."""
    settings = {} if name == "mobilenet_v1_050" else {"width": 0.25}
    if name in ("densenet121", "resnext50_32x4d"):
        import_torchvision()
        settings = {}
    torch.manual_seed(0)
    model = create_model(name, input_size=48, dtype=torch.float64, **settings)
    crops, target = F.interpolate(faces.crops, size=(48, 48), mode="bilinear").double(), faces.whitened.double()
    criterion = WingLoss(faces.morphable.to(dtype=torch.float64))
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradient = torch.autograd.grad(criterion(model(crops), target), parameters)
    assert not [name for name, part in zip(names, gradient, strict=True) if not part.abs().max() > 0]
    length = torch.cat([part.flatten() for part in gradient]).norm().item()
    step, losses = 1e-9, []  # larger ones cross kinks of the activations: off by 1e-2 at 1e-7
    with torch.no_grad():
        for move in (step, -2 * step):
            for parameter, part in zip(parameters, gradient, strict=True):
                parameter.add_(part, alpha=move / length)
            losses.append(criterion(model(crops), target).item())
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(length, rel=1e-3)
