"""Training runs: what they write, that they learn, and what happens when something goes wrong."""

from __future__ import annotations

import csv
import errno
import json
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console
from support.training import small_config, stored_tensors

from frnet import geometry
from frnet.datasets import ProceduralFaces
from frnet.evaluate import nme_percent
from frnet.models import create_model, load_checkpoint
from frnet.morphable import procedural_face
from frnet.nn import FRNetLoss, VDCLoss, WingLoss, WPDCLoss
from frnet.train import ConfigError, RunFolder, TrainingError, load_config, run_folder, train
from frnet.train.losses import TrainingLoss


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done, and what it said."""
    out = tmp_path_factory.mktemp("runs") / "small"
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    result = train(small_config(), out, console=console)
    return result, console.export_text()


def rows_of(folder: RunFolder) -> list[dict[str, float]]:
    with folder.metrics.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


# ----------------------------------------------------------------------------------------------- what it writes


def test_it_takes_every_step_and_says_how_it_went(finished):
    result, said = finished
    assert (result.steps, result.finished, len(result.history)) == (12, True, 3)
    assert "64 faces drawn to train with, 12 to validate with" in said
    assert f"epoch 3/3: loss {result.history[-1]['train_loss']:.4g}, wpdc" in said
    assert f"NME {result.history[-1]['nme_percent']:.3f} %" in said
    np.testing.assert_allclose(
        [[row[name] for name in row] for row in rows_of(result.folder)],
        [[row[name] for name in row] for row in result.history],
    )
    # Rates of the last step of each epoch: warm-up, the rate itself, behind the milestone.
    np.testing.assert_allclose([row["learning_rate"] for row in result.history], [2e-4, 1e-3, 2e-4])


def test_the_resolved_configuration_stands_beside_it(finished):
    folder = finished[0].folder
    assert load_config(folder.config) == small_config()
    assert json.loads(folder.environment.read_text())["torch"].split()[0] == torch.__version__


def test_the_weights_are_of_use_to_the_rest_of_frnet(finished):
    """The error that the run reported, from the file alone."""
    result = finished[0]
    checkpoint = load_checkpoint(result.folder.last)
    faces = ProceduralFaces(12, ranges=small_config().data.ranges, data_seed=1, size=32)
    assert checkpoint.input_size == 32
    assert checkpoint.basis.difference(type(checkpoint.basis).of(faces.morphable)) is None
    mean, std = checkpoint.whitening
    np.testing.assert_allclose(mean, faces.morphable.param_mean, rtol=1e-6)
    errors = []
    for sample in (faces[index] for index in range(12)):
        crop = torch.from_numpy(geometry.normalize(sample.image.numpy()[None]))
        with torch.no_grad():
            params = checkpoint.model(crop).double().numpy()[0] * std + mean
        model = faces.morphable.landmark_model()
        shape = (model.mean.double() + model.basis.double() @ torch.from_numpy(params[12:])).reshape(-1, 3).numpy()
        pose = params[:12].reshape(3, 4)
        points = geometry.label_positions(shape @ pose[:, :3].T + pose[:, 3], size=32)
        truth = sample.landmarks.double().numpy()
        size = np.sqrt(np.prod(truth.max(0) - truth.min(0)))
        errors.append(100 * np.linalg.norm(points - truth, axis=1).mean() / size)
    assert np.mean(errors) == pytest.approx(result.history[-1]["nme_percent"], rel=1e-4)


def test_best_and_last(finished):
    result = finished[0]
    best = min(range(3), key=lambda n: result.history[n]["nme_percent"])
    same = result.folder.best.read_bytes() == result.folder.last.read_bytes()
    assert same == (best == 2)
    assert result.best_nme_percent == result.history[best]["nme_percent"]


def test_tensorboard_has_curves_pictures_and_the_configuration(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = finished[0]
    events = EventAccumulator(str(result.folder.tensorboard)).Reload()
    curves = events.Tags()["scalars"]
    assert {"train/loss", "train/wpdc", "train/wing", "train/learning_rate", "validation/nme_percent"} <= set(curves)
    assert [event.step for event in events.Scalars("train/wing")] == [2, 4, 6, 8, 10, 12]
    assert [event.value for event in events.Scalars("validation/nme_percent")] == pytest.approx(
        [row["nme_percent"] for row in result.history]
    )
    pictures = events.Images("validation")
    assert [(picture.width, picture.height) for picture in pictures] == [(720, 240)] * 3
    assert "config/text_summary" in events.Tags()["tensors"]


# -------------------------------------------------------------------------------------------------- that it learns


def test_it_learns(tmp_path):
    """From nothing to well below the error of the mean face in the mean pose, which a network that sees nothing has.

    The one learning test: the project's own network, losses and data; 0.45 and 0.50 of that error with two seeds.
    """
    config = small_config(
        "optimizer={kind: adamw, lr: 1e-2}",
        "schedule={kind: cosine}",
        "augmentation=null",
        "model={name: mobile_frnet, settings: {width: 0.5, input_size: 48}}",
        "data={count: 512, ranges: {yaw: 40, pitch: 15, roll: 15}}",
        "epochs=5",
        "ema=null",
    )
    history = train(config, tmp_path / "run").history
    faces = ProceduralFaces(12, ranges=config.data.ranges, data_seed=1, size=48)
    model = faces.morphable.landmark_model()
    pose = model.param_mean[:12].reshape(3, 4)
    shape = (model.mean + model.basis @ model.param_mean[12:]).reshape(-1, 3) @ pose[:, :3].T + pose[:, 3]
    truth = np.stack([faces[index].landmarks for index in range(12)])
    blind = nme_percent(np.broadcast_to(geometry.label_positions(shape, size=48), truth.shape), truth).mean()
    assert history[-1]["nme_percent"] < 0.7 * blind
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]


def test_two_runs_are_equal(finished, tmp_path):
    again = train(small_config("hardware.workers=1"), tmp_path / "again").folder.path
    first, second = stored_tensors(finished[0].folder.path), stored_tensors(again)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_another_seed_is_another_run(finished, tmp_path):
    other = stored_tensors(train(small_config("seed=1"), tmp_path / "other").folder.path)
    assert not torch.equal(other[".network.fc.weight"], stored_tensors(finished[0].folder.path)[".network.fc.weight"])


def test_losses_are_those_of_frnet_nn():
    model = ProceduralFaces(1).morphable.to(dtype=torch.float32)
    torch.manual_seed(0)
    pred, target = torch.randn(2, 4, 62)
    landmarks = model.landmarks
    for kind, reference in {
        "wpdc": WPDCLoss(model),
        "wing": WingLoss(model, vertices=landmarks),
        "vdc": VDCLoss(model, vertices=landmarks),
        "frnet": FRNetLoss(model, vertices=landmarks, balance="none"),
    }.items():
        vertices = [] if kind == "wpdc" else ["loss.vertices=landmarks"]
        loss, parts = TrainingLoss(small_config(f"loss={{kind: {kind}}}", *vertices).loss, model)(pred, target)
        wanted = reference(pred, target)
        torch.testing.assert_close(loss, wanted.loss if kind == "frnet" else wanted)
        assert set(parts) == ({"wpdc", "wing"} if kind == "frnet" else {kind})
    loss, _ = TrainingLoss(small_config("loss={kind: pdc}").loss, model)(pred, target)
    torch.testing.assert_close(loss, (pred - target).square().mean())


def test_bfloat16(finished, tmp_path):
    """The network computes with 8 bits, of which its loss shows a little; its weights and the loss stay float32."""
    result = train(small_config("hardware.precision=bfloat16", "epochs=2"), tmp_path / "run")
    rounded, exact = (run.history[0]["train_loss"] for run in (result, finished[0]))
    assert 1e-6 < abs(rounded / exact - 1) < 0.03
    assert stored_tensors(result.folder.path)[".network.fc.weight"].dtype == torch.float32


def test_gradients_are_clipped(tmp_path):
    """A plain step is as long as the rate times the longest gradient allowed."""
    plain = "optimizer={kind: sgd, lr: 1e-3, momentum: 0, nesterov: false, weight_decay: 0}"
    schedule = "schedule={milestones: [1], warmup_epochs: 0}"
    config = small_config(plain, schedule, "epochs=1", "batch_size=64", "gradient_clip=0.5")  # one step
    torch.manual_seed(config.seed)
    before = dict(create_model("mobilenet_v1", width=0.25, input_size=32).named_parameters())
    result = train(config, tmp_path / "run")
    after = stored_tensors(result.folder.path)
    moved = torch.cat([(after[f".network.{name}"] - value).flatten() for name, value in before.items()]).norm().item()
    assert result.history[0]["train_gradient_norm"] > 10 * 0.5  # what was clipped
    assert moved == pytest.approx(1e-3 * 0.5, rel=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_two_runs_on_cuda_are_equal(tmp_path, precision):
    config = small_config("hardware.accelerator=cuda", f"hardware.precision={precision}", "hardware.workers=1")
    first, second = (train(config, tmp_path / name).folder.path for name in ("first", "second"))
    mine, theirs = stored_tensors(first), stored_tensors(second)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_run_is_not_overwritten(finished, tmp_path):
    folder = finished[0].folder
    before = folder.state.read_bytes()
    with pytest.raises(TrainingError, match=r"holds a run: --resume goes on"):
        train(small_config(), folder.path)
    assert folder.state.read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is a file, wanted a folder"):
        train(small_config(), tmp_path / "file")


def test_going_on_with_a_run_that_is_done_changes_nothing(finished):
    folder = finished[0].folder
    before = folder.state.read_bytes()
    again = train(small_config(), folder.path, resume=True)
    assert (again.steps, again.finished) == (12, True)
    np.testing.assert_equal(again.history, finished[0].history)
    assert folder.state.read_bytes() == before


def test_a_state_of_another_configuration(finished):
    with pytest.raises(
        ConfigError, match=r"another configuration: optimizer\.momentum is 0\.9 there and 0\.5 here; epochs is 3"
    ):
        train(small_config("epochs=4", "optimizer.momentum=0.5"), finished[0].folder.path, resume=True)


def test_where_it_runs_may_be_another(finished):
    config = small_config("hardware.workers=1", "logging.every_steps=7", "checkpoint.every_steps=3")
    assert finished[0].folder.open(config, resume=True).step == 12


def test_a_damaged_state(finished, tmp_path):
    shutil.copytree(finished[0].folder.path, tmp_path / "run")
    state = tmp_path / "run" / "state.ckpt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"state\.ckpt is damaged"):
        train(small_config(), tmp_path / "run", resume=True)
    torch.save({"step": 3}, state)
    with pytest.raises(TrainingError, match="no state of a training run"):
        train(small_config(), tmp_path / "run", resume=True)


def test_a_full_disk_costs_no_state(tmp_path, monkeypatch, capsys):
    """From the second state on there is no room: the run goes on, says so, and the first state is still of use."""
    written = []
    write = run_folder.write_whole

    def full(path, content):
        if path.name == "state.ckpt":
            if written:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            written.append(path)
        write(path, content)

    monkeypatch.setattr(run_folder, "write_whole", full)
    console = Console(record=True, width=300, file=open("/dev/null", "w"))  # noqa: SIM115
    with pytest.raises(TrainingError, match=r"not all of step 12 could be written.*state\.ckpt.*No space left"):
        train(small_config(), tmp_path / "run", console=console)
    assert "state.ckpt could not be written and stays as it was" in console.export_text()
    assert len(rows_of(RunFolder(tmp_path / "run"))) == 3
    monkeypatch.undo()
    resumed = train(small_config(), tmp_path / "run", resume=True)
    assert (resumed.steps, resumed.finished) == (12, True)


def test_a_full_disk_ends_the_curves_alone(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    console = Console(record=True, width=300, file=open("/dev/null", "w"))  # noqa: SIM115
    assert train(small_config(), tmp_path / "run", console=console).finished
    assert console.export_text().count("TensorBoard gets nothing any more") == 1


@pytest.mark.parametrize("clip", ["null", "1e20"])
def test_training_that_diverges_says_so_and_keeps_the_last_state(tmp_path, clip):
    config = small_config("optimizer.lr=1e30", "schedule.warmup_epochs=0", f"gradient_clip={clip}")
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+: .*learning rate \(1e\+30\).*too high"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=65"], "batch_size: 65 is more than the 64 training samples"),
        (["model.name=mobile_frent"], "did you mean 'mobile_frnet'"),
        (["model.settings.widht=1"], "mobilenet_v1 has no setting 'widht'"),
        (["model.settings.num_params=7"], "num_params follows from the morphable model"),
        (["hardware.accelerator=cuda"], "hardware: "),
        (["hardware.accelerator=cpu", "hardware.precision=float16"], "float16 needs CUDA"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, overrides, message):
    if "cuda" in overrides[0] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=message):
        train(small_config(*overrides), tmp_path / "run")
    assert not (tmp_path / "run" / "state.ckpt").exists()


def test_pretrained_weights_are_the_start(finished, tmp_path):
    last = finished[0].folder.last
    config = small_config(f"model.pretrained={last}", "optimizer.lr=1e-12", "epochs=2")
    result = train(config, tmp_path / "run")
    before, after = load_checkpoint(last).model, load_checkpoint(result.folder.last).model
    torch.testing.assert_close(after.fc.weight, before.fc.weight)
    with pytest.raises(ConfigError, match=r"model: .*width=0\.25, wanted width=0\.5"):
        train(small_config(f"model.pretrained={last}", "model.settings.width=0.5"), tmp_path / "other")


def test_pretrained_weights_of_another_whitening(finished, tmp_path):
    model = procedural_face()
    path = tmp_path / "model.safetensors"
    model.with_whitening(torch.zeros(62), torch.ones(62)).save(path)
    config = small_config(f"model.pretrained={finished[0].folder.last}", f"morphable.path={path}")
    with pytest.raises(ValueError, match="holds its own whitening, and the one given"):
        train(config, tmp_path / "run")
