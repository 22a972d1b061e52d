"""The weights that come with frnet: names, files, what belongs to them, and what is refused."""

from __future__ import annotations

import json
import re
import struct

import pytest
import torch

import frnet
from frnet.models import (
    Checkpoint,
    CheckpointError,
    complexity,
    convert,
    create_model,
    load_checkpoint,
    save_checkpoint,
)
from frnet.morphable import MorphableModel
from frnet.weights import builtin_weights, find_morphable

NAMES = ["builtin", "small"]


@pytest.fixture(scope="module")
def builtin() -> dict[str, Checkpoint]:
    return {name: load_checkpoint(name) for name in NAMES}


def test_their_names():
    assert list(builtin_weights()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_holds(builtin, name):
    checkpoint = builtin[name]
    assert (checkpoint.architecture, checkpoint.num_params, checkpoint.licence) == ("mobile_frnet", 62, "Apache-2.0")
    assert checkpoint.whitening is not None
    assert checkpoint.basis.difference(frnet.weights.BasisIdentity.of(MorphableModel.builtin())) is None
    assert all(value.dtype in (torch.float32, torch.int64) for value in checkpoint.model.state_dict().values())
    size = checkpoint.input_size
    with torch.inference_mode():
        z = checkpoint.model(torch.zeros(2, 3, size, size))
    assert z.shape == (2, 62)
    assert torch.isfinite(z).all()


@pytest.mark.parametrize("name", NAMES)
def test_how_they_were_trained_is_in_the_file(builtin, name):
    recipe = builtin[name].recipe
    assert recipe["samples_seen"] >= 0
    last = recipe["runs"][-1]
    assert last["config"]["model"]["name"] == "mobile_frnet"
    assert {"seed", "versions", "faces"} <= last.keys()
    assert not re.search(r'"/|[A-Z]:\\\\', json.dumps(recipe)), "a path of the machine it was trained on"


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_kept_in_half_and_statistics_are_not(name):
    header = builtin_weights()[name].read_bytes()
    (length,) = struct.unpack_from("<Q", header)
    tensors = json.loads(header[8 : 8 + length])
    kinds = {key: entry["dtype"] for key, entry in tensors.items() if key.startswith("model.")}
    assert kinds["model.fc.weight"] == "F16"
    assert {kind for key, kind in kinds.items() if "running" in key} == {"F32"}
    assert len(header) < {"builtin": 6e6, "small": 2.5e6}[name]


def test_the_small_one_costs_less(builtin):
    large, small = (complexity(builtin[name].model) for name in NAMES)
    assert small.params < 0.5 * large.params
    assert small.macs < 0.5 * large.macs


@pytest.mark.parametrize("name", NAMES)
def test_a_card_lies_beside_each_file(name):
    card = builtin_weights()[name].with_suffix(".md").read_text(encoding="utf-8")
    for section in ("Data", "Recipe", "Measured", "Limits", "Who is in the pictures", "Licence"):
        assert f"\n## {section}\n" in card
    assert "openpeople" in card
    assert "MIT" in card
    assert "| NME, % |" in card.partition("<!-- measured -->")[2].partition("<!-- end of measured -->")[0]
    assert "samples seen" in card.partition("<!-- recipe -->")[2].partition("<!-- end of recipe -->")[0]


@pytest.mark.parametrize("name", NAMES)
def test_create_model_takes_the_settings_of_the_weights(builtin, name):
    model = create_model("mobile_frnet", pretrained=name, morphable=MorphableModel.builtin())
    assert model.training
    assert model.config == builtin[name].network.config
    state = builtin[name].model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    same = create_model("mobile_frnet", pretrained=name, width=model.config.width, input_size=model.config.input_size)
    assert same.config == model.config


def test_settings_that_do_not_fit_the_weights():
    with pytest.raises(CheckpointError, match=r"builtin holds a mobile_frnet with width=1\.0, wanted width=0\.5"):
        create_model("mobile_frnet", pretrained="builtin", width=0.5)
    with pytest.raises(CheckpointError, match=r"small holds a mobile_frnet with input_size=64, wanted input_size=120"):
        create_model("mobile_frnet", pretrained="small", input_size=120)
    with pytest.raises(CheckpointError, match="builtin holds a mobile_frnet with num_params=62, wanted num_params=70"):
        create_model("mobile_frnet", 70, pretrained="builtin")
    with pytest.raises(CheckpointError, match="with attention=True, wanted attention=False"):
        create_model("mobile_frnet_noattention", pretrained="builtin")
    with pytest.raises(CheckpointError, match="builtin holds a mobile_frnet, wanted mobilenet_v1"):
        create_model("mobilenet_v1", pretrained="builtin")
    with pytest.raises(TypeError, match="has no setting 'depth'"):
        create_model("mobile_frnet", pretrained="builtin", depth=3)


def test_another_morphable_model_is_refused(grid):
    with pytest.raises(
        CheckpointError, match=r"mobile_frnet\.safetensors was trained with the basis .* is '3ddfa-grid'"
    ):
        create_model("mobile_frnet", pretrained="builtin", morphable=grid)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("builtins", "no weights of that name come with frnet; did you mean 'builtin'"),
        ("smalls", "did you mean 'small'"),
        ("resnet", "those are 'builtin', 'small'"),
        ("runs/small", "checkpoint runs/small: no such file$"),
        ("none.safetensors", r"checkpoint none\.safetensors: no such file$"),
    ],
)
def test_names_that_are_none(name, hint):
    for load in (load_checkpoint, lambda name: create_model("mobile_frnet", pretrained=name)):
        with pytest.raises(FileNotFoundError, match=hint):
            load(name)


def test_a_file_that_has_such_a_name_is_meant_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").write_bytes(b"no checkpoint")
    assert load_checkpoint("small").architecture == "mobile_frnet"
    with pytest.raises(CheckpointError, match="small cannot be read safely"):
        load_checkpoint("./small")


def test_an_installation_that_lacks_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("frnet.weights.builtin._FOLDER", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"weights 'small': .*mobile_frnet_small\.safetensors: install frnet again"
    ):
        load_checkpoint("small")


def test_which_morphable_model_belongs_to_weights(grid):
    checkpoint = Checkpoint(create_model("mobilenet_v1", width=0.125))
    assert find_morphable(checkpoint) is None
    assert find_morphable(checkpoint.trained_for(grid)) is None
    face = find_morphable(checkpoint.trained_for(MorphableModel.builtin()))
    assert face.name == MorphableModel.builtin().name
    assert find_morphable(checkpoint.trained_for(MorphableModel.builtin("multi-pie"))) is None


def test_half_and_recipe_in_files(tmp_path, rng):
    torch.manual_seed(0)
    network = create_model("mobilenet_v1", width=0.25).eval()
    written = Checkpoint(network, recipe={"seed": 3, "runs": [{"epochs": 2}]})
    save_checkpoint(tmp_path / "whole.safetensors", written)
    save_checkpoint(tmp_path / "half.safetensors", written, half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    read = load_checkpoint(tmp_path / "half.safetensors")
    assert read.recipe == written.recipe
    crops = torch.from_numpy(rng.normal(size=(2, 3, 120, 120))).float()
    with torch.inference_mode():
        torch.testing.assert_close(read.model(crops), network(crops), rtol=0, atol=5e-3)
    for name, value in read.model.state_dict().items():
        before = network.state_dict()[name]
        assert torch.equal(value, before if value.dim() < 2 else before.half().float()), name
    convert(tmp_path / "half.safetensors", tmp_path / "again.safetensors")
    assert load_checkpoint(tmp_path / "again.safetensors").recipe == written.recipe


def test_what_half_cannot_hold(tmp_path):
    network = create_model("mobilenet_v1", width=0.125)
    with torch.no_grad():
        network.fc.weight[0, 0] = 1e5
    with pytest.raises(CheckpointError, match=r"fc\.weight holds values that float16 cannot: up to 100000"):
        save_checkpoint(tmp_path / "a.safetensors", Checkpoint(network), half=True)
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_is_no_json(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(create_model("mobilenet_v1", width=0.125)))
    content = (tmp_path / "a.safetensors").read_bytes()
    changed = content.replace(b'"licence":"unknown"', b'"recipe":"{{{{{{{{"', 1)
    assert len(changed) == len(content)
    (tmp_path / "a.safetensors").write_bytes(changed)
    with pytest.raises(CheckpointError, match="unusable metadata"):
        load_checkpoint(tmp_path / "a.safetensors")
