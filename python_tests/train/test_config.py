"""Configurations: what is read, what is refused, and what the message says."""

from __future__ import annotations

import pytest
import yaml

from frnet.models import create_model
from frnet.train import ConfigError, builtin_configs, dump_config, load_config

NETWORKS = ("mobile_frnet", "mobile_frnet_noattention", "mobilenet_v2", "resnext50_32x4d", "densenet121", "damdnet")
GIVEN = ("data.root=300W_LP", "morphable.path=bfm.mat")
LISTS = tuple(f"data.{name}={name}" for name in ("params", "file_list", "images", "whitening"))


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "config.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problem_of(source, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    return str(caught.value)


def test_there_is_one_for_every_network_of_the_comparison():
    for name in NETWORKS:
        config = load_config(name, GIVEN)
        assert config.model.name == name
        assert (config.data.kind, config.loss.kind, config.optimizer.kind) == ("300w-lp", "frnet", "sgd")


@pytest.mark.parametrize("name", builtin_configs())
def test_every_one_that_comes_with_frnet_is_valid_and_survives_its_own_dump(name, write):
    given = {"tiny": (), "builtin": ("data.store=faces",)}.get(name, GIVEN)
    given = LISTS + GIVEN[1:] if name.startswith("3ddfa") else given
    config = load_config(name, given)
    assert load_config(write(dump_config(config))) == config


def test_3ddfas_recipe_is_the_published_one():
    """FACTS of train_wpdc.sh and train_vdc.sh."""
    config = load_config("3ddfa_wpdc", (*LISTS, *GIVEN[1:]))
    sgd, schedule = config.optimizer, config.schedule
    assert (sgd.lr, sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.02, 0.9, True, 5e-4)
    assert (schedule.milestones, schedule.factor, schedule.warmup_epochs) == ([30, 40], 0.2, 5)
    assert (config.epochs, config.batch_size, config.loss.resample, config.augmentation) == (50, 512, 132, None)
    finetuning = load_config("3ddfa_vdc", (*LISTS, *GIVEN[1:]))
    assert (finetuning.loss.kind, finetuning.optimizer.lr, finetuning.schedule.warmup_epochs) == ("vdc", 1e-5, 0)
    assert finetuning.optimizer.momentum == 0.9


def test_the_tiny_one_is_of_a_network_that_can_be_built():
    model = load_config("tiny").model
    assert sum(p.numel() for p in create_model(model.name, **model.settings).parameters()) < 1e6


def test_a_file_extends_another_setting_by_setting(write):
    write("extends: tiny\nepochs: 7\nloss: {lambda_wing: 2}\n", "base.yaml")
    config = load_config(write("extends: base.yaml\nbatch_size: 8\nloss: {width: 5}\n"), ["data.ranges.yaw=20"])
    assert (config.epochs, config.batch_size, config.data.ranges.yaw) == (7, 8, 20)
    assert (config.loss.lambda_wing, config.loss.width, config.model.name) == (2, 5, "mobile_frnet")


def test_another_kind_replaces_the_section(write):
    config = load_config(write("extends: tiny\noptimizer: {kind: sgd, lr: 1e-3}\n"))
    assert (config.optimizer.kind, config.optimizer.lr, config.optimizer.weight_decay) == ("sgd", 1e-3, 5e-4)


def test_relative_paths_start_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("mobile_frnet", GIVEN).data.root == tmp_path / "300W_LP"


def test_all_problems_are_told_at_once():
    text = problem_of("tiny", "optimizer.lr=-1", "augmentation.rotation={degrees: 400}", "data.cout=3", "epochs=many")
    assert "optimizer.lr: Input should be greater than 0, got -1" in text
    assert "augmentation.rotation: Rotation: degrees must be from 0 to 180, got 400" in text
    assert "data.cout: there is no such setting; did you mean 'count'?" in text
    assert "epochs: Input should be a valid integer" in text
    assert "'many'" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule={kind: milestones, milestones: [9, 9]}"], "milestones must rise"),
        (["schedule={kind: milestones, milestones: [2], warmup_epochs: 2}"], "behind the 2 epochs of warm-up"),
        (["schedule.warmup_epochs=99"], r"schedule.warmup_epochs \(99\) must be less than epochs"),
        (["optimizer={kind: sgd, momentum: 0}"], "nesterov needs a momentum"),
        (["data={kind: 300w-lp, root: .}"], "morphable.path: data of kind 300w-lp needs"),
        (["loss.balance=some"], "loss.balance"),
        (["optimizer.kind=adm"], "optimizer: .*'sgd', 'adamw'"),
        (["optimizer.lr=.nan"], "optimizer.lr"),
        (["model=null"], "model"),
        (["loss=null", "loss.width=3"], "loss: its kind is needed and not given"),
        (["epochs"], "expected SETTING=VALUE"),
        (["epochs.of=3"], "epochs is no section"),
        (["epochs=[3"], "not readable YAML"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config("tiny", overrides)


def test_validation_lists_go_together():
    text = problem_of("3ddfa_wpdc", *LISTS, *GIVEN[1:], "data.validation_params=val.pkl")
    assert "validation_params and validation_file_list go together" in text


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tinny: no such file.*tiny"):
        load_config("tinny")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    assert "'epochs' stands twice" in problem_of(write("epochs: 3\nepochs: 4\n"))
    assert "extends itself" in problem_of(write("extends: config.yaml\n"))
    assert "expected settings" in problem_of(write("- 3\n"))
    assert "not readable YAML" in problem_of(write("a: [\n"))
    text = problem_of(write("epochs: 3\n"))
    assert str(tmp_path) in text
    assert "model: is needed and not given" in text


def test_nothing_in_a_file_is_executed(write, tmp_path):
    mark = tmp_path / "mark"
    text = problem_of(write(f"model: !!python/object/apply:os.mknod ['{mark}']\n"))
    assert "not readable YAML" in text
    assert not mark.exists()


def test_a_dump_has_every_setting():
    settings = yaml.safe_load(dump_config(load_config("tiny")))
    assert settings["augmentation"]["jpeg"]["quality"] == [25, 90]
    assert settings["hardware"]["deterministic"] is True
