"""Training on a store of made faces, and the loss that its points allow."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from support.made_faces import SIZE, noise_store, points_of

from frnet.datasets import AugmentationConfig, SyntheticFaces
from frnet.models import load_checkpoint
from frnet.morphable import MorphableModel
from frnet.nn import PointsLoss
from frnet.train import ConfigError, load_config, train, trainer
from frnet.train.data import open_data, open_network_morphable

SMALL = (
    f"model={{name: mobilenet_v1, settings: {{width: 0.25, input_size: {SIZE}}}}}",
    "epochs=2",
    "batch_size=16",
    "hardware={precision: float32, workers: 0}",
    "logging={every_steps: 2, pictures: 2}",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return noise_store(tmp_path_factory.mktemp("faces"), 4).folder


@pytest.fixture(scope="module")
def batch(store):
    faces = SyntheticFaces(store, mirrored=False)
    samples = [faces[index] for index in range(8)]
    z = faces.morphable.whiten(torch.stack([sample.params for sample in samples]))
    return faces, z, torch.stack([sample.points for sample in samples])


def test_a_perfect_prediction_costs_its_coefficients_alone(batch):
    faces, z, points = batch
    loss = PointsLoss(faces.morphable, torch.from_numpy(faces.vertices), SIZE, coefficients=0.0)
    assert loss(z, points) < 0.05  # points are kept with 11 bits, and Wing's slope is 5 there
    with_coefficients = PointsLoss(faces.morphable, torch.from_numpy(faces.vertices), SIZE, coefficients=0.5)
    torch.testing.assert_close(with_coefficients(z, points) - loss(z, points), 0.5 * z[:, 12:].square().mean())


def test_against_the_formula(batch):
    faces, z, points = batch
    rng = np.random.default_rng(1)
    away = torch.from_numpy(z.numpy() + rng.normal(0, 0.3, z.shape)).float()
    loss = PointsLoss(faces.morphable, torch.from_numpy(faces.vertices), SIZE, width=3.0, curvature=0.5, depth=0.7)
    model = faces.morphable.subset(faces.vertices)
    params = faces.morphable.dewhiten(away).double()
    pose = params[:, :12].reshape(-1, 3, 4)
    shape = (model.mean.double() + params[:, 12:] @ model.basis.double().T).reshape(len(z), -1, 3)
    placed = (shape @ pose[:, :, :3].transpose(1, 2) + pose[:, None, :, 3]).numpy()
    weights = np.concatenate([np.full(68, 1.2 / 68), np.full(68, 0.3 / 68), np.full(44, 0.35 / 44)])
    weights /= weights.sum()
    off = np.stack([placed[..., 0] - 1, SIZE - placed[..., 1], placed[..., 2]], -1) - points.numpy()
    off[..., 2] -= (off[..., 2] * weights).sum(1, keepdims=True)
    size = np.abs(off)
    wing = np.where(size < 3, 3 * np.log1p(size / 0.5), size - (3 - 3 * np.log1p(3 / 0.5)))
    expected = ((wing * [1, 1, 0.7]).sum(2) * weights).sum(1).mean() + 0.02 * (away[:, 12:].numpy() ** 2).mean()
    assert float(loss(away, points)) == pytest.approx(expected, rel=1e-4)


def test_its_gradient(batch):
    faces, z, points = batch
    model = faces.morphable.to(torch.float64)
    loss = PointsLoss(model, torch.from_numpy(faces.vertices), SIZE)
    moved = (z.double() + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(lambda pred: loss(pred, points.double()), (moved,), atol=1e-4)


def test_weights_that_make_no_sense(batch):
    with pytest.raises(ValueError, match="weights must be at least 0, got -1 and"):
        PointsLoss(batch[0].morphable, torch.arange(5), SIZE, depth=-1)
    with pytest.raises(ValueError, match="expected a model with whitening"):
        PointsLoss(MorphableModel.builtin().with_whitening(None, None), torch.arange(5), SIZE)


def test_a_run_learns_and_its_weights_know_their_face(store, tmp_path):
    """Noise can be learned by heart: the loss falls; what is saved belongs to the built-in face at this size."""
    config = load_config("builtin", (f"data.store={store}", "data.validation_share=0.3", *SMALL, "epochs=12"))
    result = train(config, tmp_path / "run")
    assert result.finished
    assert result.history[-1]["train_points"] < 0.8 * result.history[0]["train_points"]
    checkpoint = load_checkpoint(result.folder.last)
    expected = SyntheticFaces(store).morphable
    np.testing.assert_allclose(checkpoint.whitening.mean, expected.param_mean, rtol=1e-6)
    assert checkpoint.basis.difference(type(checkpoint.basis).of(expected)) is None


class StopAfterFiveSteps(AbstractContextManager):
    def __init__(self, enabled: bool = True) -> None:
        self.asked = 0

    def __exit__(self, *exception: object) -> None:
        """Nothing was taken."""

    @property
    def requested(self) -> bool:
        self.asked += 1
        return self.asked > 5


def test_a_stopped_run_goes_on_to_the_same_bits(store, tmp_path, monkeypatch):
    config = load_config("builtin", (f"data.store={store}", *SMALL))
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "StopRequest", StopAfterFiveSteps)
        part = train(config, tmp_path / "part")
    assert not part.finished
    assert 0 < part.steps < whole.steps
    again = train(config, tmp_path / "part", resume=True)
    assert again.steps == whole.steps
    for name, tensor in load_checkpoint(whole.folder.last).model.state_dict().items():
        assert torch.equal(load_checkpoint(again.folder.last).model.state_dict()[name], tensor), name


def test_weights_of_smaller_crops_are_a_start(store, tmp_path):
    """A network learns on small crops first: what is whitened keeps its meaning, and no weight has another shape."""
    small = "model={name: mobilenet_v1, settings: {width: 0.25, input_size: 32}}"
    first = train(load_config("builtin", (f"data.store={store}", *SMALL, small, "epochs=1")), tmp_path / "first")
    given = (f"data.store={store}", *SMALL, f"model.pretrained={first.folder.last}", "optimizer.lr=1e-12", "epochs=1")
    second = train(load_config("builtin", given), tmp_path / "second")
    before, after = (load_checkpoint(run.folder.last) for run in (first, second))
    assert (before.input_size, after.input_size) == (32, SIZE)
    torch.testing.assert_close(after.model.fc.weight, before.model.fc.weight)
    np.testing.assert_allclose(after.whitening.std[:12], before.whitening.std[:12] * (SIZE / 32))


def test_a_store_to_validate_with(store, tmp_path):
    other = noise_store(tmp_path, 1, seed=9).folder
    given = (f"data.store={store}", f"data.validation_store={other}", "data.validation_count=5", *SMALL)
    config = load_config("builtin", given)
    data = open_data(config, open_network_morphable(config), SIZE, tmp_path)
    assert (len(data.train), len(data.validation)) == (64, 5)
    assert torch.equal(data.validation[2].image, SyntheticFaces(other, mirrored=False)[2].image)
    assert data.train.mirrored
    assert not data.validation.mirrored
    assert np.array_equal(data.train.vertices, points_of(MorphableModel.builtin()))


def test_settings_that_do_not_fit(store):
    for setting, message in (
        ("augmentation={}", "bring their own morphable model and augmentation"),
        ("morphable.path=bfm.mat", "bring their own morphable model and augmentation"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config("builtin", (f"data.store={store}", setting))
    with pytest.raises(ConfigError, match="points needs labels that data of kind synthetic lack"):
        load_config("tiny", ("loss={kind: points}",))
    with pytest.raises(ValueError, match="there is no more to be added"):
        SyntheticFaces(store).with_augmentation(AugmentationConfig())
