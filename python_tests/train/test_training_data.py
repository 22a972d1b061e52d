"""Runs on the formats of the field, in small: what is learned from, what is left out, and what ends a run."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import scipy.io
from rich.console import Console
from support.three_hundred_wlp import make_three_hundred_wlp

from frnet import geometry
from frnet.align import FaceAligner
from frnet.datasets import ThreeHundredWLP
from frnet.io.images import read_image
from frnet.models import load_checkpoint
from frnet.morphable import MorphableModel, load_whitening
from frnet.train import ConfigError, load_config, run, train

SMALL = (
    "model={name: mobilenet_v1, settings: {width: 0.25}}",
    "epochs=1",
    "batch_size=2",
    "schedule={milestones: [2], warmup_epochs: 0}",
    "optimizer.lr=1e-5",
    "hardware.workers=0",
    "logging.pictures=2",
)


@pytest.fixture
def folders(tmp_path, shared):
    make_three_hundred_wlp(tmp_path / "300W_LP", shared)
    return tmp_path


@pytest.fixture
def basis(shared):
    return shared / "3ddfa/landmark_basis"


@pytest.fixture
def wlp_config(folders, basis):
    def make(*overrides: str):
        settings = [f"data.root={folders / '300W_LP'}", f"data.cache={folders / 'cache'}", f"morphable.path={basis}"]
        return load_config("mobile_frnet", [*SMALL, *settings, "data.validation_share=0.3", *overrides])

    return make


@pytest.fixture
def spoken(folders):
    """Runs a configuration; gives the result and what was said."""

    def spoken(config, name: str = "run"):
        with (folders / "log").open("w") as file:
            console = Console(record=True, width=300, file=file)
            result = train(config, folders / name, console=console)
        return result, console.export_text()

    return spoken


def test_300w_lp(wlp_config, spoken, folders, basis, shared):
    result, said = spoken(wlp_config())
    assert "9 of 9 samples" in said
    whole = ThreeHundredWLP(folders / "300W_LP", MorphableModel.from_3ddfa_landmarks(basis), cache=folders / "cache")
    training, validation = whole.split(0.3, 0)
    assert f"{len(training)} to train with, {len(validation)} to validate with" in said
    checkpoint = load_checkpoint(result.folder.last)
    np.testing.assert_allclose(checkpoint.whitening.mean, training.params().astype(np.float64).mean(0), rtol=1e-5)
    np.testing.assert_allclose(checkpoint.whitening.std, training.params().astype(np.float64).std(0), rtol=1e-5)
    assert np.isfinite(result.best_nme_percent)
    # What it wrote aligns faces without being told anything else.
    aligner = FaceAligner(result.folder.last, MorphableModel.from_3ddfa_landmarks(basis))
    image = read_image(folders / "300W_LP/AFW/image00050.jpg")
    face = aligner(image, rois=np.array([[100.0, 100, 350, 350]]))[0]
    assert face.landmarks.shape == (68, 3)


def test_files_that_are_unusable_are_left_out_and_listed(wlp_config, spoken, folders):
    afw = folders / "300W_LP/AFW"
    (afw / "image00050.mat").write_bytes(b"damaged")
    (afw / "image00251.jpg").unlink()
    label = scipy.io.loadmat(afw / "image00475.mat")
    label["Pose_Para"][0, 3] = np.nan
    scipy.io.savemat(afw / "image00475.mat", {name: value for name, value in label.items() if name[0] != "_"})
    _, said = spoken(wlp_config("data.validation_share=0.6"))
    assert "6 of 9 samples; 3 skipped" in said
    for name in ("AFW/image00050.jpg", "AFW/image00251.mat", "AFW/image00475.jpg"):
        assert name in said


def test_an_image_that_is_lost_while_it_trains_is_replaced_and_counted(wlp_config, spoken, folders, monkeypatch):
    open_data = run.open_data

    def open_then_lose(*arguments):
        opened = open_data(*arguments)
        (folders / "300W_LP" / opened.train.name(0)).unlink()
        (folders / "300W_LP" / opened.validation.name(0)).unlink()
        return opened

    monkeypatch.setattr(run, "open_data", open_then_lose)
    result, said = spoken(wlp_config("batch_size=2", "data.validation_share=0.6"))
    assert result.history[0]["replaced_samples"] == 1
    assert "1 unreadable samples replaced, 1 validation faces unreadable" in said


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.validation_share=0.001"], ValueError, "leave one side empty at a share of 0.001"),
        (["data.subsets=[HELEN]"], NotADirectoryError, "HELEN: no such folder"),
        (["morphable.whitening=nowhere.pkl"], FileNotFoundError, "nowhere.pkl"),
        (["morphable.path=nowhere.mat"], FileNotFoundError, "nowhere.mat: no such file"),
        (["augmentation.flip={}"], ValueError, "does not mirror"),
    ],
)
def test_what_is_known_beforehand_ends_it_before_it_starts(wlp_config, folders, overrides, error, message):
    with pytest.raises(error, match=message):
        train(wlp_config(*overrides), folders / "run")
    assert not (folders / "run").exists()


@pytest.fixture
def lists(folders, shared, basis):
    """The nine faces as 3DDFA has them: crops, names, whitened labels of the frame of its first version."""
    model = MorphableModel.from_3ddfa_landmarks(basis)
    data = ThreeHundredWLP(folders / "300W_LP", model, cache=folders / "cache")
    whitening = load_whitening(shared / "3ddfa/train.configs/param_whitening.pkl")
    (folders / "crops").mkdir()
    names = [f"{index}.jpg" for index in range(len(data))]
    for index, name in enumerate(names):
        face = data.read(index)
        cv2.imwrite(str(folders / "crops" / name), geometry.crop(face.image, face.roi))
    labels = ((data.params() - whitening.mean) / whitening.std).astype(np.float32)
    for part, rows in (("train", slice(0, 6)), ("val", slice(6, 9))):
        (folders / f"{part}.pkl").write_bytes(pickle.dumps(labels[rows], protocol=2))
        (folders / f"{part}.list").write_text("\n".join(names[rows]))
    return folders


@pytest.fixture
def lists_config(lists, shared, basis):
    def make(*overrides: str):
        files = {
            "params": lists / "train.pkl",
            "file_list": lists / "train.list",
            "images": lists / "crops",
            "whitening": shared / "3ddfa/train.configs/param_whitening.pkl",
            "validation_params": lists / "val.pkl",
            "validation_file_list": lists / "val.list",
            "cache": lists / "cache",
        }
        given = [f"data.{name}={path}" for name, path in files.items()]
        return load_config("3ddfa_wpdc", [*SMALL, *given, f"morphable.path={basis}", "loss.resample=10", *overrides])

    return make


def test_3ddfas_lists_with_its_recipe(lists_config, spoken, shared):
    result, said = spoken(lists_config())
    assert "6 to train with, 3 to validate with" in said
    assert set(result.history[0]) >= {"train_wpdc"}
    whitening = load_checkpoint(result.folder.last).whitening
    wanted = load_whitening(shared / "3ddfa/train.configs/param_whitening.pkl")
    np.testing.assert_allclose(whitening.mean, wanted.mean, rtol=1e-6)
    # And on, with VDC, from these weights.
    finetuned, _ = spoken(
        lists_config("loss={kind: vdc}", f"model.pretrained={result.folder.last}", "optimizer.lr=1e-9"), "second"
    )
    assert finetuned.best_nme_percent == pytest.approx(result.best_nme_percent, rel=0.05)


def test_lists_that_do_not_fit(lists_config, lists):
    (lists / "train.list").write_text("0.jpg\n1.jpg\n")
    with pytest.raises(ValueError, match=r"train\.pkl has 6 labels, .*train\.list has 2 names"):
        train(lists_config(), lists / "run")
    with pytest.raises(ConfigError, match=r"input_size: 3DDFA's crops are 120 x 120, got 64"):
        train(lists_config("model.settings.input_size=64"), lists / "run")
    assert not (lists / "run").exists()
