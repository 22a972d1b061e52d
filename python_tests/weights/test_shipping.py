"""The tools that make and measure the weights that ship: recipes, cards, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

yaml = pytest.importorskip("yaml", reason="pip install '.[test]'")

from shipped_weights.card import fill, recipe_lines  # noqa: E402
from shipped_weights.measure import Errors, rendered_errors  # noqa: E402
from shipped_weights.recipe import store_of, training_recipe  # noqa: E402
from support.made_faces import SIZE, noise_store  # noqa: E402

from frnet.models import Checkpoint, create_model  # noqa: E402
from frnet.morphable import MorphableModel, load_whitening  # noqa: E402
from frnet.train import dump_config, load_config  # noqa: E402


def write_run(folder: Path, store: Path, *overrides: str, errors: tuple[float, ...] = (5.0, 4.0, 4.5)) -> Path:
    """The files of a run that its recipe is read from."""
    folder.mkdir()
    config = load_config("builtin", [f"data.store={store}", "batch_size=16", *overrides])
    (folder / "config.yaml").write_text(dump_config(config))
    facts = {"frnet": "0.1.0 (/somewhere/frnet)", "torch": "2.13.0", "python": "3.11.7 on Linux", "device": "cpu"}
    (folder / "environment.json").write_text(json.dumps(facts))
    rows = [f"{epoch},{10 * epoch},{error}" for epoch, error in enumerate(errors, 1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,nme_percent", *rows]) + "\n")
    return folder / "best.safetensors"


@pytest.fixture
def store(tmp_path) -> Path:
    return noise_store(tmp_path / "faces", 2).folder


def test_a_recipe_follows_runs_to_the_first_and_names_no_place(tmp_path, store):
    first = write_run(tmp_path / "a", store, "model.settings.input_size=64")
    second = write_run(tmp_path / "b", store, f"model.pretrained={first}", "seed=4")
    recipe = training_recipe(second.with_name("last.safetensors"))
    assert [run["seed"] for run in recipe["runs"]] == [0, 4]
    assert [run["samples_seen"] for run in recipe["runs"]] == [20 * 16, 30 * 16]  # the best one; the last one
    assert [run["validation_nme_percent"] for run in recipe["runs"]] == [4.0, 4.5]
    assert recipe["samples_seen"] == 50 * 16
    assert recipe["runs"][1]["config"]["model"]["pretrained"] == "best.safetensors"
    assert recipe["runs"][0]["faces"]["store"] == {"size": SIZE, "faces": 32, "seed": 0}
    assert str(tmp_path) not in json.dumps(recipe)
    assert "/somewhere" not in json.dumps(recipe)
    assert store_of(second) == store


def test_a_checkpoint_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml: no such file; the checkpoint has to lie in the folder"):
        training_recipe(tmp_path / "best.safetensors")


def test_recipes_in_sentences(tmp_path, store):
    recipe = training_recipe(write_run(tmp_path / "a", store, "model.settings={input_size: 64, width: 0.5}"))
    recipe["runs"][0]["faces"]["store"]["ingredients"] = {"portraits": 0.4}
    text = recipe_lines(recipe)
    assert "64 px, width 0.5: 6 epochs in batches of 16, 320 samples seen" in text
    assert "a store of 32 faces of seed 0, 40% of them turned portraits" in text
    assert "4.00 % on rendered faces of another seed" in text


def test_cards_are_filled_between_their_marks(tmp_path):
    card = tmp_path / "card.md"
    card.write_text("a\n<!-- measured -->\nold\n<!-- end of measured -->\nz\n")
    for text in ("new", "newer"):
        fill(card, "measured", text)
        assert card.read_text() == f"a\n<!-- measured -->\n\n{text}\n\n<!-- end of measured -->\nz\n"
    with pytest.raises(ValueError, match="has no <!-- recipe --> followed by <!-- end of recipe -->"):
        fill(card, "recipe", "text")


def test_errors_by_part_and_bin(rng):
    truth = rng.uniform(0, 100, (3, 68, 2))
    truth[:, :2] = [[0, 0], [100, 100]]  # so that every face is 100 pixels wide and high
    predicted = truth.copy()
    predicted[0, :17, 0] += 4  # the jaw
    predicted[1, 17:, 1] -= 2  # all else
    predicted[2] = np.nan  # not found
    summary = Errors.of("three", predicted, truth, np.array([0.0, -45.0, 80.0]), ["a", "b", "c"]).summary()
    assert (summary["faces"], summary["found"]) == (3, 2)
    assert summary["each"] == {"a": 1.0, "b": 1.5, "c": None}
    assert (summary["mean"], summary["jaw_17"], summary["inner_51"]) == (1.25, 2.0, 1.0)
    assert (summary["worst"], summary["bins"], summary["in_bins"]) == (1.5, [1.0, 1.5, None], [1, 1, 0])


def test_rendered_errors_are_those_of_the_labels(store):
    """A network that always gives the mean parameters, against the same by hand."""
    network = create_model("mobilenet_v1", width=0.125, input_size=SIZE).eval()
    for parameter in network.fc.parameters():
        parameter.data.zero_()
    face = MorphableModel.builtin()
    checkpoint = Checkpoint(network, load_whitening((face.param_mean, face.param_std)))
    measured = rendered_errors(checkpoint, face, store)
    assert len(measured.nme) == 32
    # The mean face lies in the middle of a crop of 120 pixels, far off crops of 32.
    assert measured.nme.min() > 50
    assert np.abs(measured.yaw).max() <= 95
